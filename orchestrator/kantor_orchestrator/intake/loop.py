"""Intake: whose is this record? Copies what belongs to a transaction into the journal, as it is.

It reads headers only (journal-6). At-least-once, in the order of each source partition (journal-7): what is read is delivered
before its offsets are committed, and intake stops at its first failed delivery; the engine removes the replays. While the broker
has yet to confirm a few records, intake reads on: else each event would wait for the one before it. What is wrong
with one record is the end of that record alone (journal-10): it is counted, sampled and said (``addressing.py``,
``formats/appending.py``). A topic that was recreated is noticed by its id, or by offsets that go back. How far intake has come it
tells by watermarks (``marking.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Event
from zlib import crc32

from kantor.clients import BEGINNING, Batch, Clients, Partition, Record
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.envelope import KANTOR_SOURCE, TRANSACTION_ID
from kantor.errors import KantorError
from kantor_orchestrator.config import INTAKE_GROUP, NEVER_LONG
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.appending import LARGE, JournalAppender
from kantor_orchestrator.intake.addressing import (
    FAILED_ON,
    GONE,
    IMPERSONATED,
    SPEC_VERSION,
    is_impersonated,
    why_not,
)
from kantor_orchestrator.intake.marking import Marker
from kantor_orchestrator.intake.overtaken import Overtaken
from kantor_orchestrator.metrics import IntakeMetrics
from kantor_orchestrator.process.aside import Aside
from kantor_orchestrator.process.wellness import Wellness, out_of

log = logging.getLogger("kantor.intake")

#: Kantor's conventions (wire-1): events and commands.
PATTERN = r"^(evt|cmd)\..*"
BATCH = 2_000
#: Seconds between commits: replays after a crash are at most this much, and change nothing.
COMMIT_INTERVAL = 0.25
#: Records that the broker has yet to confirm while more are read. More wait for it: its answer is then one for many.
AHEAD = 20

_valid = TRANSACTION_ID.fullmatch
_OURS = KANTOR_SOURCE.encode()

#: What stands for an id then, with the topic's name behind it.
_NAME = b"name:"


@dataclass(slots=True)
class UnderWay:
    """What was read, and is done when the broker has all records that follow from it."""

    positions: dict[Partition, int] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)  # that were met
    records: int = 0
    journaled: int = 0

    def forget(self, partition: Partition) -> None:
        self.positions.pop(partition, None)
        self.ends.pop(partition, None)


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
        aside: Executor | None = None,
        wellness: Wellness | None = None,
    ) -> None:
        """``wellness`` hears of each turn. ``aside`` asks the broker for ends, and waits for it,
        while records are read; threads of intake's own unless given."""
        self._clock = clock
        self._wellness = wellness or Wellness()
        self._shards = shards
        self._metrics = metrics
        self._admin = clients.admin("kantor-intake-admin")
        self._consumer = clients.consumer("kantor-intake", group=INTAKE_GROUP, ends=True, extra=NEVER_LONG)
        self._aside = aside or Aside("intake")
        self._appender = JournalAppender(clients, self._admin, clock, self._aside)
        self._topic_ids: dict[str, bytes] = {}
        self._under_way = UnderWay()
        self._confirmed = 0  # records, by the broker
        self._positions: dict[Partition, int] = {}  # delivered to the journal, not yet committed
        self._reached: dict[Partition, int] = {}  # journaled past this offset
        self._read: dict[Partition, int] = {}  # the next offset, of what was read
        self._begun_anew: set[str] = set()  # topics whose records in this batch are passed over
        self._turned_back: set[Partition] = set()  # said once
        self._refused: dict[Partition, str] = {}  # may not be read, and why
        self._marker = Marker(clients, self._admin, self._aside, metrics, clock)
        self._overtaken = Overtaken(self._admin, self._aside, self._say_gone, clock)
        self._next_commit = 0.0

    def run(self, stop: Event, ready: Callable[[], None]) -> None:
        """Work until ``stop``. Raises ``KantorError`` when a record can't be delivered: the caller starts a new one,
        which goes on after the last committed position."""
        try:
            self.start(ready)
            while not stop.is_set():
                self.turn()
            self._appender.flush()
            self._settle()
            self._commit(wait=True)
        finally:
            self.close()

    def start(self, ready: Callable[[], None]) -> None:
        """Join the group. ``ready`` is called when it has told what is ours, if only that nothing is."""

        def assigned(partitions: list[Partition]) -> dict[Partition, int]:
            self._wellness.missing({})
            self._learn_topics([topic for topic, _ in partitions])
            self._marker.drop()
            log.info("reading %d more partitions", len(partitions), extra={"action": "assigned"})
            ready()
            begin = self._overtaken.begin(self._consumer.whose(partitions))
            self._positions.update(begin)  # committed, so that it is not said again
            return begin

        self._consumer.subscribe([PATTERN], on_assign=assigned, on_revoke=self._revoked, on_lost=self._lost)

    def turn(self) -> None:
        """One turn of the loop: journal what is there; at times commit, and tell the shards the time."""
        self._wellness.beat("intake")
        patience = 0.005 if self._under_way.records else 0.01 if self._marker.is_urgent else 0.05
        batch = self._consumer.poll(patience, BATCH)
        self._settle()
        if self._under_way.records and self._under_way.records + len(batch.records) > AHEAD:
            self._appender.flush()
            self._settle()
        if batch.records:
            self._journal(batch.records)
        self._under_way.ends.update(batch.ends)
        self._settle()
        confirmed = self._confirmed
        self._wellness.position(
            "intake (records confirmed by the broker)", confirmed, confirmed + self._under_way.records
        )
        if batch.refused or self._refused:
            self._note_refused(batch)
        self._overtaken.turn()
        self._marker.turn(self._consumer.assignment, self._reached, self._refused, self._recreated)
        now = self._clock.monotonic()
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_INTERVAL
            self._commit(wait=False)

    def close(self) -> None:
        """Leave the group: what is delivered is committed; another member reads the rest."""
        self._aside.shutdown(wait=True, cancel_futures=True)
        try:
            self._marker.close()
        finally:
            self._consumer.close()
            self._appender.purge()

    def _journal(self, records: list[Record]) -> None:
        """Append what belongs to a transaction. These records are done when the broker has all of it: whatever fails before,
        leaving the group must not commit them."""
        produce, shards, topic_ids = self._appender.produce, self._shards, self._topic_ids
        positions = self._under_way.positions
        journaled = 0
        self._begun_anew.clear()
        for record in records:
            topic, partition, offset = record.topic(), record.partition(), record.offset()
            place = topic, partition
            if offset != (expected := self._read.get(place, 0)) or topic not in topic_ids:
                if offset > expected > 0:
                    self._overtaken.jumped(place, expected, offset)
                if offset < expected or topic not in topic_ids:
                    self._identify(place, offset)
            if topic in self._begun_anew:
                continue  # it comes again, from the topic's beginning
            self._read[place] = positions[place] = offset + 1
            try:  # whatever is wrong with one record is the end of that record alone
                headers = record.headers() or []
                found = dict(headers)
                if found.get("ce_source") == _OURS and topic != topics.OWN_COMMANDS:
                    if is_impersonated(topic, found):
                        self._refuse(record, IMPERSONATED)
                    continue  # history has the engine's own messages
                transaction = found.get("ce_correlationid")
                if (
                    transaction is None
                    or _valid(transaction.decode("latin-1")) is None
                    or found.get("ce_specversion", SPEC_VERSION) != SPEC_VERSION
                    or not found.get("ce_type")
                    or len(found) != len(headers)
                ):
                    reason = why_not(headers)
                    if reason:
                        self._refuse(record, reason)
                        continue
                    assert transaction is not None
                if not journal.OWN.isdisjoint(found):
                    headers = _without_own(topic, headers)
                headers.append((journal.ENTRY, journal.COMMAND if topic[:4] == "cmd." else journal.EVENT))
                headers.append((journal.ORIGIN, f"{topic}/{partition}/{offset}".encode()))
                headers.append((journal.TOPIC_ID, topic_ids[topic]))
                headers.append((journal.TIMESTAMP, b"%d" % record.timestamp()[1]))
                key, value = record.key(), record.value()
                if key is not None:
                    headers.append((journal.KEY, key))
                size = len(value or b"") + sum([len(text) for _, text in headers if text])
                shard = crc32(transaction) % shards
                if size < LARGE:
                    produce(topics.JOURNAL, value, transaction, headers, shard)
                elif reason := self._appender.append_large(value, transaction, headers, shard, size):
                    self._refuse(record, reason)
                    continue
                journaled += 1
            except KantorError:
                raise
            except Exception as error:  # noqa: BLE001 - it is counted, sampled and said
                self._refuse(record, FAILED_ON, f"{type(error).__name__}: {error}")
        self._under_way.records += len(records)
        self._under_way.journaled += journaled
        if journaled:
            self._appender.send()

    def _settle(self) -> None:
        """What is under way is done if the broker has it. A partition never goes back: a position behind the last record is
        short of the end that was met (a commit marker's)."""
        done = self._under_way
        if not (done.records or done.ends) or not self._appender.is_done():
            return
        self._under_way = UnderWay()
        self._positions.update(done.positions)
        reached = self._reached
        for found in (done.positions, done.ends):
            for partition, position in found.items():
                if position > reached.get(partition, -1):
                    reached[partition] = position
        self._confirmed += done.records
        self._metrics.journaled(done.journaled, done.records)

    def _refuse(self, record: Record, reason: str, detail: str = "") -> None:
        """It is counted and sampled, and everybody is told: it is not in the journal."""
        topic = record.topic()
        sample = f"{topic}/{record.partition()}/{record.offset()}"
        self._metrics.uncorrelated(topic)
        if self._marker.refusals.add(topic, reason, sample):
            text = f"{reason} ({detail})" if detail else reason
            log.warning("can't correlate %s: %s", sample, text, extra={"action": "uncorrelated"})

    def _say_gone(self, place: Partition, expected: int, start: int) -> None:
        """They are lost for every saga, and what they answered is unknown: told as what could not be journaled is."""
        topic, partition = place
        self._metrics.uncorrelated(topic, start - expected)
        self._marker.refusals.add(topic, GONE, f"{topic}/{partition}/{start - 1}", start - expected)
        log.error(
            "%s/%d begins at %d, although it was read up to %d only: Kafka has deleted the records between, so no saga receives them",
            *place, start, expected, extra={"action": "source_lost"},
        )  # fmt: skip

    # -- topics

    def _learn_topics(self, names: Iterable[str]) -> None:
        for name, id_ in self._admin.topic_ids(sorted(set(names))).items():
            self._topic_ids[name] = self._named(name, id_)

    def _identify(self, place: Partition, offset: int) -> None:
        """A record of a topic that nobody knows yet, or before one that was read already: which topic is it of (journal-11)?
        Offsets that go back in the same one are said (journal-12)."""
        topic = place[0]
        before = self._topic_ids.get(topic)
        found = self._named(topic, self._admin.topic_ids([topic]).get(topic, ""))
        if before is None:
            self._topic_ids[topic] = found
        elif not found.startswith(_NAME):
            if found != before:
                self._begin_anew(topic, found)
            elif place not in self._turned_back:
                self._turned_back.add(place)
                log.error(
                    "%s/%d continues at %d, although %d was already read: Kafka lost records, and records that are written"
                    " at those offsets now are mistaken for the lost ones",
                    *place, offset, self._read[place], extra={"action": "source_turned_back"},
                )  # fmt: skip
        else:
            again = self._topic_ids[topic] = _NAME + topic.encode() + b"@%d" % self._clock.now()
            self._marker.remember_id(topic, again)
            self._read = {p: n for p, n in self._read.items() if p[0] != topic}
            log.warning(
                "%s/%d continues at %d: the topic was recreated, or Kafka lost records; its records count as new"
                " (this broker gives topics no ids)",
                *place, offset, extra={"action": "topic_recreated"},
            )  # fmt: skip

    def _named(self, topic: str, id_: str) -> bytes:
        """What tells this topic from any other, and from one of the same name that was before it."""
        return (
            (self._marker.id_of(topic).encode() or _NAME + topic.encode())
            if id_ in topics.NO_IDS
            else id_.encode()
        )

    def _recreated(self, found: Mapping[str, str]) -> bool:
        """Whether any of these topics is another one than it was; it is read again then."""
        begun = False
        for topic, id_ in found.items():
            now, before = self._named(topic, id_), self._topic_ids.get(topic)
            if before is not None and now != before and not now.startswith(_NAME):
                self._begin_anew(topic, now)
                begun = True
        return begun

    def _begin_anew(self, topic: str, id_: bytes) -> None:
        """The topic was deleted and recreated: what was read of it is no measure for what is in it now. All of it is read,
        under its new id: a reader that went on where it was may have passed over some."""
        log.warning(
            "%s was deleted and recreated: it is read from its beginning", topic,
            extra={"action": "topic_recreated"},
        )  # fmt: skip
        self._topic_ids[topic] = id_
        self._begun_anew.add(topic)
        self._marker.drop()
        for partition in [p for p in self._consumer.assignment() if p[0] == topic]:
            self._read.pop(partition, None)
            self._reached.pop(partition, None)
            self._under_way.forget(partition)
            self._overtaken.forget(partition)
            self._positions[partition] = 0
            self._consumer.seek(partition, BEGINNING)
        # At once: the next life would go on where the old topic was left, should this one end before it commits.
        self._commit(wait=True)

    def _note_refused(self, batch: Batch) -> None:
        """A topic that intake may see but not read holds back every timeout (journal-14): an answer that should have come may
        be in it. So it is told; what another reads is told by the watermarks all the same."""
        before = {topic for topic, _ in self._refused}
        for record in batch.records:
            self._refused.pop((record.topic(), record.partition()), None)
        for partition in batch.ends:
            self._refused.pop(partition, None)
        self._refused.update(batch.refused)
        topics_ = {topic: reason for (topic, _), reason in self._refused.items()}
        for topic in sorted(topics_.keys() - before):
            log.error(
                "intake may not read %s, and until it may, every timeout waits: %s",
                topic,
                topics_[topic],
                extra={"action": "source_refused"},
            )
        for topic in sorted(before - topics_.keys()):
            log.info("intake may now read %s", topic, extra={"action": "source_accepted"})
        if topics_.keys() != before:
            self._metrics.refused(topics_)

    # -- positions

    def _commit(self, *, wait: bool) -> None:
        if self._positions:
            self._consumer.commit(self._positions, wait=wait)
            self._positions = {}

    def _revoked(self, partitions: list[Partition]) -> None:
        self._commit(wait=True)
        self._forget(partitions)

    def _lost(self, partitions: list[Partition]) -> None:
        self._wellness.missing(out_of(INTAKE_GROUP, self._clock.monotonic()))
        self._forget(partitions)

    def _forget(self, partitions: list[Partition]) -> None:
        self._marker.drop()
        for partition in partitions:
            self._positions.pop(partition, None)
            self._read.pop(partition, None)
            self._reached.pop(partition, None)
            self._under_way.forget(partition)
            self._overtaken.forget(partition)


def _without_own(topic: str, headers: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """Without what only the journal says (somebody has copied an entry back to its topic, with all of its headers): it would be
    taken for what was deferred, for one that can't be read, or for a child of another transaction. Parents are named on the
    platform's own topic only."""
    own = journal.OWN - {journal.PARENT} if topic == topics.OWN_COMMANDS else journal.OWN
    return [(name, value) for name, value in headers if name not in own]
