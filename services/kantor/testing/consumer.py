"""Reading from the broker in memory; contracts as in ``kantor.kafka``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from kantor.clients import BEGINNING, END, Batch, Listener, Partition, Record
from kantor.errors import KafkaUnavailableError
from kantor.testing.broker import MemoryClients
from kantor.testing.groups import Member, Metadata
from kantor.testing.log import Log

log = logging.getLogger("kantor.testing")

#: Seconds until a pattern subscription looks for new topics.
_METADATA_AGE = 2.0


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
        self._deleted = self._broker.deleted
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
            try:
                self._revoke(unwanted)
            finally:
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
        try:
            if self._on_revoke is not None:
                self._on_revoke(partitions)
        finally:  # as librdkafka does: whatever the callback raises, they are given up
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
        if broker.deleted != self._deleted:
            self._look_again()
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
            if log_.end < position:  # as auto.offset.reset says
                self._positions[partition] = position = log_.start
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

    def _look_again(self) -> None:
        """Some topic was recreated: where it has more than was read of the old one, nobody notices."""
        self._deleted = self._broker.deleted
        for partition, log_ in list(self._logs.items()):
            found = self._broker.log(partition)
            if found is not log_:
                self._logs[partition] = found
                self._told.pop(partition, None)

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

    def whose(
        self, partitions: Sequence[Partition], timeout: float = 10.0
    ) -> dict[Partition, tuple[int, bool]]:
        found = self.committed(partitions, timeout)
        ours = {} if self._group is None else self._group.by_members
        return {
            partition: (position, ours.get(partition) == position) for partition, position in found.items()
        }

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
        try:
            if owned:
                self._revoke(owned)
        finally:
            self._member = None
            self._group.leave(member, self._broker.counts())
            self._broker.version += 1
