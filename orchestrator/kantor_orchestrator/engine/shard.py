"""A shard: one journal partition with the transactions in it; what an engine holds of it while it owns it.

What memory holds (shard-4) runs ahead of the log by the turns that are being written, and ahead of the state topic by what has
changed since the last checkpoint. Neither matters: if anything goes wrong the shard is retaken (shard-2), and the log is the truth.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import NamedTuple

from kantor.clients import Record
from kantor.clock import Clock
from kantor.errors import KafkaUnavailableError, KantorError
from kantor_orchestrator.core.entry import RELEASE
from kantor_orchestrator.core.transaction import IllegalTransition, Status, Transaction, evolve
from kantor_orchestrator.engine import checkpoint as checkpoints
from kantor_orchestrator.engine.checkpoint import Checkpoint, Checkpointer
from kantor_orchestrator.engine.ended import Ended, Found
from kantor_orchestrator.engine.entries import BeingRead, NotYet
from kantor_orchestrator.engine.log import DecisionLog
from kantor_orchestrator.engine.memory import AtRest, InLog, Transactions
from kantor_orchestrator.engine.sending import Sender
from kantor_orchestrator.engine.timers import HORIZON, ShardTimers
from kantor_orchestrator.engine.timers import of as timers_of
from kantor_orchestrator.engine.writing import LogWriter, Turn
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.holds import Holds
from kantor_orchestrator.formats.snapshots import Decided, Stub, is_lost
from kantor_orchestrator.store import StoreFullError, StoreLostError

log = logging.getLogger("kantor.shard")

#: Retained records that are dropped with one checkpoint.
_EXPIRED = 500
#: Seconds between flushes of the store.
_FLUSH_INTERVAL = 1.0
#: Seconds until what a full disk did not take is flushed again: all of it is written each time.
_DISK_PAUSE = 10.0
#: Entries behind the one that waits for a snapshot which are looked at for others that will.
_AHEAD = 500
#: Seconds after which reading snapshots hangs in the client, and is begun again. Its own patience is shorter.
_HANGS = 60.0


class TopicIds(NamedTuple):
    """Of the topics that the positions count in; empty: the broker gives none. A topic that is recreated has another."""

    journal: str
    history: str


@dataclass
class Facts:
    """What the shard record and the marks say of a shard: where it stands (shard-8, words-3)."""

    position: int = 0  # next journal entry
    clock: int = 0  # time of the last entry, ms: a broker's clock that was ahead goes back
    history: int = 0  # next record of the log
    epoch: int = -1  # in force there
    holds: Holds = field(default_factory=Holds)
    marks: dict[str, int] = field(default_factory=dict)  # by source partition: highest offset applied
    ids: TopicIds = field(default_factory=lambda: TopicIds("", ""))


class Pending(deque[Record]):
    """Entries that wait to be looked at. ``held``: bytes of their values and headers."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self._sizes: deque[int] = deque()

    def append(self, record: Record) -> None:
        size = _size_of(record)
        self.held += size
        self._sizes.append(size)
        super().append(record)

    def popleft(self) -> Record:
        self.held -= self._sizes.popleft()
        return super().popleft()


