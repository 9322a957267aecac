"""A transaction, its legal moves, and the only function that changes one.

Theory
------
``decide`` (next file) turns an entry of the journal into transitions; ``evolve`` applies one transition. Live
processing, recovery and time travel all go through ``evolve``, so a restored transaction can't differ from a live one.
A transition carries every fact that ``evolve`` needs (times, captured values, ids): it looks at nothing else.

The legal moves of a step are one table, :data:`TRANSITIONS`. A move that is not in it raises
:class:`IllegalTransition` and changes nothing: that is a bug of ``decide``, never of the input; whatever arrives,
``decide`` answers with legal moves or with ``ignored`` and a reason.

docs/states.md has the diagram that is drawn from it. Composites and their members are steps too: their status says how
far their content is; what is reversed are the steps in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Of a transaction (DESIGN section 7)."""

    RUNNING = "running"
    PARKED = "parked"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    CLOSED = "closed"
    OBSERVED = "observed"


ENDED = frozenset({Status.COMPLETED, Status.COMPENSATED, Status.CLOSED})
#: On its way back, or there.
BACKWARD = frozenset({Status.COMPENSATING, Status.COMPENSATED})


class StepStatus(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    INCIDENT = "incident"


class Kind(StrEnum):
    """Of a transition."""

    # of the transaction
    KEPT = "kept"  # a message came before its saga's start: kept until then
    STARTED = "started"
    COMPENSATION_STARTED = "compensation_started"
    ENDED = "ended"
    REOPENED = "reopened"  # a late effect, after the end
    INCIDENT_OPENED = "incident_opened"
    RESUMED = "resumed"  # a person has dealt with an incident (of the step that the code names): it goes on
    COMPENSATION_REQUESTED = "compensation_requested"  # it can't be decided before the pivot's answer
    REFUSED = "refused"  # a cancellation that came too late
    PARENT_ASKED = "parent_asked"  # its parent is compensated, and waits for it to be
    ANSWERED = "answered"  # its parent's request was answered at once
    EXPIRED = "expired"  # no saga ever started: what was kept is listed as unmatched and dropped
    HELD = "held"  # a person holds its saga: what comes for it waits
    RELEASED = "released"  # what waited is looked at now
    IGNORED = "ignored"  # contradicts the state: recorded with its reason, changes nothing
    # of a step
    ACTIVATED = "activated"
    SKIPPED = "skipped"  # its guard says no, or a person did it by hand
    PROGRESSED = "progressed"  # its service is still at it: the timeout begins anew
    ASKED = "asked"  # in doubt: its service is asked whether it happened
    COMMAND_SENT = "command_sent"
    RETRY_SCHEDULED = "retry_scheduled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DOUBTED = "doubted"
    COMPENSATION_SENT = "compensation_sent"
    COMPENSATION_RETRY_SCHEDULED = "compensation_retry_scheduled"
    COMPENSATION_CONFIRMED = "compensation_confirmed"
    COMPENSATION_FAILED = "compensation_failed"


S = StepStatus
#: The legal moves of a step: kind of transition -> status before -> status after.
TRANSITIONS: dict[Kind, dict[StepStatus, StepStatus]] = {
    Kind.ACTIVATED: {S.PENDING: S.ACTIVE},
    Kind.SKIPPED: {S.PENDING: S.SKIPPED, S.FAILED: S.SKIPPED, S.IN_DOUBT: S.SKIPPED},
    Kind.PROGRESSED: {S.ACTIVE: S.ACTIVE},
    Kind.ASKED: {S.IN_DOUBT: S.IN_DOUBT},
    # A failed step is sent again when a person asks for it, in a new round.
    Kind.COMMAND_SENT: {S.ACTIVE: S.ACTIVE, S.FAILED: S.ACTIVE},
    Kind.RETRY_SCHEDULED: {S.ACTIVE: S.ACTIVE},
    # A success counts in whatever state its step is; while a compensation is under way it asks for another round.
    Kind.SUCCEEDED: {
        S.PENDING: S.SUCCEEDED,
        S.ACTIVE: S.SUCCEEDED,
        S.IN_DOUBT: S.SUCCEEDED,
        S.FAILED: S.SUCCEEDED,
        S.SKIPPED: S.SUCCEEDED,
        S.COMPENSATED: S.SUCCEEDED,
        S.COMPENSATING: S.COMPENSATING,
        S.INCIDENT: S.INCIDENT,
    },
    Kind.FAILED: {S.PENDING: S.FAILED, S.ACTIVE: S.FAILED, S.IN_DOUBT: S.FAILED},
    Kind.DOUBTED: {S.ACTIVE: S.IN_DOUBT},
    Kind.COMPENSATION_SENT: {
        S.SUCCEEDED: S.COMPENSATING,
        S.IN_DOUBT: S.COMPENSATING,
        S.COMPENSATING: S.COMPENSATING,
        S.INCIDENT: S.COMPENSATING,  # a person asks for it again
    },
    Kind.COMPENSATION_RETRY_SCHEDULED: {S.COMPENSATING: S.COMPENSATING},
    Kind.COMPENSATION_CONFIRMED: {S.COMPENSATING: S.COMPENSATED, S.INCIDENT: S.COMPENSATED},
    # A pivot that succeeds after it was given up can't be reversed.
    Kind.COMPENSATION_FAILED: {S.COMPENSATING: S.INCIDENT, S.SUCCEEDED: S.INCIDENT},
}
del S


class IllegalTransition(Exception):  # noqa: N818 - the name says what it is
    """``decide`` produced a move that the table does not allow: a bug. Nothing was changed."""


#: The code of an incident: something failed when there was no way back any more.
AFTER_PIVOT = "after_pivot"
#: The code of a step in a member of a composite that is decided without it: what it does is reversed.
NOT_NEEDED = "not_needed"
#: The code of a failure that the engine itself finds: nobody answered in time.
TIMED_OUT = "timed_out"


@dataclass(slots=True)
class SentCommand:
    """A message that goes out with a transition. ``fields`` is its payload; ``expires_at`` 0: never; ``key``: its record
    key, if that is not the transaction id; ``about``: the transaction that it is sent to, if that is another one (a
    child); ``held``: it is history only, because the saga observes or alerts. ``reverses``, ``asks``: the idempotency key
    of the action that a compensation reverses, or that a question is about."""

    id: str
    type: str
    topic: str
    kind: str  # action | compensation | question | ending | refusal | child
    idempotency_key: str
    causation_id: str
    fields: dict[str, Any]
    reverses: str = ""
    asks: str = ""
    expires_at: int = 0
    key: str = ""
    about: str = ""
    held: bool = False
    format: str = "avro"  # | json


@dataclass(slots=True)
class Early:
    """A message that came before its saga's start, or before the composite whose member it is for."""

    kind: str
    type: str
    id: str
    source: str
    causation_id: str
    at: int
    origin: str
    payload: dict[str, Any]


@dataclass(slots=True)
class Transition:
    """One move. Empty text and 0 mean: none. ``at`` and ``due`` are milliseconds since the epoch."""

    kind: Kind
    at: int
    step: str = ""
    status: Status | None = None  # the transaction's new status, if it changes
    saga: str = ""
    version: int = 0
    round: int = 0
    attempt: int = 0
    timer: str = ""
    due: int = 0
    code: str = ""
    reason: str = ""
    scope: str = ""
    captured: dict[str, Any] | None = None
    fingerprint: int = 0
    command: SentCommand | None = None
    early: Early | None = None
    actor: str = ""  # the person who did it
    parent: str = ""
    parent_command: str = ""


@dataclass(slots=True)
class StepState:
    """Where one step of one transaction stands."""

    status: StepStatus = StepStatus.PENDING
    round: int = 1
    attempt: int = 0
    doubtful: bool = False  # an attempt got no answer: it may have happened
    command_id: str = ""  # of the current attempt
    compensation_round: int = 0
    compensation_attempt: int = 0
    compensation_id: str = ""
    again: bool = False  # a success came while its compensation was under way
    questions: int = 0  # how often its service was asked whether it happened
    timer: str = ""
    due: int = 0
    started_at: int = 0
    ended_at: int = 0
    code: str = ""
    reason: str = ""


@dataclass(slots=True)
class Incident:
    kind: str
    step: str
    reason: str
    opened_at: int


@dataclass(slots=True)
class Transaction:
    """Everything the engine knows of one transaction. ``saga`` empty: none has started (yet)."""

    id: str
    saga: str = ""
    version: int = 0
    status: Status = Status.OBSERVED
    started_at: int = 0
    updated_at: int = 0
    ended_at: int = 0
    expires_at: int = 0
    deadline: int = 0
    reason: str = ""
    failing: str = ""  # why it will be compensated once its pivot's answer is known
    parent: str = ""  # the transaction whose step this one is
    parent_command: str = ""  # the id of the message that started it
    held: str = ""  # who holds it, and why: until the release what comes for it waits
    entries: int = 0
    endings: int = 0
    steps: dict[str, StepState] = field(default_factory=dict)
    captured: dict[str, dict[str, Any]] = field(default_factory=dict)
    early: list[Early] = field(default_factory=list)
    fingerprints: set[int] = field(default_factory=set)
    incidents: list[Incident] = field(default_factory=list)

    def copy(self) -> Transaction:
        """A copy that can be changed without changing this one. Captured values are shared: they never change."""
        return Transaction(
            self.id,
            self.saga,
            self.version,
            self.status,
            self.started_at,
            self.updated_at,
            self.ended_at,
            self.expires_at,
            self.deadline,
            self.reason,
            self.failing,
            self.parent,
            self.parent_command,
            self.held,
            self.entries,
            self.endings,
            {path: _copy_step(step) for path, step in self.steps.items()},
            dict(self.captured),
            list(self.early),
            set(self.fingerprints),
            list(self.incidents),
        )


def _copy_step(s: StepState) -> StepState:
    return StepState(
        s.status, s.round, s.attempt, s.doubtful, s.command_id, s.compensation_round, s.compensation_attempt,
        s.compensation_id, s.again, s.questions, s.timer, s.due, s.started_at, s.ended_at, s.code, s.reason,
    )  # fmt: skip


def evolve(transaction: Transaction, transition: Transition) -> Transaction:
    """Apply one transition: the only function that changes a transaction. Changes it in place and returns it.

    Raises ``IllegalTransition`` (and changes nothing) if the table does not allow the move.
    """
    t = transition
    if t.step and t.kind is not Kind.INCIDENT_OPENED and t.kind is not Kind.IGNORED:
        _evolve_step(transaction, t)
    elif t.kind is Kind.STARTED:
        transaction.saga, transaction.version = t.saga, t.version
        transaction.started_at = t.at
        transaction.deadline = t.due
        transaction.expires_at = 0
        transaction.early = []
        transaction.parent, transaction.parent_command = t.parent, t.parent_command
    elif t.kind is Kind.KEPT:
        assert t.early is not None
        transaction.early.append(t.early)
        if not transaction.saga and not transaction.incidents:  # what waits for a person does not expire
            transaction.expires_at = t.due
    elif t.kind is Kind.ENDED:
        transaction.ended_at, transaction.expires_at, transaction.deadline = t.at, t.due, 0
        transaction.endings += 1
        transaction.early, transaction.held = [], ""
        if t.status is Status.CLOSED:
            transaction.incidents = []
            transaction.reason = t.reason
            for step in transaction.steps.values():  # nothing is sent again, nobody is given up on
                step.timer, step.due = "", 0
    elif t.kind is Kind.REOPENED:
        transaction.ended_at, transaction.expires_at = 0, 0
        transaction.reason = t.reason
    elif t.kind is Kind.COMPENSATION_STARTED:
        transaction.reason, transaction.deadline, transaction.failing = t.reason, 0, ""
    elif t.kind is Kind.COMPENSATION_REQUESTED:
        transaction.failing, transaction.deadline = t.reason, 0
    elif t.kind is Kind.EXPIRED:
        transaction.early = []
    elif t.kind is Kind.INCIDENT_OPENED:
        transaction.incidents.append(Incident(t.code, t.step, t.reason, t.at))
        transaction.expires_at = 0
        if t.code == AFTER_PIVOT:
            transaction.failing, transaction.deadline = "", 0
        if t.step in transaction.steps:  # it waits for a person now, not for a time
            transaction.steps[t.step].timer, transaction.steps[t.step].due = "", 0
    elif t.kind is Kind.PARENT_ASKED:
        transaction.parent_command = t.parent_command
    elif t.kind is Kind.HELD:
        transaction.held, transaction.expires_at = t.reason, 0
    elif t.kind is Kind.RELEASED:
        transaction.held, transaction.expires_at, transaction.early = "", t.due, []
    elif t.kind is Kind.RESUMED:
        transaction.incidents = [i for i in transaction.incidents if i.step != t.code]
    if t.status is not None:
        transaction.status = t.status
    if t.captured is not None:
        transaction.captured[t.scope] = t.captured
    if t.fingerprint:
        transaction.fingerprints.add(t.fingerprint)
        transaction.entries += 1
    transaction.updated_at = t.at
    return transaction


def _evolve_step(transaction: Transaction, t: Transition) -> None:
    step = transaction.steps.get(t.step)
    before = StepStatus.PENDING if step is None else step.status
    after = TRANSITIONS[t.kind].get(before) if t.kind in TRANSITIONS else None
    if after is None:
        raise IllegalTransition(f"{transaction.id}: step {t.step} is {before}, it can't take {t.kind}")
    if step is None:
        step = transaction.steps[t.step] = StepState()
    kind = t.kind
    step.status = after
    if kind is not Kind.SUCCEEDED or after is StepStatus.SUCCEEDED:  # else the compensation's timer goes on
        step.timer, step.due = t.timer, t.due
    if kind is Kind.ACTIVATED:
        step.started_at = t.at
        if t.scope:  # the messages that waited for its members are looked at now
            transaction.early = []
    elif kind is Kind.COMMAND_SENT:
        assert t.command is not None
        step.round, step.attempt, step.command_id = t.round, t.attempt, t.command.id
        if before is StepStatus.FAILED:
            step.ended_at, step.code, step.reason, step.doubtful = 0, "", "", False
        _resolve(transaction, t.step)
    elif kind is Kind.RETRY_SCHEDULED:
        step.doubtful = step.doubtful or t.code == TIMED_OUT
    elif kind is Kind.SUCCEEDED:
        step.again = after is not StepStatus.SUCCEEDED
        step.started_at = step.started_at or t.at
        step.ended_at = t.at
        if not step.again:
            step.code = t.code or step.code
            _resolve(transaction, t.step)
    elif kind is Kind.SKIPPED:
        step.ended_at, step.code, step.reason = t.at, t.code, t.reason
        _resolve(transaction, t.step)
    elif kind is Kind.ASKED:
        step.questions = t.attempt
    elif kind is Kind.FAILED or kind is Kind.DOUBTED:
        step.code, step.reason, step.ended_at = t.code, t.reason, t.at
        if before is StepStatus.IN_DOUBT:  # now it is known
            _resolve(transaction, t.step)
    elif kind is Kind.COMPENSATION_SENT:
        assert t.command is not None
        step.compensation_round, step.compensation_attempt = t.round, t.attempt
        step.compensation_id = t.command.id
        # Whether this reverses an effect that is known, or one in doubt: the latter holds nobody up.
        step.doubtful = before is StepStatus.IN_DOUBT or (
            before is not StepStatus.SUCCEEDED and step.doubtful
        )
        if before is StepStatus.INCIDENT:
            _resolve(transaction, t.step)
    elif kind is Kind.COMPENSATION_CONFIRMED:
        step.ended_at = t.at
        _resolve(transaction, t.step)
    elif kind is Kind.COMPENSATION_FAILED:
        step.code, step.reason = t.code, t.reason
        transaction.incidents.append(Incident("compensation_failed", t.step, t.reason, t.at))


def _resolve(transaction: Transaction, step: str) -> None:
    """Nobody needs to care for this step any more."""
    if transaction.incidents:
        transaction.incidents = [i for i in transaction.incidents if i.step != step]
