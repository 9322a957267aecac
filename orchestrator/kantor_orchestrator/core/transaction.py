"""A transaction, its legal transitions, and the only function that changes one.

Theory
------
``decide`` (next file) turns an entry of the journal into transitions; ``evolve`` applies one transition. Live
processing, recovery and time travel all go through ``evolve``, so a restored transaction can't differ from a live one.
A transition carries every fact that ``evolve`` needs (times, captured values, ids): it looks at nothing else.

The legal transitions of a step are one table, :data:`TRANSITIONS` (``transitions.py``). A transition that is not in it raises
:class:`IllegalTransition` and changes nothing: that is a bug of ``decide``, never of the input; whatever arrives,
``decide`` answers with legal transitions or with ``ignored`` and a reason.

docs/states.md has the diagram that is drawn from it. Composites and their members are steps too: their status says how
far their content is; what is reversed are the steps in them.
"""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Struct, field

from kantor_orchestrator.core.transitions import (
    AFTER_CLOSE,
    AFTER_PIVOT,
    BACKWARD,
    BY_HAND,
    ENDED,
    NOT_NEEDED,
    POISON,
    SECOND_EFFECT,
    TIMED_OUT,
    TRANSITIONS,
    Early,
    Kind,
    SentCommand,
    Status,
    StepStatus,
)

__all__ = [
    "AFTER_CLOSE",
    "AFTER_PIVOT",
    "BACKWARD",
    "BY_HAND",
    "EARLY_TTL",
    "ENDED",
    "FINAL",
    "FIRST",
    "NOT_NEEDED",
    "POISON",
    "SECOND_EFFECT",
    "TIMED_OUT",
    "TRANSITIONS",
    "UNSURE",
    "Early",
    "IllegalTransition",
    "Incident",
    "Kind",
    "SentCommand",
    "Status",
    "StepState",
    "StepStatus",
    "Transaction",
    "Transition",
    "evolve",
]

#: How long a message waits for its saga's start (ms).
EARLY_TTL = 3_600_000
#: The code of what is deferred before all else.
FIRST = "first"
#: What a transition's ``evidence`` says of a failure that was its service's last word.
FINAL = "final"
#: And of an attempt that failed and may have taken effect all the same.
UNSURE = "unsure"


class IllegalTransition(Exception):  # noqa: N818 - the name says what it is
    """``decide`` produced a transition that the table does not allow: a bug. Nothing was changed."""


class Transition(Struct, omit_defaults=True, gc=False):
    """One transition. Empty text and 0 mean: none. ``at`` and ``due`` are milliseconds since the epoch.

    ``evidence`` is what must be remembered of the message: of a success and of a confirmation, which effect they report
    and where it was told (``core.evidence``); of a failure ``FINAL``, if it was the service's last word, or ``UNSURE``. ``put_off``: the
    journal offset of the entry that is deferred, asked for again, taken back or dropped; -1: none.
    """

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
    put_off: int = -1
    evidence: str = ""


class StepState(Struct, array_like=True, gc=False):
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
    final: bool = (
        False  # the last failure (of its action, or of its compensation) was its service's last word
    )
    effect: str = ""  # evidence of the success that is known of this round
    reversal: str = ""  # evidence of the confirmation of its last compensation
    reversed_round: int = 0  # what this round and those before it did has been reversed

    @property
    def is_reversed(self) -> bool:
        """Whether what its current round may have done has been reversed: what comes later is reversed as well."""
        return self.compensation_round > 0 and self.reversed_round >= self.round


class Incident(Struct, array_like=True, gc=False):
    kind: str
    step: str
    reason: str
    opened_at: int