class Shard:
    """One shard, taken. Owned by the engine's thread."""

    def __init__(
        self,
        number: int,
        facts: Facts,
        transactions: Transactions,
        log: DecisionLog,
        ended: Ended,
        sender: Sender,
        checkpointer: Checkpointer,
        jobs: Executor,
        clock: Clock,
        recorded: deque[Decided],
        catch_up_to: int,
        changelog: int,
    ) -> None:
        """``changelog``: the next record of the state topic. ``recorded``: what the log has of entries from ``facts.position`` on. ``catch_up_to``: the journal's end when the
        shard was taken; what fired before may lie before it."""
        self.number = number
        self.position = facts.position
        self.clock = facts.clock
        self.holds = facts.holds
        self.marks = facts.marks
        self.ids = facts.ids
        self.transactions = transactions
        self.log = log
        self.ended = ended
        self.sender = sender
        self.checkpointer = checkpointer
        self.recorded = recorded
        self.catch_up_to = catch_up_to
        self.writer = LogWriter(log, sender, jobs, clock)
        self.timers = ShardTimers()
        self.pending = Pending()
        #: Monotonic (s): it waits until then, for the registry, a definition, or a snapshot from the log; since when, and what for.
        self.not_before = self.waits_since = 0.0
        self.waits_for = ""
        #: The journal's end, sampled at (ms): see ``firing``.
        self.sampled_end: Future[tuple[int, int]] | None = None
        self.sampled_at = 0.0  # when it was asked for (s, monotonic)
        self._jobs = jobs
        self._clock = clock
        self._reading: Future[Found] | None = None  # snapshots, from the log
        self._reading_since = 0.0
        self._moved_marks: set[str] = set()
        self._checkpoint: Checkpoint | None = None
        self._commit: Future[float] | None = None
        self._commit_began = 0.0
        self._last_checkpoint = self._last_flush = clock.monotonic()
        self._no_flush_before = 0.0
        self._checkpoint_position = facts.position
        self._entries = 0  # since the last checkpoint
        self.committed_position = facts.position
        self.told_position = 0  # to the group: who had the shard before may have been killed before it told
        #: Entries that the journal had lost when the shard was taken (journal-19).
        self.lost_entries = 0
        #: Its topics that are others than they were when it was taken before.
        self.recreated: list[str] = []
        self._changelog = changelog

    # -- entries

    def get(self, id_: str) -> Transaction | None:
        """The transaction as the last entry left it. Do not change it. Raises ``NotYet``: it is being read from the log."""
        while True:
            try:
                return self.transactions.get(id_)
            except AtRest as it:
                self._have_read(it.stub)

    def _have_read(self, stub: Stub) -> None:
        """Take in what was read, this retained record's snapshot among it. Raises ``NotYet`` until then."""
        reading, now = self._reading, self._clock.monotonic()
        if reading is None or now - self._reading_since > _HANGS:
            wanted = {stub.id: stub}
            for record in islice(self.pending, _AHEAD):
                id_ = (record.key() or b"").decode(errors="replace")
                if id_ not in wanted and (found := self.transactions.stub(id_)) is not None:
                    wanted[id_] = found
            self._reading, self._reading_since = self._jobs.submit(self.ended.read, wanted), now
        elif reading.done():
            self._reading = None
            try:
                self.transactions.take_in(reading.result())
            except KantorError as error:
                raise NotYet(f"{stub.id} has ended, and can't be read from the log: {error}") from error
            return
        raise BeingRead(f"{stub.id} has ended, and is being read from {topics.HISTORY}/{self.number}")

    def mark(self, source: str, offset: int) -> None:
        """A source partition has been applied up to here."""
        if offset > self.marks.get(source, -1):
            self.marks[source] = offset
            self._moved_marks.add(source)

    def forget_marks(self, sources: Iterable[str]) -> None:
        """Their topics are gone for good; the next checkpoint takes them out of the state."""
        for source in sources:
            del self.marks[source]
            self._moved_marks.add(source)

    def passed(self, offset: int) -> None:
        """The entry at this journal offset is dealt with."""
        self.position = offset + 1
        self._entries += 1
        self.waits_since = 0.0

    def read_ended(self, ids: Iterable[str]) -> None:
        """Have these in memory, which are to be folded into; waits for it. Raises ``KantorError``."""
        stubs = {id_: self.transactions.stub(id_) for id_ in dict.fromkeys(ids) if id_}
        wanted = {id_: stub for id_, stub in stubs.items() if stub is not None}
        found: Found = {}
        while missing := {id_: stub for id_, stub in wanted.items() if id_ not in found}:
            found |= self.ended.read(missing)
        self.transactions.take_in(found)

    def fold_up_to(self, offset: int) -> None:
        """Fold what the log has of the entries up to this journal offset. Raises ``NotYet``: go on with it later."""
        while self.recorded and self.recorded[0].journal_offset <= offset:
            self.fold(self.recorded[0])
            self.recorded.popleft()

    def fold(self, decision: Decided) -> None:
        """Apply what the log says of an entry, and act on it again: whoever owned the shard before may not have."""
        id_ = decision.transaction_id
        if not id_:
            for transition in decision.transitions:
                self.holds.fold(transition, decision.message_type, decision.message_id)
        else:
            txn = self._folded(decision)
            in_log = InLog(len(decision.snapshot), decision.offset) if decision.snapshot else None
            self.transactions.put(txn, in_log)
            self.timers.set_by(txn, decision.transitions)
        if decision.messages:
            self.writer.put(Turn(id_, None, decision.messages))

    def _folded(self, decision: Decided) -> Transaction:
        found = self.get(decision.transaction_id)
        txn = Transaction(decision.transaction_id) if found is None else found.copy()
        if is_lost(txn) and decision.snapshot:
            return decision.transaction()
        try:
            for transition in decision.transitions:
                evolve(txn, transition)
        except IllegalTransition:
            if not is_lost(txn):
                raise
            txn.status = Status(decision.status)  # no more is known of it
        return txn

    def begin_anew(self, position: int, recorded: deque[Decided]) -> None:
        """The journal is another one: go on there, and commit as soon as may be that this is so."""
        self.position = self.committed_position = self.told_position = position
        self.recorded = recorded
        self._checkpoint_position, self._last_checkpoint = -1, -inf

    @property
    def is_behind(self) -> bool:
        """Whether it has not yet come to where the journal ended when it was taken."""
        return self.position < self.catch_up_to

    # -- checkpoints

    def tend_checkpoint(self, now: float) -> float | None:
        """Bring the checkpoint under way on, or take one that is due. If one was committed, how long that took (s). Raises
        ``KantorError``: retake the shard."""
        checkpoint = self._checkpoint
        if checkpoint is None:
            if self._is_checkpoint_due(now):
                self.take_checkpoint(now)
            elif self.transactions.is_dirty and self._is_flush_due(now):
                self.flush(now)
            return None
        if self._commit is None:
            if checkpoint.is_passed and self.sender.has_left(checkpoint.sent):
                self.transactions.point(checkpoint.rows)
                self._commit_began = now
                self._commit = self._jobs.submit(self.checkpointer.commit, checkpoint)
            return None
        if not self._commit.done():
            if now - self._commit_began > checkpoints.HANGS:
                raise KafkaUnavailableError(
                    f"a commit hangs in the client for {now - self._commit_began:.0f} s"
                )
            return None
        commit, self._commit, self._checkpoint = self._commit, None, None
        took = commit.result()
        self.committed_position = checkpoint.position
        self.transactions.committed(checkpoint.rows)
        self._changelog = checkpoint.changelog
        if self._is_flush_due(now):
            self.flush(now)
        return took

    def _is_checkpoint_due(self, now: float) -> bool:
        if self.recorded:
            return False  # what the log has is not applied yet
        since = now - self._last_checkpoint
        if self.transactions.changed or self._moved_marks:
            return since > checkpoints.INTERVAL or self._entries >= checkpoints.MOST_ENTRIES
        return self.position > self._checkpoint_position and since > checkpoints.REST_INTERVAL

    def take_checkpoint(self, now: float) -> None:
        """A picture of the shard as it is (log-5, shard-9); retained records that have expired go with it (shard-10)."""
        rows = self.transactions.checkpoint()
        # Nobody brings a retained record back: it is gone by the broker's clock and by this machine's.
        rows |= dict.fromkeys(self.transactions.expired(min(self.clock, self._clock.now()), _EXPIRED))
        marks = {source: self.marks.get(source) for source in self._moved_marks}
        self._checkpoint = Checkpoint(self.position, self.clock, rows, marks, self.holds.record(), *self.ids)
        self._moved_marks.clear()
        self._last_checkpoint, self._checkpoint_position, self._entries = now, self.position, 0
        self.writer.put(self._checkpoint)

    def finish(self, seconds: float) -> None:
        """Log, send and commit everything: before the shard is given back (shard-7). Raises ``KantorError`` or
        ``TimeoutError`` if that can't be done in time: whoever takes it next has the log."""
        deadline = self._clock.monotonic() + seconds
        while True:
            self.writer.wait(max(0.0, deadline - self._clock.monotonic()))
            if self._checkpoint is None:
                if not self.transactions.changed and not self._moved_marks and not self.recorded:
                    break
                if self.recorded:
                    raise KafkaUnavailableError("the log is not applied yet")
                self.take_checkpoint(self._clock.monotonic())
                continue
            self.sender.flush(max(0.1, deadline - self._clock.monotonic()))
            self.tend_checkpoint(self._clock.monotonic())
            checkpoint = self._checkpoint if self._commit is None else None
            if checkpoint is not None and not self.sender.has_left(checkpoint.sent):
                raise KafkaUnavailableError("the messages that Kafka refused are not in the journal yet")
            if self._commit is not None:
                self._commit.exception(max(0.0, deadline - self._clock.monotonic()))
                self.tend_checkpoint(self._clock.monotonic())
            if self._clock.monotonic() > deadline:
                raise TimeoutError("not everything is committed")
        self.flush(self._clock.monotonic())

    # -- store and time

    def flush(self, now: float) -> None:
        """Bring the store up to the last checkpoint. What a full disk does not take stays in memory, and is tried again. Raises
        ``StoreLostError``: retake the shard."""
        self._last_flush = now
        try:
            self.transactions.flush(self._changelog, self.committed_position)
        except StoreFullError as error:
            self._no_flush_before = now + _DISK_PAUSE
            log.debug("shard %d: %s", self.number, error)

    @property
    def store_trouble(self) -> str:
        """Why the store works without the disk, or the disk does not take new data; empty: the disk has everything."""
        return self.transactions.store_trouble

    def _is_flush_due(self, now: float) -> bool:
        if now < self._no_flush_before:
            return False
        return self.transactions.is_flush_due or now - self._last_flush > _FLUSH_INTERVAL

    def timed(self, id_: str) -> Transaction | None:
        """The transaction, if its timers count: not when it is at rest, nor while it is held, but for that which asks again for
        what is deferred."""
        try:
            txn = self.transactions.get(id_)
        except AtRest:
            return None
        stands_still = txn is not None and txn.held and not txn.put_off and self.holds.of(txn.saga)
        return None if stands_still else txn

    def load_timers(self, now: int) -> None:
        """Bring timers that are due soon from the store into memory; ``now``: ms."""
        timers = self.timers
        if now < timers.horizon - HORIZON // 2:
            return
        before, timers.horizon = timers.horizon, now + HORIZON
        for txn in self.transactions.due_before(timers.horizon):
            for timer in timers_of(txn):
                if before <= timer[0] or before == 0:
                    timers.set(timer)

    def load_released(self, now: int) -> None:
        """Set the releases of transactions that nobody holds any more: after a release, and when the shard was taken."""
        if not self.holds.is_released:
            return
        self.holds.is_released = False
        for txn in self.transactions.held():
            if txn.held and not self.holds.of(txn.saga):
                self.timers.pauses.add((now, txn.id, RELEASE, "", 0, 0))

    def close(self) -> None:
        """Let go of it; what is under way is abandoned."""
        self.writer.close()
        self.log.close()
        self.sender.close()
        self.checkpointer.close()
        try:
            self.transactions.close()
        except StoreLostError as error:  # the changelog has it, for whoever comes next
            log.info("shard %d: %s", self.number, error, extra={"action": "store_lost"})


def _size_of(record: Record) -> int:
    size = len(record.value() or b"")
    for _, text in record.headers() or ():
        if text:
            size += len(text)
    return size
