"""Records of many partitions in the order in which they were written, as far as their timestamps tell.

Whoever reads old partitions one after the other meets a transaction's history long after its journal, and the newest of
one shard before the oldest of the next. In this order a rebuild sees what the live view saw, and a transaction's records
near each other: so it has them in memory, and numbers transactions as the live view does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush

from kantor.clients import Partition, Record
from kantor.errors import KafkaUnavailableError
from kantor.kafka import Consumer
from kantor_orchestrator.formats import topics

#: Records of one partition in memory: above the first it is paused, below the second it goes on.
_MANY, _FEW = 20_000, 5_000
#: Seconds without a record or an end, with some missing, until Kafka counts as not answering: an open Kafka transaction of
#: an engine that died holds readers back for 10.
_PATIENCE = 60.0
#: Of records of one instant, an entry comes before the transitions that it caused, and these before the commands.
_RANKS = {topics.JOURNAL: 0, topics.HISTORY: 1}


class InOrder:
    """What lies between ``positions`` and ``ends``. ``positions`` follow what was handed out."""

    def __init__(
        self, consumer: Consumer, positions: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> None:
        """The consumer reports ends (``ends=True``) and reads nothing else meanwhile."""
        self.positions = dict(positions)
        self._consumer = consumer
        self._ends = ends
        self._queues: dict[Partition, deque[Record]] = {partition: deque() for partition in ends}
        #: (time, rank, partition) of the first record of each queue that has one.
        self._heads: list[tuple[int, int, Partition]] = []
        self._open = {partition for partition, end in ends.items() if self.positions[partition] < end}
        self._empty = set(self._open)  # open ones whose next record is not here yet
        self._paused: set[Partition] = set()
        self._silent = 0.0
        consumer.assign({partition: self.positions[partition] for partition in self._open})

    def take(self, limit: int) -> list[Record]:
        """The next records, at most ``limit``; none: these were all. Raises ``KafkaUnavailableError``."""
        found: list[Record] = []
        while len(found) < limit:
            while self._empty:
                self._read()
            if not self._heads:
                break
            time, rank, partition = heappop(self._heads)
            queue = self._queues[partition]
            record = queue.popleft()
            found.append(record)
            self.positions[partition] = (record.offset() or 0) + 1
            if queue:
                heappush(self._heads, (max(time, queue[0].timestamp()[1]), rank, partition))
            elif partition in self._open:
                self._empty.add(partition)
            if len(queue) < _FEW and partition in self._paused:
                self._paused.discard(partition)
                self._consumer.resume([partition])
        if not self._heads and not self._open:
            self.positions |= {p: max(end, self.positions[p]) for p, end in self._ends.items()}
        return found

    def _read(self) -> None:
        batch = self._consumer.poll(0.5, 5_000)
        self._silent = 0.0 if batch.records or batch.ends else self._silent + 0.5
        if self._silent > _PATIENCE:
            raise KafkaUnavailableError(
                f"no more records arrive from {sorted(self._empty)[:3]}, though there are more"
            )
        full = set()
        for record in batch.records:
            partition = record.topic() or "", record.partition() or 0
            if partition not in self._open:  # behind the end
                continue
            queue = self._queues[partition]
            offset = record.offset() or 0
            if offset < self._ends[partition]:
                queue.append(record)
                if len(queue) == 1:
                    heappush(self._heads, (record.timestamp()[1], _RANKS.get(partition[0], 2), partition))
                self._empty.discard(partition)
                if len(queue) > _MANY:
                    full.add(partition)
            self._came_to(partition, offset + 1)
        for partition, end in batch.ends.items():
            self._came_to(partition, end)
        if full := (full & self._open) - self._paused:
            self._paused |= full
            self._consumer.pause(sorted(full))

    def _came_to(self, partition: Partition, position: int) -> None:
        if partition in self._open and position >= self._ends[partition]:
            self._open.discard(partition)
            self._empty.discard(partition)
            self._consumer.pause([partition])
