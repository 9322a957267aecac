"""How many transactions are on which version: read from ``sys.kantor.state``, to its end.

``read_committed``: what a batch that is under way changes is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from kantor.clients import BEGINNING, Admin, Clients, Partition
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError, UndecodableError
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.core.transaction import ENDED
from kantor_orchestrator.definitions.bundle import key_of
from kantor_orchestrator.formats import topics, watermarks

#: Seconds without anything new before the end: longer than a dead engine's Kafka transaction stays open (10 s).
_PATIENCE = 60.0
#: Seconds that intake and the engines are given to process what was there when it was asked.
_CATCHING_UP = 10.0
#: Seconds between two words on how far it is.
_TELL_EVERY = 2.0
#: How the names of the topics begin that intake reads.
_READ = ("evt.", "cmd.")
#: An empty fetch, which brings the end, would wait 500 ms.
_CONSUMER = {"fetch.wait.max.ms": 10}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Living:
    """By ``saga/version``. ``alive``: running, parked, compensating, with an incident or without. ``ended``: kept for
    messages that come late, which still need their definition. ``clock``: everything that was journaled up to this time
    (ms) has been processed, and so has everything that was there when it was asked; 0: it has not, or that is not known.
    ``is_whole``: whether no more are known: everything that was there when it was asked is journaled, processed, and in the
    state. What is only in the log (an engine was killed) is not counted, nor what will be decided yet."""

    alive: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    clock: int = 0
    is_whole: bool = True


def count(
    clients: Clients,
    codec: Codec,
    wanted: Collection[str],
    tell: Tell,
    clock: Clock = SYSTEM_CLOCK,
) -> Living:
    """The transactions on ``wanted`` (``saga/version``). ``tell`` hears at times how far it is, if that takes long.

    Raises ``KafkaUnavailableError`` if the end is not met: ask again.
    """
    admin = clients.admin("kantor-living")
    partitions: list[Partition] = [(topics.STATE, p) for p in range(admin.topics().get(topics.STATE, 0))]
    if not partitions:
        return Living()
    ends = admin.ends(partitions)
    caught_up = _is_journaled(clients, admin, clock)
    low = watermarks.read(
        clients, "kantor-living", clock
    ).low()  # before the journal's ends: it lies before them
    journal = admin.ends([(topics.JOURNAL, p) for _, p in partitions if admin.topics().get(topics.JOURNAL)])
    found: dict[bytes, tuple[str, bool]] = {}
    clocks: dict[Partition, int] = {}
    positions: dict[Partition, int] = {}

    def behind() -> bool:
        """Whether an engine has not processed what is in the journal; a shard that has told nothing has processed nothing."""
        return any(positions.get((topics.STATE, p), 0) < end for (_, p), end in journal.items())

    reached = dict.fromkeys(partitions, 0)
    consumer = clients.consumer("kantor-living", ends=True, extra=_CONSUMER)
    try:
        consumer.assign(dict.fromkeys(partitions, BEGINNING))
        told = last = clock.monotonic()
        until = told + _CATCHING_UP
        while any(reached[p] < end for p, end in ends.items()) or (behind() and clock.monotonic() < until):
            batch = consumer.poll(0.1, 5_000)
            for record in batch.records:
                place, key, value = (record.topic(), record.partition()), record.key() or b"", record.value()
                reached[place] = max(reached[place], record.offset() + 1)
                try:
                    if key == topics.SHARD_KEY and value is not None:
                        shard = codec.decode(value, expected="kantor.ShardRecord")
                        clocks[place], positions[place] = shard["clock"], shard["position"]
                    elif key[:1] != b"\0":
                        found.pop(key, None)
                        if value is not None:
                            state = codec.decode(value, expected="kantor.TransactionState")
                            version = key_of(state["saga"], state["version"])
                            if version in wanted:
                                found[key] = (version, state["status"] in ENDED)
                except UndecodableError as error:  # to the engine, too, it counts for nothing
                    tell(f"{place[0]}/{place[1]}/{record.offset()} is no engine's: {error}")
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
    is_whole = caught_up and not behind()
    return Living(
        Counter(version for version, has_ended in found.values() if not has_ended),
        Counter(version for version, has_ended in found.values() if has_ended),
        max(low, min(clocks.get(place, 0) for place in partitions)) if is_whole else 0,
        is_whole,
    )


def _is_journaled(clients: Clients, admin: Admin, clock: Clock) -> bool:
    """Whether intake has journaled all that is in its topics now; it is waited for."""
    sources = [
        (topic, p) for topic, count in admin.topics().items() if topic.startswith(_READ) for p in range(count)
    ]
    ends = admin.ends(sources)
    reader = clients.consumer("kantor-living", group=INTAKE_GROUP)
    try:
        until = clock.monotonic() + _CATCHING_UP
        while True:
            committed = reader.committed(sources) if sources else {}
            if all(committed.get(place, 0) >= end for place, end in ends.items()):
                return True
            if clock.monotonic() > until:
                return False
            clock.sleep(0.2)  # Kafka tells nobody when a position is committed
    finally:
        reader.close()
