"""Consumer and producer of the broker in memory; contracts as in ``kantor.kafka``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kantor.clients import BEGINNING, END, Batch, Listener, Partition, Record, java_partition
from kantor.errors import FencedError, KafkaUnavailableError, KantorError
from kantor.testing.broker import MemoryClients, Owner, Refusal
from kantor.testing.groups import Member, Metadata
from kantor.testing.log import Header, Log

log = logging.getLogger("kantor.testing")

#: Seconds until a pattern subscription looks for new topics.
_METADATA_AGE = 2.0

Delivered = Callable[[Any, Any], None]


class MemoryConsumer:
    """See ``kantor.kafka.Consumer``."""

    def __init__(self, clients: MemoryClients, group: str | None, *, ends: bool, committed: bool) -> None:
        self._clients = clients
        self._broker = clients.broker
        self._faults = clients.faults
        self._group = None if group is None else self._broker.group(group)
        self._ends = ends
        self._committed = committed
        self._positions: dict[Partition, int] = {}
        self._logs: dict[Partition, Log] = {}
        self._paused: set[Partition] = set()
        self._told: dict[Partition, int] = {}  # the end that was last reported
        self._refused: set[Partition] = set()  # was reported
        self._subscription: list[str] = []
        self._on_assign: Listener | None = None
        self._on_revoke: Listener | None = None
        self._on_lost: Listener | None = None
        self._member: Member | None = None
        self._looked_at = 0.0
        self._sizes: dict[str, int] = {}  # partitions by topic, as it saw them then
        #: The broker's version at which there was nothing to fetch; -1: to be looked at.
        self._nothing_at = -1
        self._is_closed = False
        clients.consumers.append(self)

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        on_assign: Listener | None = None,
        on_revoke: Listener | None = None,
        on_lost: Listener | None = None,
    ) -> None:
        assert self._group is not None, "only a group can be joined"
        self._subscription = list(topics)
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost

    def assign(self, positions: Mapping[Partition, int]) -> None:
        self._positions = {
            partition: self._start(partition, offset) for partition, offset in positions.items()
        }
        self._told.clear()
        self._nothing_at = -1

    def _start(self, partition: Partition, offset: int) -> int:
        if offset == BEGINNING:
            return 0
        return self.end(partition) if offset == END else offset

    # -- membership

    def _rebalance(self) -> None:
        """What a poll finds out about the group: callbacks run here."""
        group, broker, member = self._group, self._broker, self._member
        if group is None or not self._subscription:
            return
        if member is not None and member.is_lost:
            self._member = None
            lost = sorted(self._positions)
            if lost and self._on_lost is not None:
                self._on_lost(lost)
            self._forget(lost)
            member = None
        now = broker.clock.monotonic()
        if member is None:
            topics, counts = broker.matching(self._subscription), broker.counts()
            member = self._member = group.join(topics, lambda: self._clients.silent_since, counts)
            self._sizes = {topic: counts[topic] for topic in topics}
            self._looked_at = now
        elif now - self._looked_at >= _METADATA_AGE:
            self._looked_at = now
            topics, counts = broker.matching(self._subscription), broker.counts()
            sizes = {topic: counts[topic] for topic in topics}
            if sizes != self._sizes:
                self._sizes, member.topics = sizes, topics
                group.rebalance(counts)
        member.generation = group.generation
        if member.owned == member.wanted:
            return
        unwanted = sorted(member.owned - member.wanted)
        if unwanted:
            self._revoke(unwanted)
            member.owned.difference_update(unwanted)
            group.rebalance(broker.counts())  # the second round, in which others get them
            broker.version += 1
        found = group.available(member)
        if found:
            member.owned.update(found)
            broker.version += 1
            self._nothing_at = -1
            start = self._on_assign(found) if self._on_assign is not None else None
            for partition in found:
                known = group.offsets.get(partition, 0)
                self._positions[partition] = start.get(partition, known) if start is not None else known

    def _revoke(self, partitions: list[Partition]) -> None:
        if self._on_revoke is not None:
            self._on_revoke(partitions)
        self._forget(partitions)

    def _forget(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)
            self._told.pop(partition, None)
            self._paused.discard(partition)

    # -- reading

    def poll(self, timeout: float, limit: int = 1000) -> Batch:
        self._faults.before("poll")
        self._broker.tick()
        self._rebalance()
        batch = self._fetch(limit)
        if not batch.records and not batch.ends and not batch.refused and timeout > 0:
            before = self._broker.clock.monotonic()
            self._faults.wait(timeout, is_member=self._group is not None)
            if self._broker.clock.monotonic() > before:
                self._broker.tick()
                batch = self._fetch(limit)
        return batch

    def _fetch(self, limit: int) -> Batch:
        broker = self._broker
        if broker.version == self._nothing_at and not broker.refused and not self._refused:
            return Batch([], {}, {})
        now = broker.clock.monotonic()
        records: list[Record] = []
        ends: dict[Partition, int] = {}
        told, logs = self._told, self._logs
        partitions = []
        refused: dict[Partition, str] = {}
        for partition, position in self._positions.items():
            if partition[0] in broker.refused:
                if partition not in self._refused:
                    refused[partition] = "Fetch failed: Broker: Topic authorization failed"
                    self._refused.add(partition)
                continue
            self._refused.discard(partition)
            log_ = logs.get(partition)
            if log_ is None:
                log_ = logs[partition] = broker.log(partition)
            if log_.end != position or told.get(partition) != position:
                partitions.append(partition)  # the others have nothing new
        self._nothing_at = -1 if partitions or refused else broker.version
        if partitions:
            self._faults.order(partitions)
        for partition in partitions:
            if partition in self._paused or len(records) >= limit:
                continue
            position, log_ = self._positions[partition], logs[partition]
            found, position, end = log_.read(position, limit - len(records), now, committed=self._committed)
            records += found
            self._positions[partition] = position
            if end is not None and self._told.get(partition) != end:
                self._told[partition] = end
                if self._ends:
                    ends[partition] = end
        self._clients.fetched += len(records)
        return Batch(records, ends, refused)

    def has_news(self) -> bool:
        """Whether a poll may find what the last one did not: in the group, or in a partition."""
        if self._subscription:
            member = self._member
            if member is None or member.is_lost or member.owned != member.wanted:
                return True
        broker, told, logs = self._broker, self._told, self._logs
        if broker.refused or self._refused:
            return True
        if broker.version == self._nothing_at:
            return False
        for partition, position in self._positions.items():
            log_ = logs.get(partition)
            is_new = log_ is None or log_.end != position or told.get(partition) != position
            if is_new and partition not in self._paused:
                return True
        return False

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._positions:
            raise KafkaUnavailableError(f"_STATE: {partition[0]}/{partition[1]} is not assigned")
        self._positions[partition] = self._start(partition, offset)
        self._told.pop(partition, None)
        self._nothing_at = -1

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def assignment(self) -> list[Partition]:
        return list(self._positions)

    def end(self, partition: Partition, timeout: float = 10.0) -> int:
        self._faults.before("end")
        self._broker.tick()
        log_ = self._broker.log(partition)
        return log_.stable_end if self._committed else log_.end

    # -- positions

    def commit(self, positions: Mapping[Partition, int], *, wait: bool = False) -> None:
        if not positions:
            return
        try:
            self._faults.before("commit offsets")
            self._broker.tick()
            self._broker.commit_offsets(self.group_metadata(), positions)
            self._faults.after("commit offsets")
        except KafkaUnavailableError as error:
            if wait:
                raise
            log.info("offsets not committed: %s", error)

    def committed(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        assert self._group is not None, "only a group has positions"
        if any(partition in offsets for offsets in self._group.unstable for partition in partitions):
            raise KafkaUnavailableError("_TIMED_OUT: a Kafka transaction that commits these has not ended")
        found = self._group.offsets
        return {partition: found[partition] for partition in partitions if partition in found}

    def group_metadata(self) -> Metadata:
        """The member's heartbeats keep its generation up to date between polls; once it knows that it lost the group, it
        is nobody, and nobody is checked."""
        name = "" if self._group is None else self._group.name
        member = self._member
        return Metadata(name, "", -1) if member is None else Metadata(name, member.id, member.generation)

    def close(self) -> None:
        if self._is_closed or self._clients.is_dead:
            return
        self._is_closed = True
        self._clients.consumers.remove(self)
        member, self._member = self._member, None
        if member is None or self._group is None:
            return
        if member.is_lost:
            if self._on_lost is not None and self._positions:
                self._on_lost(sorted(self._positions))
            return
        self._member = member  # on_revoke may still commit
        owned = sorted(member.owned)
        if owned:
            self._revoke(owned)
        self._member = None
        self._group.leave(member, self._broker.counts())
        self._broker.version += 1


class _Queued(NamedTuple):
    topic: str
    value: bytes | None
    key: bytes | None
    headers: list[Header] | None
    partition: int
    created: int
    on_delivery: Delivered | None


class MemoryProducer:
    """See ``kantor.kafka.Producer``. Idempotent: what is tried again is appended once."""

    def __init__(
        self,
        clients: MemoryClients,
        transactional_id: str | None,
        *,
        only_errors: bool,
        timeout: float,
        as_java: bool = False,
    ) -> None:
        """``timeout``: seconds that a Kafka transaction may take. ``as_java``: see ``kantor.clients.AS_JAVA``."""
        self._as_java = as_java
        self._clients = clients
        self._broker = clients.broker
        self._faults = clients.faults
        self._id = transactional_id
        self._only_errors = only_errors
        self._timeout = timeout
        self._epoch = 0
        self._in_transaction = False
        self._handed = 0
        self._queue: list[_Queued] = []
        self._broken: KantorError | None = None
        self._failure: Refusal | None = None

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
        partition: int = -1,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None:
        if self._id is not None and not self._in_transaction:
            raise KafkaUnavailableError("_STATE: no Kafka transaction has begun")
        self._handed += 1
        self._queue.append(
            _Queued(
                topic,
                value,
                key,
                None if headers is None else list(headers),
                partition,
                self._broker.clock.now(),
                on_delivery,
            )
        )

    def poll(self, timeout: float = 0) -> None:
        self._check()
        if self._id is None and self._queue:
            self._deliver(self._faults.leaves(len(self._queue)))

    def flush(self, timeout: float = 30.0) -> None:
        self._check()
        if not self._queue:
            return
        self._faults.before("flush")
        self._deliver(len(self._queue))
        self._faults.after("flush")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise KantorError(f"a record was not delivered: {failure}")

    def done(self) -> int:
        return self._handed - len(self._queue)

    def _check(self) -> None:
        if self._broken is not None:
            raise type(self._broken)(str(self._broken))

    def _deliver(self, count: int) -> None:
        """Append the first that are queued, in order; a crash may come between any two."""
        broker, faults = self._broker, self._faults
        for _ in range(count):
            faults.before("send")
            transaction = None
            if self._id is not None:
                transaction = broker.transaction(self._owner())
            topic, value, key, headers, partition, created, on_delivery = self._queue.pop(0)
            refusal = None if transaction is not None else broker.refusal_of(topic)
            if refusal is not None:
                self._refused(refusal, on_delivery)
                continue
            if self._as_java and partition < 0 and key is not None and topic in broker.topics:
                partition = java_partition(key, len(broker.topics[topic].logs))
            entry = broker.append(topic, partition, key, value, headers, created, transaction)
            if on_delivery is not None and not self._only_errors:
                on_delivery(None, entry)

    def _refused(self, refusal: Refusal, on_delivery: Delivered | None) -> None:
        if on_delivery is not None:
            on_delivery(refusal, None)
        elif self._failure is None:
            self._failure = refusal

    # -- Kafka transactions

    def _owner(self) -> Owner:
        assert self._id is not None, "no transactional producer"
        try:
            return self._broker.owner(self._id, self._epoch)
        except FencedError as error:
            self._broken = error
            raise

    def init_transactions(self, timeout: float = 60.0) -> None:
        assert self._id is not None, "no transactional producer"
        self._faults.before("init")
        self._broker.tick()
        self._epoch = self._broker.init(self._id, self._timeout)
        self._faults.after("init")

    def begin(self) -> None:
        self._check()
        if self._epoch == 0 or self._in_transaction:
            raise KafkaUnavailableError("_STATE: init_transactions comes first, and one after the other")
        self._in_transaction = True

    def send_offsets(
        self, positions: Mapping[Partition, int], group_metadata: Any, timeout: float = 10.0
    ) -> None:
        self._check()
        self._faults.before("send offsets")
        self._broker.add_offsets(self._owner(), group_metadata, positions)
        self._faults.after("send offsets")

    def commit(self, timeout: float = 10.0) -> None:
        self._check()
        self._faults.before("commit")
        self._deliver(len(self._queue))
        owner = self._owner()
        self._broker.end(owner, aborted=False)
        self._in_transaction = False
        self._faults.after("commit")

    def abort(self, timeout: float = 10.0) -> None:
        self._check()
        self._faults.before("abort")
        self._queue.clear()
        self._broker.end(self._owner(), aborted=True)
        self._in_transaction = False
        self._faults.after("abort")

    def purge(self) -> None:
        self._queue.clear()
