"""Intake: whose is this record? Copies what belongs to a transaction into the journal, as it is.

It reads headers only. At-least-once, in the order of each source partition: a batch is delivered before its offsets are
committed, and intake stops at its first failed delivery; the engine removes the replays (rule 7a.6). What can't be
correlated is counted and sampled by topic. Watermarks tell the shards up to which time everything is in the journal
(section 7, rule 7): intake notes its clock, samples each source partition's read_uncommitted end, and publishes that
clock once it has journaled past all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Event
from uuid import uuid4
from zlib import crc32

from kantor.clients import STUCK, Batch, Clients, Partition, Record
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.envelope import TRANSACTION_ID, header_map, transaction_id_of
from kantor.errors import EnvelopeError, KafkaUnavailableError, KantorError
from kantor_orchestrator import journal, topics
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.metrics import IntakeMetrics

log = logging.getLogger("kantor.intake")

#: Kantor's conventions (section 5): events and commands.
PATTERN = r"^(evt|cmd)\..*"
BATCH = 2_000
#: Seconds between watermarks: timeouts are late by up to about this much; the journal grows by one record a shard.
WATERMARK_INTERVAL = 1.0
#: Seconds between commits: replays after a crash are at most this much, and change nothing.
COMMIT_INTERVAL = 0.25

_valid = TRANSACTION_ID.fullmatch


class Intake:
    """One member of the intake group. One thread calls :meth:`run`, or in place of it :meth:`start`, :meth:`turn` as
    often as it likes, and :meth:`close`."""

    def __init__(
        self,
        clients: Clients,
        shards: int,
        metrics: IntakeMetrics,
        *,
        clock: Clock = SYSTEM_CLOCK,
        sampler: Executor | None = None,
    ) -> None:
        """``sampler`` asks the broker for ends while records are read; a thread of intake's own unless given."""
        self._clock = clock
        self._shards = shards
        self._metrics = metrics
        self._name = f"intake-{uuid4().hex[:8]}"
        self._admin = clients.admin("kantor-intake-admin")
        self._consumer = clients.consumer("kantor-intake", group=INTAKE_GROUP, ends=True)
        self._producer = clients.producer(
            "kantor-intake",
            # Order survives whatever happens: never give up on a record, never let a later one overtake it.
            extra={
                "message.timeout.ms": 0,
                "enable.gapless.guarantee": True,
                "message.max.bytes": 1_000_000_000,
            },
        )
        self._topic_ids: dict[str, bytes] = {}
        self._positions: dict[Partition, int] = {}  # delivered to the journal, not yet committed
        self._reached: dict[Partition, int] = {}  # journaled past this offset
        self._uncorrelated: dict[str, journal.Uncorrelated] = {}
        self._uncorrelated_changed = False
        self._refused: dict[Partition, str] = {}  # may not be read, and why
        self._sampler = sampler or ThreadPoolExecutor(1, "watermark")
        self._sample: Future[tuple[int, dict[Partition, int], dict[str, int]]] | None = None
        self._next_watermark = 0.0
        self._next_commit = 0.0

    def run(self, stop: Event, ready: Callable[[], None]) -> None:
        """Work until ``stop``. Raises ``KantorError`` when a record can't be delivered: the caller starts a new one,
        which goes on after the last committed position."""
        try:
            self.start(ready)
            while not stop.is_set():
                self.turn()
            self._commit(wait=True)
        finally:
            self.close()

    def start(self, ready: Callable[[], None]) -> None:
        """Join the group."""

        def assigned(partitions: list[Partition]) -> None:
            self._learn_topics([topic for topic, _ in partitions])
            self._sample = None
            log.info("reading %d more partitions", len(partitions), extra={"action": "assigned"})
            ready()

        self._consumer.subscribe([PATTERN], on_assign=assigned, on_revoke=self._revoked, on_lost=self._forget)
        ready()

    def turn(self) -> None:
        """One turn of the loop: journal what is there; at times commit, and tell the shards the time."""
        batch = self._consumer.poll(0.05, BATCH)
        if batch.records:
            self._journal(batch.records)
        if batch.ends:
            self._advance(batch.ends)
        if batch.refused or self._refused:
            self._note_refused(batch)
        now = self._clock.monotonic()
        if now >= self._next_watermark or self._sample is not None:
            self._watermark(now)
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_INTERVAL
            self._commit(wait=False)

    def close(self) -> None:
        """Leave the group: what is delivered is committed, what is not is another's."""
        self._sampler.shutdown(wait=True, cancel_futures=True)
        self._consumer.close()
        self._producer.purge()

    def _journal(self, records: list[Record]) -> None:
        """Append what belongs to a transaction; returns when the broker has all of it. Only then are these records done:
        whatever fails before, leaving the group must not commit them."""
        produce, shards, topic_ids = self._producer.produce, self._shards, self._topic_ids
        positions: dict[Partition, int] = {}
        journaled = 0
        for record in records:
            topic, partition, offset = record.topic(), record.partition(), record.offset()
            positions[topic, partition] = offset + 1
            headers = record.headers() or []
            transaction = source = None
            for name, value in headers:
                if name == "ce_correlationid":
                    transaction = value
                elif name == "ce_source":
                    source = value
            if source == b"kantor" and topic != topics.OWN_COMMANDS:
                continue  # history has the engine's own messages
            if transaction is None or _valid(transaction.decode("latin-1")) is None:
                self._cannot_correlate(record)
                continue
            headers.append((journal.ENTRY, journal.COMMAND if topic[:4] == "cmd." else journal.EVENT))
            headers.append((journal.ORIGIN, f"{topic}/{partition}/{offset}".encode()))
            headers.append((journal.TOPIC_ID, topic_ids[topic]))
            headers.append((journal.TIMESTAMP, b"%d" % record.timestamp()[1]))
            key = record.key()
            if key is not None:
                headers.append((journal.KEY, key))
            produce(topics.JOURNAL, record.value(), transaction, headers, crc32(transaction) % shards)
            journaled += 1
        if journaled:
            self._flush()
        self._positions.update(positions)
        self._advance(positions)
        self._metrics.journaled(journaled, len(records))

    def _advance(self, positions: Mapping[Partition, int]) -> None:
        """Never back: a position behind the last record is short of the end that was met (a commit marker's)."""
        reached = self._reached
        for partition, position in positions.items():
            if position > reached.get(partition, -1):
                reached[partition] = position

    def _flush(self) -> None:
        """Wait for the broker. Raises ``KafkaUnavailableError`` if nothing is delivered for long: with a new producer the
        same records are read again."""
        try:
            self._producer.flush(STUCK)
        except KafkaUnavailableError:
            raise
        except KantorError:
            self._accept_larger_records(list(self._topic_ids))
            raise

    def _accept_larger_records(self, sources: list[str]) -> None:
        """Let the journal take twice the largest record of any of these topics."""
        limit = topics.journal_limit(self._admin, sources)
        if limit > int(self._admin.config(topics.JOURNAL)["max.message.bytes"]):
            self._admin.set_config(topics.JOURNAL, "max.message.bytes", str(limit))
            log.info("the journal now takes %d bytes", limit, extra={"action": "journal_limit_raised"})

    def _cannot_correlate(self, record: Record) -> None:
        reason = ""
        try:
            transaction_id_of(header_map(record.headers()))
        except EnvelopeError as error:
            reason = str(error)
        topic = record.topic()
        before = self._uncorrelated.get(topic)
        sample = f"{topic}/{record.partition()}/{record.offset()}"
        self._uncorrelated[topic] = journal.Uncorrelated(before.count + 1 if before else 1, reason, sample)
        self._uncorrelated_changed = True
        self._metrics.uncorrelated(topic)
        if before is None:
            log.warning("can't correlate %s: %s", sample, reason, extra={"action": "uncorrelated"})

    def _learn_topics(self, names: list[str]) -> None:
        sources = sorted(set(names))
        for name, id_ in self._admin.topic_ids(sources).items():
            self._topic_ids[name] = id_.encode()
        self._accept_larger_records(sources)

    def _note_refused(self, batch: Batch) -> None:
        """A topic that intake may see but not read holds back every timeout: an answer that should have come may be in it.
        So it is told; what another reads is told by the watermarks all the same."""
        before = {topic for topic, _ in self._refused}
        for record in batch.records:
            self._refused.pop((record.topic(), record.partition()), None)
        for partition in batch.ends:
            self._refused.pop(partition, None)
        self._refused.update(batch.refused)
        topics_ = {topic: reason for (topic, _), reason in self._refused.items()}
        for topic in sorted(topics_.keys() - before):
            log.error(
                "intake may not read %s: every timeout waits until it may: %s",
                topic,
                topics_[topic],
                extra={"action": "source_refused"},
            )
        for topic in sorted(before - topics_.keys()):
            log.info("intake may read %s now", topic, extra={"action": "source_accepted"})
        if topics_.keys() != before:
            self._metrics.refused(topics_)

    # -- watermarks

    def _watermark(self, now: float) -> None:
        if self._sample is None:
            self._next_watermark = now + WATERMARK_INTERVAL
            assignment = self._consumer.assignment()
            if assignment:
                self._sample = self._sampler.submit(self._sample_ends, assignment)
            else:  # nothing is its task, so nothing lags: else the time of what it gave back would age for ever
                self._metrics.behind(0)
                self._metrics.watermark(self._clock.now() / 1000)
            return
        if not self._sample.done():
            return
        try:
            clock, ends, existing = self._sample.result()
        except KantorError as error:
            log.warning("no watermark this time: %s", error, extra={"action": "watermark_failed"})
            self._sample = None
            return
        reached = self._reached
        read = {partition: end for partition, end in ends.items() if partition not in self._refused}
        behind = sum(max(0, end - max(0, reached.get(partition, -1))) for partition, end in read.items())
        self._metrics.behind(behind)
        if any(reached.get(partition, -1) < end for partition, end in read.items()):
            return  # later: not everything that was there is in the journal yet
        self._sample = None
        watermark = journal.Watermark(
            self._name,
            clock,
            [f"{topic}/{partition}" for topic, partition in read],
            list(existing),
            self._uncorrelated if self._uncorrelated_changed else {},
            sum(existing.values()),
            {p[0]: self._refused[p] for p in ends if p in self._refused},
        ).dump()
        for shard in range(self._shards):
            self._producer.produce(topics.JOURNAL, watermark, None, journal.WATERMARK_HEADERS, shard)
        self._flush()
        self._uncorrelated_changed = False
        self._metrics.watermark(clock / 1000)

    def _sample_ends(self, assignment: list[Partition]) -> tuple[int, dict[Partition, int], dict[str, int]]:
        clock = self._clock.now()
        found = self._admin.topics()
        existing = {name: found[name] for name in sorted(found) if name.startswith(("evt.", "cmd."))}
        return clock, self._admin.ends(assignment), existing

    # -- positions

    def _commit(self, *, wait: bool) -> None:
        if self._positions:
            self._consumer.commit(self._positions, wait=wait)
            self._positions = {}

    def _revoked(self, partitions: list[Partition]) -> None:
        self._commit(wait=True)
        self._forget(partitions)

    def _forget(self, partitions: list[Partition]) -> None:
        self._sample = None
        for partition in partitions:
            self._positions.pop(partition, None)
            self._reached.pop(partition, None)
