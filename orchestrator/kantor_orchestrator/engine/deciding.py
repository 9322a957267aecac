"""What an entry of the journal means: decided, and made ready for the log, before anything is changed.

Everything that may go wrong with one entry goes wrong here, and ends as an incident of its own transaction, in the log; the
shard's memory is changed by statements that can't fail, at the end. An entry that the log has already is not decided again:
what the log says is applied.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import NamedTuple

from kantor.clients import Record
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.errors import CodecError, EncodingError, RegistryUnavailableError, TooLargeError
from kantor_orchestrator import voice
from kantor_orchestrator.core.acts import NO_TRANSACTION, START
from kantor_orchestrator.core.decide import IGNORED_STARTS, consider
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.core.transaction import Kind, Transaction, Transition
from kantor_orchestrator.definitions.bundle import key_of
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.again import Copies
from kantor_orchestrator.engine.ended import say_if_lost
from kantor_orchestrator.engine.entries import (
    Headers,
    MalformedEntry,
    NotYet,
    PayloadReader,
    act_entry,
    headers_of,
    mark_of,
    message_entry,
    refusal_entry,
    sent_at,
    timer_entry,
    transaction_of,
)
from kantor_orchestrator.engine.gauges import StartsIgnored
from kantor_orchestrator.engine.log import LogRecord
from kantor_orchestrator.engine.memory import InLog
from kantor_orchestrator.engine.messages import Messages
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.signals import complete
from kantor_orchestrator.engine.writing import Turn
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.snapshots import Outgoing, decision_record, is_at_rest, snapshot_of
from kantor_orchestrator.metrics import EngineMetrics
from kantor_schemas import system

log = logging.getLogger("kantor.engine")

#: What became of an entry, in the metrics.
OUTCOMES = APPLIED, UNCHANGED, REPLAY, UNNAMED, MALFORMED, RECOVERED = (
    "applied",
    "unchanged",
    "replay",
    "unnamed",
    "malformed",
    "recovered",
)
#: Bytes of a decision's record: what the history takes, and room for the batch around it.
MOST_BYTES = topics.LARGEST - 64 * 1024
#: Bytes of a transaction's snapshot: one that the state topic does not take could never be in a checkpoint, nor could its shard have one. What it keeps is
#: bounded by ``core.limits``; this is for all that is around that.
MOST_STATE = topics.LARGEST // 2
#: Bytes of a decision from which on it is looked at what it makes of the state.
_LARGE = 4_096

_END_HEADERS: list[tuple[str, bytes | None]] = [("ce_type", b"kantor.TransactionEnded")]
_NOWHERE = Transaction("")
#: Transitions that are more than counted by kind.
_COUNTED = frozenset({Kind.STARTED, Kind.ENDED, Kind.INCIDENT_OPENED, Kind.COMPENSATION_FAILED})


class _Plan(NamedTuple):
    """A decision that is not yet taken."""

    after: Transaction
    transitions: list[Transition]
    turn: Turn


class Decider:
    """One for a process."""

    def __init__(
        self,
        codec: Codec,
        definitions: Definitions,
        payloads: PayloadReader,
        copies: Copies,
        metrics: EngineMetrics,
        time: BrokerTime,
        shards: int,
    ) -> None:
        self._shards = shards
        self._definitions = definitions
        self._payloads = payloads
        self._copies = copies
        self._metrics = metrics
        self._time = time
        self._messages = Messages(codec, definitions)
        self._encode = codec.encoder(system("Decision"), topics.HISTORY)
        tally = metrics.tally.of
        self._entries, self._transitions = tally(metrics.entries), tally(metrics.transitions)
        self._commands, self._incidents = tally(metrics.commands), tally(metrics.incidents)
        self.starts_ignored = StartsIgnored(metrics)
        self._started, self._finished = tally(metrics.started), tally(metrics.finished)
        self._duration = lru_cache(1_000)(metrics.duration.labels)
        for outcome in OUTCOMES:  # each is shown from the start, with 0
            metrics.entries.labels(outcome)
        for kind in Kind:
            metrics.transitions.labels(kind)

    def apply(self, shard: Shard, record: Record) -> None:
        """Take in one entry. Raises ``NotYet``, with nothing changed: it can't be processed now."""
        try:
            outcome = self._apply(shard, record)
        except MalformedEntry as reason:
            place = f"{topics.JOURNAL}/{shard.number}/{record.offset()}"
            log.error("%s is not an entry: %s", place, reason, extra={"action": "malformed_entry"})
            outcome = MALFORMED
        except RegistryUnavailableError as error:  # the transaction's snapshot can't be read yet
            raise NotYet(str(error)) from error
        self._entries.append(outcome)

    def _apply(self, shard: Shard, record: Record) -> str:
        headers = headers_of(record)
        kind = headers.get(journal.ENTRY)
        at = record.timestamp()[1]
        key = record.key()
        if key and shard_of(transaction_of(record), self._shards) != shard.number:
            return self._astray(shard, record, at)
        if shard.recorded:
            return self._recover(shard, record, headers, kind, at)
        shard.clock = at
        if kind == journal.EVENT or kind == journal.COMMAND:
            return self._message(shard, record, headers)
        if kind == journal.TIMER:
            id_, entry = transaction_of(record), timer_entry(record)
            # One at rest has no timer: this one is stale, and not worth a look into the log.
            is_stale = shard.transactions.stub(id_) is not None
            outcome = UNCHANGED if is_stale else self._decide(shard, record, headers, shard.get(id_), entry)
            identity = id_, entry.timer, entry.step, entry.round, entry.attempt
            shard.timers.applied(identity, None if is_stale else shard.get(id_))
            return outcome
        if kind == journal.ACT and key is None:
            return self._hold(shard, record)
        if kind == journal.ACT:
            id_, entry = transaction_of(record), act_entry(record)
            txn = shard.get(id_)
            if txn is None and entry.type == START:
                txn = Transaction(id_)  # of a start that came too late to start anything by itself
            if txn is None:
                # Whoever asked is told; no transaction's history has it, because there is no transaction.
                reason = f"the engine knows no transaction {id_}"
                log.warning("%s: %s", entry.type, reason, extra={"action": "act_unknown"})
                unknown = Transition(Kind.IGNORED, entry.at, code=NO_TRANSACTION, reason=reason)
                shard.writer.put(self._turn(shard, record, _NOWHERE, entry, [unknown], []))
                return UNCHANGED
            return self._decide(shard, record, headers, txn, entry)
        if kind == journal.REFUSED:
            return self._decide(
                shard, record, headers, shard.get(transaction_of(record)), refusal_entry(record)
            )
        raise MalformedEntry(f"{journal.ENTRY} is {kind!r}")

    def _message(self, shard: Shard, record: Record, headers: Headers) -> str:
        if journal.AGAIN in headers:
            return self._copy(shard, record, headers)
        source, offset = mark_of(headers)
        if offset <= shard.marks.get(source, -1):
            return REPLAY
        type_ = headers.get("ce_type", b"").decode("utf-8", "replace")
        is_named = type_ in self._definitions.named
        if not is_named:
            # A saga that names it may have been deployed a moment before it was sent.
            if not self._definitions.covers(record.timestamp()[1]):
                raise NotYet(f"the end of {topics.DEFINITIONS} can't be read, so {type_} may be a new saga's")
            is_named = type_ in self._definitions.named or self._may_be_named(shard, record, type_)
        if not is_named:
            shard.mark(source, offset)
            return UNNAMED
        # How old it is does not matter here: the time may be its producer's own, or none. Starts are judged by it in the core.
        id_ = transaction_of(record)
        entry = message_entry(record, headers, type_, sent_at(headers))
        txn = shard.get(id_) or Transaction(id_)
        self._read(entry, record, headers)
        outcome = self._decide(shard, record, headers, txn, entry)
        shard.mark(source, offset)
        return outcome

    def _copy(self, shard: Shard, record: Record, headers: Headers) -> str:
        """What was deferred comes back: it has no mark, and its age does not matter."""
        type_ = headers.get("ce_type", b"").decode("utf-8", "replace")
        entry = message_entry(record, headers, type_, sent_at(headers))
        txn = shard.get(transaction_of(record))
        if txn is None:
            return UNCHANGED
        self._read(entry, record, headers)
        return self._decide(shard, record, headers, txn, entry)

    def _may_be_named(self, shard: Shard, record: Record, type_: str) -> bool:
        """Of a type that no definition names which can be read: whether it may mean something, because one that can't be
        read names it. Raises ``NotYet`` if its transaction is on one of these, or if what one names will only be known when the
        registry has its schema again: a start that is passed over is lost."""
        if not self._definitions.unread:
            return False
        txn = shard.get(transaction_of(record))
        if txn is not None and txn.saga:
            self._saga_of(txn)  # else it is none of its business
            return False
        for lost in self._definitions.unread.values():
            if lost.may_name_anything:
                raise NotYet(f"{lost.what}; {lost.remedy}")
        return type_ in self._definitions.unread_types

    def _read(self, entry: Entry, record: Record, headers: Headers) -> None:
        """The payload; or what it can't be looked at without. Raises ``NotYet``."""
        self._payloads.read(entry, record, headers)
        definitions = self._definitions
        if entry.type not in definitions.named and entry.type in definitions.unread_types:
            unread = definitions.unread_types[entry.type]
            entry.not_yet = f"{unread.what}; {unread.remedy}"

    def _hold(self, shard: Shard, record: Record) -> str:
        """A person holds or releases a saga, or all of them."""
        entry = act_entry(record)
        done = shard.holds.decide(entry)
        turn = self._turn(shard, record, _NOWHERE, entry, [done], [])
        shard.holds.fold(done, entry.type, entry.id)
        shard.writer.put(turn)
        self._transitions.append(done.kind)
        if done.kind is not Kind.IGNORED:
            what = done.saga or "every saga"
            log.warning("shard %d: %s is %s", shard.number, what, done.reason, extra={"action": done.kind})
        return APPLIED

    def _astray(self, shard: Shard, record: Record, at: int) -> str:
        """Its transaction lives in another shard: to take it in would make two of it. No mark is moved by it, either."""
        shard.fold_up_to(record.offset())
        shard.clock = at
        id_ = transaction_of(record)
        raise MalformedEntry(
            f"transaction {id_:.200} lives in {topics.JOURNAL}/{shard_of(id_, self._shards)} (crc32 of its id, of {self._shards} shards); "
            "let its writer name the partition so, and write it again"
        )

    def _recover(self, shard: Shard, record: Record, headers: Headers, kind: bytes | None, at: int) -> str:
        """The log knows what this entry led to; without a record of it: to nothing."""
        shard.fold_up_to(record.offset())
        shard.clock = at
        if (kind == journal.EVENT or kind == journal.COMMAND) and journal.AGAIN not in headers:
            shard.mark(*mark_of(headers))
        return RECOVERED

    # -- one decision

    def _decide(
        self, shard: Shard, record: Record, headers: Headers, txn: Transaction | None, entry: Entry
    ) -> str:
        if txn is None:
            return UNCHANGED
        say_if_lost(txn, entry)
        if txn.saga:
            saga: Saga | None = self._saga_of(txn)
        elif entry.again >= 0 or entry.sent_at <= 0:  # a record without a time counts as sent now
            saga = self._definitions.starting_with(entry.type)
        else:
            saga = self._definitions.starting_with(entry.type, entry.sent_at)
        hold = shard.holds.of(saga.name) if saga else ""
        complete(saga, entry, self._definitions)
        plan = self._plan(shard, record, headers, saga, txn, entry, hold)
        if plan is None:
            return UNCHANGED
        shard.transactions.put(plan.after, plan.turn.in_log)
        shard.timers.set_by(plan.after, plan.transitions)
        shard.writer.put(plan.turn)
        kinds = [t.kind for t in plan.transitions]
        if Kind.AGAIN_ASKED in kinds:
            again = [t.put_off for t in plan.transitions if t.kind is Kind.AGAIN_ASKED]
            self._copies.ask(shard.number, plan.after.id, again)
        self._transitions.extend(kinds)
        self._count(plan, entry)
        return APPLIED

    def _plan(
        self,
        shard: Shard,
        record: Record,
        headers: Headers,
        saga: Saga | None,
        txn: Transaction,
        entry: Entry,
        hold: str,
    ) -> _Plan | None:
        """The decision, with its record and messages made; None: nothing follows. What can't be decided, sent or logged is
        an incident of this one transaction, never the shard's end. Raises ``NotYet``."""
        now = self._time.now()
        try:
            transitions, after = consider(saga, txn, entry, now, hold)
            if not transitions:
                return None
            messages = self._messages.of(after, transitions, entry, headers, max(now, entry.at))
            turn = self._turn(shard, record, after, entry, transitions, messages)
            _bound(shard, txn, after, turn)
            return _Plan(after, transitions, turn)
        except RegistryUnavailableError as error:
            raise NotYet(str(error)) from error
        except TooLargeError as error:
            entry.error = str(error)
        except CodecError as error:
            entry.error = _printable(f"a command can't be built: {error}")
        except Exception as error:
            facts = {"action": "decide_failed", "transaction": txn.id}
            log.exception("can't decide on %s of %s", entry.origin or entry.timer, txn.id, extra=facts)
            entry.error = _printable(f"the engine failed on it: {type(error).__name__}: {error}")
        transitions, after = consider(saga, txn, entry, now, hold)
        if not transitions:
            return None
        return _Plan(after, transitions, self._turn(shard, record, after, entry, transitions, []))

    def _turn(
        self,
        shard: Shard,
        record: Record,
        after: Transaction,
        entry: Entry,
        transitions: list[Transition],
        messages: list[Outgoing],
    ) -> Turn:
        """Raises ``EncodingError`` if it is larger than the log takes."""
        snapshot = snapshot_of(after) if is_at_rest(after) else b""
        epoch, offset = shard.log.epoch, record.offset()
        value = self._encode(decision_record(after, entry, transitions, messages, epoch, offset, snapshot))
        if snapshot and len(value) > MOST_BYTES:  # then the state has it
            snapshot = b""
            value = self._encode(decision_record(after, entry, transitions, messages, epoch, offset))
        if len(value) > MOST_BYTES:
            raise EncodingError(f"the decision has {len(value)} bytes, the limit is {MOST_BYTES}")
        ends = Kind.ENDED in [t.kind for t in transitions]
        key = after.id.encode() if after.id else None
        in_log = InLog(len(snapshot)) if snapshot else None
        return Turn(after.id, LogRecord(key, value, _END_HEADERS if ends else None), messages, in_log)

    def _saga_of(self, txn: Transaction) -> Saga:
        saga = self._definitions.saga(txn.saga, txn.version)
        if saga is None:
            unread = self._definitions.unread.get(key_of(txn.saga, txn.version))
            why = f"{unread.what}; {unread.remedy}" if unread is not None else "which is not deployed"
            raise NotYet(f"transaction {txn.id} runs on {txn.saga} version {txn.version}: {why}")
        return saga

    def _count(self, plan: _Plan, entry: Entry) -> None:
        txn = plan.after
        for t in plan.transitions:
            kind, command = t.kind, t.command
            if command is not None and not command.held:
                self._commands.append(command.type)
            if kind is Kind.IGNORED and t.code in IGNORED_STARTS:
                self.starts_ignored.add(txn.id, t, entry)
            if kind not in _COUNTED:
                continue
            if kind is Kind.STARTED:
                self._started.append(txn.saga)
            elif kind is Kind.ENDED:
                self._finished.append((txn.saga, txn.status))
                if txn.started_at:  # else it was closed before its saga began
                    self._duration(txn.saga, txn.status).observe((txn.ended_at - txn.started_at) / 1000)
            else:
                self._incidents.append(txn.saga)
                facts = {
                    "action": "incident_opened",
                    "transaction": txn.id,
                    "saga": txn.saga,
                    "step": t.step,
                }
                log.error("%s", voice.sentence(t), extra=facts)


def _bound(shard: Shard, before: Transaction, after: Transaction, turn: Turn) -> None:
    """Raises ``TooLargeError`` if this decision makes the state larger than the state topic takes."""
    if turn.record is None or len(turn.record.value) <= _LARGE:
        return
    size_of = shard.transactions.size_of
    if (size := size_of(after)) > MOST_STATE and size > size_of(before):
        raise TooLargeError(f"the transaction's state would grow to {size} bytes, the limit is {MOST_STATE}")


def _printable(text: str) -> str:
    """An error may quote what can't be written down."""
    return text.encode(errors="backslashreplace").decode()