class Transaction(Struct):
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
    put_off: list[int] = field(
        default_factory=list
    )  # journal offsets of messages, in order (``core.quarantine``)
    put_off_since: int = 0  # when the first of them could not be read for the first time
    put_off_print: int = 0  # that one's fingerprint, if it is known
    again_at: int = 0  # when the first of them is asked for again; 0: when a person says so
    asked: int = 0  # copies of the first ones that were asked for and have not come yet

    def copy(self) -> Transaction:
        """A copy that can be changed without changing this one. Steps and captured values are shared: they never change,
        ``evolve`` puts others in their place."""
        found = _copy(self)
        found.steps = dict(self.steps)
        found.captured = dict(self.captured)
        found.early = list(self.early)
        found.fingerprints = set(self.fingerprints)
        found.incidents = list(self.incidents)
        found.put_off = list(self.put_off)
        return found


Made = TypeVar("Made", bound=Struct)


def _copy(one: Made) -> Made:
    """What ``copy.copy`` would do, at half its cost; the hints of msgspec don't know it."""
    return one.__copy__()  # type: ignore[attr-defined,no-any-return]


def evolve(transaction: Transaction, transition: Transition) -> Transaction:
    """Apply one transition: the only function that changes a transaction (saga-1). Changes it in place and returns it.

    Raises ``IllegalTransition`` (and changes nothing) if the table does not allow the transition.
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
            transaction.expires_at = transaction.expires_at or t.due
    elif t.kind is Kind.ENDED:
        transaction.ended_at, transaction.expires_at, transaction.deadline = t.at, t.due, 0
        transaction.endings += 1
        transaction.early, transaction.held = [], ""
        if t.status is Status.CLOSED:
            transaction.incidents, transaction.again_at = [], 0
            transaction.reason = t.reason
            for path in transaction.steps:  # nothing is sent again, nobody is given up on
                _stop_timer(transaction, path)
    elif t.kind is Kind.REOPENED:
        transaction.ended_at, transaction.expires_at = 0, 0
        transaction.reason = t.reason
    elif t.kind is Kind.COMPENSATION_STARTED:
        transaction.reason, transaction.deadline, transaction.failing = t.reason, 0, ""
    elif t.kind is Kind.COMPENSATION_REQUESTED:
        transaction.failing, transaction.deadline = t.reason, 0
    elif t.kind is Kind.EXPIRED:
        up_to, transaction.expires_at = transaction.expires_at, t.due  # when the next of what is left expires
        transaction.early = [one for one in transaction.early if one.at + EARLY_TTL > up_to]
    elif t.kind is Kind.INCIDENT_OPENED:
        transaction.incidents.append(Incident(t.code, t.step, t.reason, t.at))
        transaction.expires_at = 0
        if t.code == POISON:  # a person says when it is tried again
            transaction.again_at = 0
        if t.code == AFTER_PIVOT:
            transaction.failing, transaction.deadline = "", 0
        if t.step in transaction.steps:  # it waits for a person now, not for a time
            _stop_timer(transaction, t.step)
    elif t.kind is Kind.PARENT_ASKED or t.kind is Kind.ANSWERED:
        transaction.parent = t.parent or transaction.parent
        transaction.parent_command = t.parent_command or transaction.parent_command
    elif t.kind is Kind.NEVER_BEGAN:
        transaction.ended_at, transaction.early = t.at, []
        transaction.reason = t.reason
        transaction.expires_at = 0 if transaction.incidents or transaction.put_off else t.due
    elif t.kind is Kind.HELD:
        transaction.held, transaction.expires_at = t.reason, 0
    elif t.kind is Kind.RELEASED:
        transaction.held, transaction.expires_at, transaction.early = "", t.due, []
    elif t.kind is Kind.RESUMED:
        _resolve(transaction, t.code)
    elif t.kind in _OF_QUARANTINE:
        _OF_QUARANTINE[t.kind](transaction, t)
    if t.due and t.kind in _CARED_FOR:
        is_free = not transaction.incidents and not transaction.put_off
        transaction.expires_at = t.due if is_free else 0
    if t.status is not None:
        transaction.status = t.status
    if t.captured is not None:
        transaction.captured[t.scope] = t.captured
    if t.fingerprint and t.kind is not Kind.PUT_OFF:
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
    step = transaction.steps[t.step] = StepState() if step is None else _copy(step)
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
        if t.round != step.round:
            step.doubtful, step.effect, step.questions = False, "", 0
        step.doubtful = step.doubtful or before is StepStatus.IN_DOUBT
        step.round, step.attempt, step.command_id = t.round, t.attempt, t.command.id
        if before is not StepStatus.ACTIVE:
            step.ended_at, step.code, step.reason, step.final = 0, "", "", False
        _resolve(transaction, t.step)
    elif kind is Kind.RETRY_SCHEDULED:
        step.doubtful = step.doubtful or t.code == TIMED_OUT or t.evidence == UNSURE
    elif kind is Kind.SUCCEEDED:
        step.again = after is not StepStatus.SUCCEEDED
        step.started_at = step.started_at or t.at
        step.ended_at = t.at
        step.effect = t.evidence or step.effect
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
        step.final = t.evidence == FINAL
        _resolve(transaction, t.step)  # now it is known, or of no matter
    elif kind is Kind.COMPENSATION_SENT:
        assert t.command is not None
        step.compensation_round, step.compensation_attempt = t.round, t.attempt
        step.compensation_id = t.command.id
        # Whether this reverses an effect that is known, or one in doubt: the latter holds nobody up.
        step.doubtful = before is StepStatus.IN_DOUBT or (
            before is not StepStatus.SUCCEEDED and step.doubtful
        )
        step.final = False
        if t.actor or before is StepStatus.INCIDENT or t.attempt > 1:
            _resolve(transaction, t.step, apart_from=AFTER_PIVOT)
    elif kind is Kind.COMPENSATION_CONFIRMED:
        step.ended_at = t.at
        step.again, step.reversal, step.reversed_round = False, t.evidence, step.round
        _resolve(transaction, t.step)
    elif kind is Kind.COMPENSATION_FAILED:
        step.code, step.reason = t.code, t.reason
        step.final = t.evidence == FINAL
        transaction.incidents.append(Incident("compensation_failed", t.step, t.reason, t.at))


def _stop_timer(transaction: Transaction, path: str) -> None:
    step = transaction.steps[path] = _copy(transaction.steps[path])
    step.timer, step.due = "", 0


def _resolve(transaction: Transaction, step: str, *, apart_from: str = "") -> None:
    """Nobody needs to care for this step any more. What can't be read is another matter."""
    if transaction.incidents:
        kept = {POISON, apart_from}
        transaction.incidents = [i for i in transaction.incidents if i.step != step or i.kind in kept]


