"""A broker in memory: topics, Kafka transactions and groups, in one thread, on a virtual clock.

It keeps Kafka's promises and none that Kafka does not make. What may go wrong, and when, says :class:`Faults`; a client
asks it at each call that would go over the network, before the call takes effect and after.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zlib import crc32

from kantor.clients import AS_JAVA, TopicSpec
from kantor.errors import FencedError, KafkaUnavailableError, TooLargeError
from kantor.testing.clock import VirtualClock
from kantor.testing.faults import Calm, Faults
from kantor.testing.groups import SESSION_TIMEOUT, Group, Metadata
from kantor.testing.log import (
    CREATE_TIME,
    LOG_APPEND_TIME,
    Entry,
    Header,
    KafkaTransaction,
    Log,
    Offsets,
    Partition,
)

if TYPE_CHECKING:
    from kantor.testing.admin import MemoryAdmin
    from kantor.testing.consumer import MemoryConsumer
    from kantor.testing.producer import MemoryProducer

#: Partitions of a topic that does not say.
_PARTITIONS = 1
#: Bytes of a record that a client takes unless told otherwise: librdkafka's `message.max.bytes`.
_LARGEST = 1_000_000
_DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The broker's word that it will not take a record: what ``on_delivery`` gets, as from librdkafka."""

    number: int
    text: str

    def code(self) -> int:
        return self.number

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Topic:
    """A topic's partitions and settings."""

    id: str
    config: dict[str, str]
    logs: list[Log]


@dataclass(slots=True)
class Owner:
    """Who has a ``transactional.id``. ``unmarked``: committed, but the markers are not written yet."""

    epoch: int = 0
    open: KafkaTransaction | None = None
    unmarked: KafkaTransaction | None = None
    due: float = 0.0
    timeout: float = 10.0


@dataclass(slots=True)
class MemoryClients:
    """Makes clients of one process: ``kantor.clients.Clients``. Its heartbeats stop with :attr:`silent_since`."""

    broker: MemoryBroker
    faults: Faults
    #: Since when (monotonic, s) the process is frozen or dead; None: it lives.
    silent_since: float | None = None
    is_dead: bool = False
    #: Records that they were given so far.
    fetched: int = 0
    #: The consumers that are not closed.
    consumers: list[MemoryConsumer] = field(default_factory=list)

    def has_news(self) -> bool:
        """Whether some consumer has something to do or to read that it had not when it was last polled."""
        return any(consumer.has_news() for consumer in self.consumers)

    def is_forgotten(self, now: float) -> bool:
        """It is dead, and no group has a member of it any more."""
        return self.is_dead and self.silent_since is not None and now - self.silent_since > SESSION_TIMEOUT

    def consumer(
        self,
        client_id: str,
        *,
        group: str | None = None,
        ends: bool = False,
        isolation: str = "read_committed",
        extra: Mapping[str, Any] | None = None,
    ) -> MemoryConsumer:
        from kantor.testing.consumer import MemoryConsumer

        del client_id, extra
        return MemoryConsumer(self, group, ends=ends, committed=isolation == "read_committed")

    def producer(
        self,
        client_id: str,
        *,
        transactional_id: str | None = None,
        linger_ms: float = 5,
        extra: Mapping[str, Any] | None = None,
    ) -> MemoryProducer:
        from kantor.testing.producer import MemoryProducer

        del client_id, linger_ms
        settings = extra or {}
        only_errors = bool(settings.get("delivery.report.only.error", transactional_id is None))
        timeout = float(settings.get("transaction.timeout.ms", 10_000)) / 1000
        as_java = settings.get("partitioner") == AS_JAVA["partitioner"]
        largest = int(settings.get("message.max.bytes", _LARGEST))
        return MemoryProducer(
            self, transactional_id, only_errors=only_errors, timeout=timeout, as_java=as_java, largest=largest
        )

    def admin(self, client_id: str = "kantor-admin") -> MemoryAdmin:
        from kantor.testing.admin import MemoryAdmin

        del client_id
        return MemoryAdmin(self)


