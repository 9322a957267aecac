"""Clients of a cluster, as the platform and the kit use them: what ``kantor.kafka`` makes, and ``kantor.testing`` too.

One contract suite (``tests/contract``) runs against both, so that they do not drift apart. A Kafka transaction is called one,
to tell it from a business transaction (words-2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kantor.clock import Clock
from kantor.errors import KafkaUnavailableError, StuckError

#: (topic, partition)
Partition = tuple[str, int]
#: In place of an offset: the first there is, and after the last.
BEGINNING, END = -2, -1

#: Seconds after which a producer that delivers nothing is replaced (kit-7): it may be stuck for good (docs/decisions/0003).
STUCK = 20.0


def deliver(producer: Producer, clock: Clock, is_over: Callable[[], bool] = lambda: False) -> None:
    """Wait until the broker has all that was handed to ``producer``: as long as it delivers anything, and through outages.

    Raises ``KafkaUnavailableError`` if it delivers nothing for ``STUCK`` seconds (``StuckError`` if it hangs), or ``is_over``
    while something is left: replace it, and send again what may not have arrived; ``KantorError`` for a refused record.
    """
    done, patience = producer.done(), clock.monotonic() + STUCK
    while True:
        try:
            producer.flush(1.0)
            return
        except StuckError:
            raise
        except KafkaUnavailableError:
            now, before = clock.monotonic(), done
            done = max(before, producer.done())
            if done > before:
                patience = now + STUCK
            if is_over() or now > patience:
                raise


#: The broker's (or the client's) word that this one record will never be taken, whatever is tried; others may be. Error
#: codes of the Kafka protocol, negative ones of librdkafka.
_REFUSALS = frozenset(
    {
        3,  # UNKNOWN_TOPIC_OR_PARTITION, when it did not show up for long
        10,  # MESSAGE_TOO_LARGE
        17,  # INVALID_TOPIC_EXCEPTION
        18,  # RECORD_LIST_TOO_LARGE
        29,  # TOPIC_AUTHORIZATION_FAILED
        32,  # INVALID_TIMESTAMP
        44,  # POLICY_VIOLATION
        87,  # INVALID_RECORD
        -186,  # _INVALID_ARG: no name for a topic, for example
        -188,  # _UNKNOWN_TOPIC
        -190,  # _UNKNOWN_PARTITION
    }
)


def is_refusal(error: Any) -> bool:
    """Whether a record was refused for good while its producer is well: ``error`` is what ``on_delivery`` got, or what
    :meth:`Producer.produce` raised. If not, the producer is of no use any more."""
    if isinstance(error, BaseException):
        cause = error.__cause__
        error = cause.args[0] if cause is not None and cause.args else None
    code = getattr(error, "code", None)
    return code is not None and code() in _REFUSALS


#: As ``extra`` of a producer: a keyed record goes to the partition that Kafka's own client in Java chooses, and with it most
#: of the world. librdkafka's default is CRC32, so that one key would lie in two partitions of a topic that both write.
AS_JAVA = {"partitioner": "murmur2_random"}


def java_partition(key: bytes, partitions: int) -> int:
    """The partition of a key as ``org.apache.kafka.common.utils.Utils.murmur2`` gives it, made positive, of so many."""
    mask, m = 0xFFFF_FFFF, 0x5BD1_E995
    found = (0x9747_B28C ^ len(key)) & mask
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        found = found * m & mask ^ k
    if len(key) > whole:
        found = (found ^ int.from_bytes(key[whole:], "little")) * m & mask
    found = (found ^ found >> 13) * m & mask
    return ((found ^ found >> 15) & 0x7FFF_FFFF) % partitions


class Record(Protocol):
    """One record as read from a topic."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Batch:
    """What one poll brought: records, the partitions whose end was met (next offset there), and those that may not be
    read (an ACL), each told once, with the broker's word. They are tried again; what then comes says that they may."""

    __slots__ = ("ends", "records", "refused")

    def __init__(
        self, records: list[Record], ends: dict[Partition, int], refused: dict[Partition, str] | None = None
    ) -> None:
        self.records = records
        self.ends = ends
        self.refused = refused or {}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be created; ``replication`` -1 takes the broker's default."""

    name: str
    partitions: int = -1
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int = -1


Listener = Callable[[list[Partition]], "Mapping[Partition, int] | None"]


class Consumer(Protocol):
    """See ``kantor.kafka.Consumer``."""

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        on_assign: Listener | None = None,
        on_revoke: Listener | None = None,
        on_lost: Listener | None = None,
    ) -> None: ...
    def assign(self, positions: Mapping[Partition, int]) -> None: ...
    def poll(self, timeout: float, limit: int = 1000) -> Batch: ...
    def commit(self, positions: Mapping[Partition, int], *, wait: bool = False) -> None: ...
    def committed(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]: ...
    def whose(
        self, partitions: Sequence[Partition], timeout: float = 10.0
    ) -> dict[Partition, tuple[int, bool]]: ...
    def assignment(self) -> list[Partition]: ...
    def seek(self, partition: Partition, offset: int) -> None: ...
    def pause(self, partitions: Sequence[Partition]) -> None: ...
    def resume(self, partitions: Sequence[Partition]) -> None: ...
    def end(self, partition: Partition, timeout: float = 10.0) -> int: ...
    def group_metadata(self) -> Any: ...
    def close(self) -> None: ...


class Producer(Protocol):
    """See ``kantor.kafka.Producer``."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
        partition: int = -1,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None: ...
    def poll(self, timeout: float = 0) -> None: ...
    def flush(self, timeout: float = 30.0) -> None: ...
    def done(self) -> int: ...
    def init_transactions(self, timeout: float = 60.0) -> None: ...
    def begin(self) -> None: ...
    def send_offsets(
        self, positions: Mapping[Partition, int], group_metadata: Any, timeout: float = 10.0
    ) -> None: ...
    def commit(self, timeout: float = 10.0) -> None: ...
    def abort(self, timeout: float = 10.0) -> None: ...
    def purge(self) -> None: ...


class Admin(Protocol):
    """See ``kantor.kafka.Admin``."""

    def create_topics(self, specs: Sequence[TopicSpec], timeout: float = 30.0) -> list[str]: ...
    def topics(self, timeout: float = 10.0) -> dict[str, int]: ...
    def topic_ids(self, names: Sequence[str], timeout: float = 10.0) -> dict[str, str]: ...
    def ends(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]: ...
    def configs(
        self, topics: Sequence[str], timeout: float = 10.0
    ) -> tuple[dict[str, dict[str, str]], dict[str, str]]: ...
    def starts(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]: ...
    def closed(self, topics: Sequence[str], timeout: float = 10.0) -> dict[str, str]: ...
    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]: ...
    def set_config(self, topic: str, name: str, value: str, timeout: float = 10.0) -> None: ...
    def group_offsets(self, group: str, timeout: float = 10.0) -> dict[Partition, int]: ...


class Clients(Protocol):
    """Makes clients of one cluster. ``kantor.kafka.KafkaSettings`` is one; so is the broker in memory."""

    def consumer(
        self,
        client_id: str,
        *,
        group: str | None = None,
        ends: bool = False,
        isolation: str = "read_committed",
        extra: Mapping[str, Any] | None = None,
    ) -> Consumer: ...
    def producer(
        self,
        client_id: str,
        *,
        transactional_id: str | None = None,
        linger_ms: float = 5,
        extra: Mapping[str, Any] | None = None,
    ) -> Producer: ...
    def admin(self, client_id: str = "kantor-admin") -> Admin: ...
