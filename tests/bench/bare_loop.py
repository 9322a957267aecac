"""What the engine is compared with: consume, transform, produce, in Kafka transactions, and nothing else.

    python -m bench.bare_loop SOURCE TARGET PARTITIONS

Kafka's own way to process a stream exactly once, without any work: a group's consumer, one transactional producer per
partition, 500 records in a Kafka transaction with the group's offsets, each commit in a thread of its own.
Each record's headers and value are read, the value is changed, and one record is written.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

from kantor.clients import Partition, Record
from kantor.kafka import KafkaSettings
from kantor_orchestrator.engine.loop import BACKLOG

GROUP = "bench-bare-loop"
#: Records in one Kafka transaction.
BATCH = 500


class _Lane:
    def __init__(self, settings: KafkaSettings, partition: Partition, target: str) -> None:
        self.partition = partition
        self.pending: deque[Record] = deque()
        self.committing: Future[None] | None = None
        self._target = target
        self._position = 0
        name = f"{GROUP}-{partition[1]}"
        self._producer = settings.producer(name, transactional_id=name, linger_ms=1)
        self._producer.init_transactions()

    def write(self) -> None:
        self._producer.begin()
        produce, pending, target, number = (
            self._producer.produce,
            self.pending,
            self._target,
            self.partition[1],
        )
        record = pending[0]
        for _ in range(min(BATCH, len(pending))):
            record = pending.popleft()
            headers = record.headers()
            assert headers
            produce(target, (record.value() or b"") + b"!", record.key(), None, number)
        self._position = record.offset() + 1

    def commit(self, group_metadata: Any) -> None:
        self._producer.send_offsets({self.partition: self._position}, group_metadata)
        self._producer.commit()


def run(source: str, target: str, partitions: int) -> None:
    settings = KafkaSettings.from_env()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer = settings.consumer(GROUP, group=GROUP)
    lanes = [_Lane(settings, (source, number), target) for number in range(partitions)]
    commits = ThreadPoolExecutor(partitions)
    paused: set[int] = set()
    consumer.subscribe([source])
    while not stop.is_set():
        busy = any(lane.committing is not None for lane in lanes)
        for record in consumer.poll(0.002 if busy else 0.05, 2_000).records:
            lanes[record.partition()].pending.append(record)
        for number, lane in enumerate(lanes):
            if lane.committing is not None and lane.committing.done():
                lane.committing.result()
                lane.committing = None
            if lane.committing is None and lane.pending:
                group_metadata = consumer.group_metadata()
                lane.write()
                lane.committing = commits.submit(lane.commit, group_metadata)
            if len(lane.pending) > BACKLOG and number not in paused:
                consumer.pause([lane.partition])
                paused.add(number)
            elif len(lane.pending) < BACKLOG // 2 and number in paused:
                consumer.resume([lane.partition])
                paused.discard(number)
    commits.shutdown()
    consumer.close()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