@dataclass
class MemoryBroker:
    """The cluster. :meth:`clients` makes clients; everything else is what the network carries."""

    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self.owners: dict[str, Owner] = {}
        #: Topics that nobody may read (an ACL), though everybody may see them.
        self.refused: set[str] = set()
        #: Topics that nobody may write.
        self.unwritable: set[str] = set()
        #: Grows with whatever others could notice.
        self.version = 0
        #: How far its clock is ahead of what time it is (ms).
        self.ahead = 0
        #: How often a topic was deleted: who reads must look where its records are.
        self.deleted = 0
        self._made = 0
        self.faults: Faults = Calm(self.clock)
        self._processes: list[MemoryClients] = []
        self._ticked_at = -1.0

    def clients(self, faults: Faults | None = None) -> MemoryClients:
        """Clients for one process."""
        found = MemoryClients(self, faults or self.faults)
        self._processes.append(found)
        return found

    # -- topics

    def create_topic(self, spec: TopicSpec) -> bool:
        """Whether it was created."""
        if spec.name in self.topics:
            return False
        count = spec.partitions if spec.partitions > 0 else _PARTITIONS
        self._made += 1
        id_ = str(UUID(int=self._made))
        logs = [Log((spec.name, number)) for number in range(count)]
        self.topics[spec.name] = Topic(id_, _DEFAULTS | dict(spec.config), logs)
        return True

    def make_again(self, name: str) -> Topic:
        """Delete a topic, with what groups have committed of it, and recreate it, before anybody's metadata show it. What it
        was."""
        before = self.topics.pop(name)
        for group in self.groups.values():
            group.offsets = {place: position for place, position in group.offsets.items() if place[0] != name}
        self.deleted += 1
        self.create_topic(TopicSpec(name, len(before.logs), before.config))
        self.version += 1
        return before

    def counts(self) -> dict[str, int]:
        return {name: len(topic.logs) for name, topic in self.topics.items()}

    def matching(self, subscriptions: Sequence[str]) -> frozenset[str]:
        """The topics that a subscription names now."""
        patterns = [re.compile(name) for name in subscriptions if name.startswith("^")]
        found = {name for name in self.topics if any(pattern.match(name) for pattern in patterns)}
        return frozenset(found.union(name for name in subscriptions if name in self.topics))

    def log(self, partition: Partition) -> Log:
        """Raises ``KafkaUnavailableError`` if there is none."""
        topic = self.topics.get(partition[0])
        if topic is None or not 0 <= partition[1] < len(topic.logs):
            raise KafkaUnavailableError(f"UNKNOWN_TOPIC_OR_PART: {partition[0]}/{partition[1]}")
        return topic.logs[partition[1]]

    def refusal_of(self, topic: str) -> Refusal | None:
        """Why this topic takes no record; None: it does."""
        if topic in self.unwritable:
            return Refusal(29, "TOPIC_AUTHORIZATION_FAILED: Broker: Topic authorization failed")
        if topic not in self.topics:
            return Refusal(3, "UNKNOWN_TOPIC_OR_PART: Broker: Unknown topic or partition")
        return None

    def append(
        self,
        name: str,
        number: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[Header] | None,
        created: int,
        transaction: KafkaTransaction | None,
    ) -> Entry:
        """Raises ``KafkaUnavailableError`` if there is no such partition, ``TooLargeError``."""
        topic = self.topics.get(name)
        if topic is None:
            raise KafkaUnavailableError(f"UNKNOWN_TOPIC_OR_PART: {name}")
        size = len(value or b"") + len(key or b"")
        for header, text in headers or ():
            size += len(header) + len(text or b"")
        if size > int(topic.config["max.message.bytes"]):
            raise TooLargeError(f"MSG_SIZE_TOO_LARGE: {size} bytes are more than {name} takes")
        if number < 0:  # as librdkafka's consistent_random does for a key
            number = crc32(key or b"") % len(topic.logs)
        by_broker = topic.config["message.timestamp.type"] == "LogAppendTime"
        timestamp = (LOG_APPEND_TIME, self.clock.now() + self.ahead) if by_broker else (CREATE_TIME, created)
        visible_at = self.clock.monotonic() + self.faults.lag((name, number))
        self.version += 1
        return self.log((name, number)).append(key, value, headers, timestamp, transaction, visible_at)

    def compact(self, name: str) -> None:
        """Run the cleaner over a compacted topic."""
        config = self.topics[name].config
        if config["cleanup.policy"] == "compact":
            for log in self.topics[name].logs:
                log.compact(self.clock.now(), int(config["delete.retention.ms"]))

    # -- time

    def tick(self) -> None:
        """Do what is due by now: late markers, Kafka transactions that took too long, members that went silent."""
        now = self.clock.monotonic()
        if now == self._ticked_at:
            return  # what becomes due is due later than the moment in which it is begun
        self._ticked_at = now
        for owner in self.owners.values():
            if owner.unmarked is not None and owner.due <= now:
                self.settle(owner)
            if owner.open is not None and now - owner.open.began > owner.timeout:
                owner.epoch += 1
                self._end(owner, aborted=True)
        for clients in self._processes:
            if clients.silent_since is not None and now - clients.silent_since > SESSION_TIMEOUT:
                for group in self.groups.values():
                    group.expel(now, self.counts)
                self._processes = [one for one in self._processes if not one.is_forgotten(now)]
                return

    # -- groups

    def group(self, name: str) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(name)
        return self.groups[name]

    def commit_offsets(self, metadata: Metadata, positions: Offsets) -> None:
        """Raises ``KafkaUnavailableError`` if the member may not."""
        group = self.group(metadata.group)
        if not metadata.member and group.members:
            raise KafkaUnavailableError("UNKNOWN_MEMBER_ID: the group has members, and this is none of them")
        group.check(metadata.member, metadata.generation)
        group.offsets.update(positions)
        group.by_members.update(positions)

    # -- Kafka transactions

    def init(self, id_: str, timeout: float) -> int:
        """Fence who had this id, and end what it left open; the new epoch. ``timeout``: how long (s) a Kafka transaction
        of the new one may take."""
        owner = self.owners.setdefault(id_, Owner())
        self.settle(owner)
        if owner.open is not None:
            self._end(owner, aborted=True)
        owner.epoch += 1
        owner.timeout = timeout
        self.version += 1
        return owner.epoch

    def owner(self, id_: str, epoch: int) -> Owner:
        """Raises ``FencedError`` if another one has this id by now."""
        self.tick()
        owner = self.owners[id_]
        if owner.epoch != epoch:
            raise FencedError(f"PRODUCER_FENCED: {id_} belongs to a newer producer")
        return owner

    def transaction(self, owner: Owner) -> KafkaTransaction:
        """The owner's open Kafka transaction; begins with the first that is put into it."""
        self.settle(owner)
        if owner.open is None:
            owner.open = KafkaTransaction(self.clock.monotonic())
        return owner.open

    def add_offsets(self, owner: Owner, metadata: Metadata, positions: Offsets) -> None:
        """Raises ``KafkaUnavailableError`` if the member may not."""
        group = self.group(metadata.group)
        group.check(metadata.member, metadata.generation)
        transaction = self.transaction(owner)
        found = transaction.offsets.setdefault(metadata.group, {})
        if not found:
            group.unstable.append(found)
        found.update(positions)

    def end(self, owner: Owner, *, aborted: bool) -> None:
        """Decide the owner's Kafka transaction. Readers see that when the markers are written."""
        self.version += 1
        if owner.open is None:
            return
        lag = 0.0 if aborted else self.faults.marker_lag()
        if lag:
            owner.unmarked, owner.open = owner.open, None
            owner.due = self.clock.monotonic() + lag
        else:
            self._end(owner, aborted=aborted)

    def settle(self, owner: Owner) -> None:
        """Write the markers that are late."""
        if owner.unmarked is not None:
            transaction, owner.unmarked = owner.unmarked, None
            self._mark(transaction)

    def _end(self, owner: Owner, *, aborted: bool) -> None:
        transaction, owner.open = owner.open, None
        assert transaction is not None
        transaction.aborted = aborted
        self._mark(transaction)

    def _mark(self, transaction: KafkaTransaction) -> None:
        self.version += 1
        for log in transaction.logs:
            log.mark(transaction, self.clock.now())
        for name, positions in transaction.offsets.items():
            group = self.groups[name]
            group.unstable = [other for other in group.unstable if other is not positions]
            if not transaction.aborted:
                group.offsets.update(positions)