def _put_off(transaction: Transaction, t: Transition) -> None:
    if t.put_off not in transaction.put_off:
        transaction.put_off.insert(0 if t.code == FIRST else len(transaction.put_off), t.put_off)
    if t.code == FIRST:
        transaction.put_off_since = transaction.put_off_since or t.at
        transaction.put_off_print, transaction.again_at, transaction.asked = t.fingerprint, t.due, 0
    if not transaction.ended_at:
        transaction.expires_at = 0  # what is deferred does not expire


def _ask_again(transaction: Transaction, t: Transition) -> None:
    transaction.asked += 1
    transaction.again_at = t.due


def _take_out(transaction: Transaction, t: Transition) -> None:
    """The first one is dealt with."""
    if transaction.put_off[:1] != [t.put_off]:
        raise IllegalTransition(
            f"{transaction.id}: {t.put_off} is not the first that is deferred, {t.kind} it can't be"
        )
    del transaction.put_off[0]
    transaction.asked = max(0, transaction.asked - 1)
    transaction.put_off_since = transaction.put_off_print = 0
    if not transaction.put_off:
        transaction.again_at = transaction.asked = 0
    transaction.incidents = [i for i in transaction.incidents if i.kind != POISON]


_OF_QUARANTINE = {
    Kind.PUT_OFF: _put_off,
    Kind.AGAIN_ASKED: _ask_again,
    Kind.TAKEN_BACK: _take_out,
    Kind.DROPPED: _take_out,
}
#: Transitions after which an ended transaction may have nothing left that waits for a person.
_CARED_FOR = (Kind.RESUMED, Kind.TAKEN_BACK, Kind.DROPPED)
