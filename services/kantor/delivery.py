"""Two ways to deliver a batch: at least once with ids that repeat (kit-1), or in one Kafka transaction (kit-4).

Why, and what a crash at each point does: docs/decisions/0004-kit-delivery.md. In both, a position is committed only after
everything before it was answered, and always explicitly.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from kantor.clients import Batch, Clients, Consumer, Partition, Producer, Record, deliver
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.errors import FencedError, KantorError
from kantor.metrics import Metrics
from kantor.topics import MAX_RECORD
from kantor.writing import Outgoing

log = logging.getLogger("kantor.service")

#: Seconds that positions of skipped records may wait for an answer to go with.
_SKIPPED_FOR = 1.0
#: Seconds between commits of positions, delivering at least once: what a crash makes to be done again, and a request less
#: for each batch.
_COMMIT_EVERY = 0.1
#: Seconds. Short, because a signal is only seen between calls; the caller tries again.
_INIT_TIMEOUT = 10.0


class Delivery(Protocol):
    """How answers go out and positions move on. One thread."""

    def start(self) -> None:
        """Before the group is joined. Raises ``KafkaUnavailableError``."""

    def poll(self, timeout: float, limit: int) -> Sequence[Record]:
        """The next batch; nothing of it is sent or committed before :meth:`finish`."""

    def finish(self, records: Sequence[Record], answers: Sequence[Outgoing]) -> Collection[Partition]:
        """Send a batch's answers and commit its positions; or give it up and let it be read again: the partitions that
        were set back are returned.

        Raises ``KantorError`` (also ``FencedError``): join the group again, and read from what is committed.
        """

    def idle(self) -> None:
        """There was nothing to read: serve the clients."""

    def assigned(self, partitions: list[Partition]) -> None:
        """These were added, and their positions are not known yet. Raises ``KantorError``: join the group again."""

    def revoked(self, partitions: list[Partition]) -> None:
        """These go to another member in good order: commit what is known of them. Raises nothing."""

    def lost(self, partitions: list[Partition]) -> None:
        """Another member may own these already: forget them."""

    def close(self) -> None:
        """After the group was left."""


def _ends(records: Sequence[Record]) -> dict[Partition, int]:
    """The position after these records. Within a partition they come in order."""
    return {(record.topic(), record.partition()): record.offset() + 1 for record in records}


def _starts(records: Sequence[Record]) -> dict[Partition, int]:
    return {(record.topic(), record.partition()): record.offset() for record in reversed(records)}


def transactional_producer(clients: Clients, transactional_id: str) -> Producer:
    return clients.producer(
        transactional_id,
        transactional_id=transactional_id,
        extra={"message.max.bytes": MAX_RECORD},
    )


def waiting_producer(clients: Clients, client_id: str) -> Producer:
    """Without a time limit for a delivery: an outage is waited out, and nothing after it is committed before."""
    return clients.producer(client_id, extra={"message.timeout.ms": 0, "message.max.bytes": MAX_RECORD})


class TransactionalDelivery:
    """Answers and positions in one Kafka transaction (KIP-98, KIP-447), which is short: handlers ran before it began.

    Positions are committed in Kafka transactions only: a plain commit on its way could land behind one, and set the
    group back.
    """

    def __init__(
        self,
        consumer: Consumer,
        producer: Producer,
        metrics: Metrics,
        aside: Partition,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """``aside``: a partition that the group does not read, see :meth:`assigned`."""
        self._clock = clock
        self._aside = aside
        self._consumer = consumer
        self._producer = producer
        self._metrics = metrics
        self._group: Any = None
        self._outside: Any = None
        #: Of skipped records, by partition: where they begin, and the position after them.
        self._skipped_from: dict[Partition, int] = {}
        self._skipped: dict[Partition, int] = {}
        self._skipped_since = 0.0
        self._gave_up = False

    def start(self) -> None:
        # Before joining: what a dead predecessor left open ends here, so that the committed positions are final.
        self._producer.init_transactions(_INIT_TIMEOUT)
        self._outside = self._consumer.group_metadata()

    def assigned(self, partitions: list[Partition]) -> None:  # noqa: ARG002
        # A broker's crash may leave a Kafka transaction of ours partially committed: committed, but the group never gets its marker, and tells
        # its positions to nobody any more (docs/decisions/0011). Our next marker there commits it, so one is written for
        # nothing; as nobody in particular, whom the broker does not refuse for a rebalance.
        self._producer.begin()
        self._producer.send_offsets({self._aside: 0}, self._outside)
        self._commit()

    def poll(self, timeout: float, limit: int) -> Sequence[Record]:
        # Taken before the records are: whatever happens to our membership from here on makes the commit fail. Taken
        # later it might be that of a member who lost the group, which the broker does not check at all.
        self._group = self._consumer.group_metadata()
        return self._consumer.poll(timeout, limit).records

    def finish(self, records: Sequence[Record], answers: Sequence[Outgoing]) -> Collection[Partition]:
        if not answers:
            return self._skip(records)
        starts = _starts(records) | self._skipped_from
        positions = self._skipped | _ends(records)
        self._forget_skipped()
        return self._transact(answers, starts, positions)

    def _transact(
        self,
        answers: Sequence[Outgoing],
        starts: Mapping[Partition, int],
        positions: Mapping[Partition, int],
    ) -> Collection[Partition]:
        """One Kafka transaction; what is to be read again, if it was refused."""
        try:
            self._write(answers, positions)
        except FencedError:
            raise
        except KantorError as error:
            self._give_up(starts, error)
            return starts
        self._commit()
        return ()

    def _commit(self) -> None:
        # If this fails nobody knows whether it happened: a new producer's init_transactions settles it.
        self._producer.commit()
        self._gave_up = False

    def _write(self, answers: Sequence[Outgoing], positions: Mapping[Partition, int]) -> None:
        self._producer.begin()
        produce = self._producer.produce
        for topic, value, key, headers in answers:
            produce(topic, value, key, headers)
        if positions:
            self._producer.send_offsets(positions, self._group)

    def _give_up(self, starts: Mapping[Partition, int], error: KantorError) -> None:
        """Abort and read the batch again: mostly the group was rebalanced meanwhile, and a part belongs to another member now.

        Raises ``KantorError`` if even that fails, or if the batch before was given up too: set everything up again. A
        producer whose broker went away in the middle may never find its way back (librdkafka's issue 3584, its pull
        request 3971), and a rebalance does not hit twice in a row.
        """
        log.info("batch given up: %s", error, extra={"action": "batch_aborted"})
        self._metrics.resets.inc()
        if self._gave_up:
            raise error
        self._gave_up = True
        self._producer.abort()
        mine = set(self._consumer.assignment())
        for partition, offset in starts.items():
            if partition in mine:
                self._consumer.seek(partition, offset)

    def _skip(self, records: Sequence[Record]) -> Collection[Partition]:
        if not self._skipped:
            self._skipped_since = self._clock.monotonic()
        self._skipped |= _ends(records)
        self._skipped_from = _starts(records) | self._skipped_from
        if self._clock.monotonic() - self._skipped_since > _SKIPPED_FOR:
            return self._commit_skipped()
        return ()

    def _commit_skipped(self) -> Collection[Partition]:
        starts, positions = self._skipped_from, self._skipped
        self._forget_skipped()
        return self._transact((), starts, positions)

    def _forget_skipped(self) -> None:
        self._skipped_from, self._skipped = {}, {}

    def idle(self) -> None:
        self._producer.poll()
        if self._skipped and self._clock.monotonic() - self._skipped_since > _SKIPPED_FOR:
            self._commit_skipped()

    def revoked(self, partitions: list[Partition]) -> None:
        positions = {p: self._skipped[p] for p in partitions if p in self._skipped}
        self.lost(partitions)
        if not positions:
            return
        try:
            self._group = self._consumer.group_metadata()
            self._write((), positions)
            self._commit()
        except KantorError as error:
            # They will be skipped again; if the producer is broken, the next batch finds out.
            log.info("positions not committed: %s", error, extra={"action": "commit_failed"})

    def lost(self, partitions: list[Partition]) -> None:
        for partition in partitions:
            self._skipped.pop(partition, None)
            self._skipped_from.pop(partition, None)

    def close(self) -> None:
        self._producer.purge()


class AtLeastOnceDelivery:
    """Positions after the answers, and the answers after the inbox's SQL commit if there is an inbox. What is delivered
    again after a crash is answered again, with the same ids."""

    def __init__(
        self, consumer: Consumer, producer: Producer, stop: threading.Event, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """``stop``: set when an outage shall not be waited out any more."""
        self._consumer = consumer
        self._producer = producer
        self._stop = stop
        self._clock = clock
        #: Positions of what is answered; and of those, what no commit was asked for yet.
        self._done: dict[Partition, int] = {}
        self._uncommitted: dict[Partition, int] = {}
        self._committed_at = 0.0
        #: Taken away since the last poll: another member commits what is answered of them now.
        self._gone: set[Partition] = set()

    def start(self) -> None:
        pass

    def assigned(self, partitions: list[Partition]) -> None:
        self._gone.difference_update(partitions)

    def poll(self, timeout: float, limit: int) -> Sequence[Record]:
        self._gone.clear()
        batch: Batch = self._consumer.poll(timeout, limit)
        return batch.records

    def finish(self, records: Sequence[Record], answers: Sequence[Outgoing]) -> Collection[Partition]:
        for topic, value, key, headers in answers:
            self._producer.produce(topic, value, key, headers)
        if answers:
            deliver(self._producer, self._clock, self._stop.is_set)
        ends = {place: position for place, position in _ends(records).items() if place not in self._gone}
        self._done |= ends
        self._uncommitted |= ends
        self._commit()
        return ()

    def _commit(self) -> None:
        now = self._clock.monotonic()
        if self._uncommitted and now - self._committed_at > _COMMIT_EVERY:
            self._consumer.commit(self._uncommitted)
            self._uncommitted, self._committed_at = {}, now

    def idle(self) -> None:
        self._producer.poll()
        self._commit()

    def revoked(self, partitions: list[Partition]) -> None:
        known = {p: self._done[p] for p in partitions if p in self._done}
        self.lost(partitions)
        try:
            self._consumer.commit(known, wait=True)
        except KantorError as error:
            # The next owner reads some of it again, and answers it with the same ids.
            log.info("positions not committed: %s", error, extra={"action": "commit_failed"})

    def lost(self, partitions: list[Partition]) -> None:
        self._gone.update(partitions)
        for partition in partitions:
            self._done.pop(partition, None)
            self._uncommitted.pop(partition, None)

    def close(self) -> None:
        self._producer.purge()
