"""How many transactions are on which version: read from ``sys.kantor.state``, to its end.

``read_committed``: what a batch that is under way changes is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from kantor.clients import BEGINNING, Clients, Partition
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator import topics
from kantor_orchestrator.core.transaction import ENDED
from kantor_orchestrator.definitions.bundle import key_of

#: Seconds without anything new before the end: longer than a dead engine's Kafka transaction stays open (10 s).
_PATIENCE = 60.0
#: Seconds between two words on how far it is.
_TELL_EVERY = 2.0
#: An empty fetch, which brings the end, would wait 500 ms.
_CONSUMER = {"fetch.wait.max.ms": 10}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Living:
    """By ``saga/version``. ``alive``: running, parked, compensating, with an incident or without. ``ended``: kept for
    messages that come late, which still need their definition. ``clock``: everything that was sent up to this time (ms)
    has been processed; 0: not known."""

    alive: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    clock: int = 0


def count(
    clients: Clients,
    codec: Codec,
    wanted: Collection[str],
    tell: Tell,
    clock: Clock = SYSTEM_CLOCK,
) -> Living:
    """The transactions on ``wanted`` (``saga/version``). ``tell`` hears at times how far it is, if that takes long.

    Raises ``KafkaUnavailableError`` if the end is not met: ask again; ``CodecError`` for foreign bytes.
    """
    admin = clients.admin("kantor-living")
    partitions: list[Partition] = [(topics.STATE, p) for p in range(admin.topics().get(topics.STATE, 0))]
    if not partitions:
        return Living()
    ends = admin.ends(partitions)
    found: dict[bytes, tuple[str, bool]] = {}
    marks: dict[Partition, int] = {}
    reached = dict.fromkeys(partitions, 0)
    consumer = clients.consumer("kantor-living", ends=True, extra=_CONSUMER)
    try:
        consumer.assign(dict.fromkeys(partitions, BEGINNING))
        told = last = clock.monotonic()
        while any(reached[p] < end for p, end in ends.items()):
            batch = consumer.poll(0.1, 5_000)
            for record in batch.records:
                place, key, value = (record.topic(), record.partition()), record.key() or b"", record.value()
                reached[place] = max(reached[place], record.offset() + 1)
                if key == topics.SHARD_KEY and value is not None:
                    watermarks = codec.decode(value)["watermarks"]
                    marks[place] = min(watermarks.values(), default=0)
                elif key[:1] != b"\0":
                    found.pop(key, None)
                    if value is not None:
                        state = codec.decode(value)
                        version = key_of(state["saga"], state["version"])
                        if version in wanted:
                            found[key] = (version, state["status"] in ENDED)
            for place, end in batch.ends.items():
                reached[place] = max(reached[place], end)
            now = clock.monotonic()
            if batch.records or batch.ends:
                last = now
            elif now - last > _PATIENCE:
                raise KafkaUnavailableError(f"{topics.STATE} could not be read to its end: ask again")
            if now - told > _TELL_EVERY:
                told = now
                tell(
                    f"counting live transactions: {sum(reached.values()):,} of {sum(ends.values()):,} records"
                )
    finally:
        consumer.close()
    return Living(
        Counter(version for version, has_ended in found.values() if not has_ended),
        Counter(version for version, has_ended in found.values() if has_ended),
        min((marks.get(place, 0) for place in partitions), default=0),
    )
