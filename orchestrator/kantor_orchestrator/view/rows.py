"""Where a transaction stands, folded from its history; who has the ball; and what one batch of records changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from kantor.kafka import Partition
from kantor_orchestrator.core.entry import COMPENSATION_RETRY, RETRY
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.transaction import ENDED, Kind, Status, StepStatus
from kantor_orchestrator.history import NOWHERE
from kantor_orchestrator.view.facts import to_json
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_schemas import Schema

#: Who has the ball when no service has.
PERSON, KANTOR = "a person", "kantor"

# Plain text: comparing with members of an enumeration costs twice as much.
_OBSERVED, _PARKED = Status.OBSERVED.value, Status.PARKED.value
_OVER = frozenset(status.value for status in ENDED)
_ACTIVE, _COMPENSATING = StepStatus.ACTIVE.value, StepStatus.COMPENSATING.value
_IN_DOUBT, _INCIDENT = StepStatus.IN_DOUBT.value, StepStatus.INCIDENT.value
_ACTIVATED, _COMMAND_SENT, _SUCCEEDED = Kind.ACTIVATED.value, Kind.COMMAND_SENT.value, Kind.SUCCEEDED.value
_FAILED, _DOUBTED = Kind.FAILED.value, Kind.DOUBTED.value
_COMPENSATION_SENT, _CONFIRMED = Kind.COMPENSATION_SENT.value, Kind.COMPENSATION_CONFIRMED.value
_COMPENSATION_FAILED, _INCIDENT_OPENED = Kind.COMPENSATION_FAILED.value, Kind.INCIDENT_OPENED.value
_STARTED, _ENDED, _REOPENED = Kind.STARTED.value, Kind.ENDED.value, Kind.REOPENED.value
_SKIPPED, _RESUMED = Kind.SKIPPED.value, Kind.RESUMED.value
_HELD, _RELEASED = Kind.HELD.value, Kind.RELEASED.value
_STEP_FAILED, _CLOSED = StepStatus.FAILED.value, Status.CLOSED.value
_COMPENSATION_STARTED, _IGNORED = Kind.COMPENSATION_STARTED.value, Kind.IGNORED.value
#: Kinds of moves that open an incident.
INCIDENTS = frozenset({_INCIDENT_OPENED, _COMPENSATION_FAILED})
_ERRORS = INCIDENTS | frozenset(
    {
        _FAILED,
        _DOUBTED,
        Kind.RETRY_SCHEDULED.value,
        Kind.COMPENSATION_RETRY_SCHEDULED.value,
    }
)


@dataclass(slots=True)
class StepRow:
    """Where one step stands."""

    path: str
    kind: str  # event | command; empty: not known
    owner: str  # the service that must answer
    compensator: str  # the service that must confirm the compensation
    status: str = StepStatus.PENDING.value
    attempts: int = 0
    started_at: int = 0
    ended_at: int = 0
    compensation_attempts: int = 0
    compensation_started_at: int = 0
    compensation_ended_at: int = 0
    timer: str = ""
    due: int = 0
    code: str = ""
    reason: str = ""


class TransactionRow:
    """One transaction, as far as the view knows. ``stored``: its saga and status in the database, None if not there."""

    __slots__ = (
        "ended_at", "held", "id", "incidents", "keys", "last", "last_error", "messages", "moves", "no", "parts", "reason", "saga", "shard",
        "started_at", "status", "steps", "stored", "touched", "updated_at", "version",
    )  # fmt: skip

    def __init__(self, no: int, id_: str, shard: int, at: int) -> None:
        self.no = no
        self.id = id_
        self.shard = shard
        self.saga = ""
        self.version = 0
        self.status = _OBSERVED
        self.started_at = at
        self.updated_at = at
        self.ended_at = 0
        self.reason = ""
        self.last_error = ""
        self.held = ""  # who holds it, and why
        self.incidents: list[str] = []  # the steps of those that are open; "": of the whole transaction
        self.steps: dict[str, StepRow] = {}
        self.keys: dict[str, str] = {}  # those that were seen: the first value of each
        self.last = NOWHERE  # its last move
        self.parts = 0
        self.stored: tuple[str, str] | None = None
        # Of the current batch:
        self.touched = False
        self.messages: list[tuple[Any, ...]] = []
        self.moves: list[bytes] = []

    def fold(self, head: tuple[Any, ...], saga: SagaFacts | None) -> None:
        """Apply one move: what ``core.transaction.evolve`` does, as far as it is shown. ``head``: of a ``facts.Head``."""
        _, name, version, kind, at, status, path, step_status, due, timer, code, reason, _, _ = head
        self.status = status
        if name and not self.saga:
            self.saga, self.version = name, version
        if path and kind != _INCIDENT_OPENED and kind != _IGNORED:
            self._fold_step(path, kind, at, step_status, due, timer, code, reason, saga)
        elif kind == _STARTED:
            self.started_at = at
        elif kind == _ENDED:
            self.ended_at, self.reason, self.held = at, reason, ""
            if status == _CLOSED:
                self.incidents = []
        elif kind == _REOPENED:
            self.ended_at, self.reason = 0, reason
        elif kind == _COMPENSATION_STARTED:
            self.reason = reason
        elif kind == _RESUMED:
            self._resolve(code)
        elif kind == _HELD:
            self.held = reason
        elif kind == _RELEASED:
            self.held = ""
        if kind in _ERRORS:
            self.last_error = _error(path, code, reason)
            if kind in INCIDENTS:
                self.incidents.append(path)

    def _fold_step(
        self, path: str, kind: str, at: int, status: str, due: int, timer: str, code: str, reason: str,
        saga: SagaFacts | None,
    ) -> None:  # fmt: skip
        step = self.steps.get(path)
        if step is None:
            known = saga.steps.get(definition_path(path)) if saga else None
            step = (
                StepRow(path, known.kind, known.owner, known.compensator)
                if known
                else StepRow(path, "", "", "")
            )
            self.steps[path] = step
        before, step.status = step.status, status
        if kind != _SUCCEEDED or status == _SUCCEEDED:  # else the compensation's timer goes on
            step.timer, step.due = timer, due
        if kind == _ACTIVATED:
            step.started_at = at
            step.attempts = 0 if step.kind == "command" else 1
        elif kind == _COMMAND_SENT:
            step.attempts += 1
            if before == _STEP_FAILED:
                self._resolve(path)
        elif kind == _SUCCEEDED:
            step.started_at = step.started_at or at
            step.ended_at = at
            step.attempts = step.attempts or 1
            self._resolve(path)
        elif kind == _SKIPPED:
            step.code, step.reason, step.ended_at = code, reason, at
            self._resolve(path)
        elif kind in (_FAILED, _DOUBTED):
            step.code, step.reason, step.ended_at = code, reason, at
            if before == _IN_DOUBT:
                self._resolve(path)
        elif kind == _COMPENSATION_SENT:
            step.compensation_attempts += 1
            step.compensation_started_at = step.compensation_started_at or at
            step.compensation_ended_at = 0
            if before == _INCIDENT:
                self._resolve(path)
        elif kind == _CONFIRMED:
            step.compensation_ended_at = at
            self._resolve(path)
        elif kind == _COMPENSATION_FAILED:
            step.code, step.reason = code, reason

    def _resolve(self, path: str) -> None:
        """Nobody needs to care for this step any more ("": for the whole transaction)."""
        if path in self.incidents:
            self.incidents = [other for other in self.incidents if other != path]


def _error(step: str, code: str, reason: str) -> str:
    what = f"{code}: {reason}" if code and reason and reason != code else code or reason
    return f"{step}: {what}" if step else what


class Open(NamedTuple):
    """What of a transaction is open: who has the ball and which steps (JSON lists), the first timer (ms)."""

    waiting_for: str
    steps: str
    due: int


_NOTHING = Open("[]", "[]", 0)
_HELD_STILL = Open(to_json([PERSON]), "[]", 0)


def what_is_open(row: TransactionRow) -> Open:
    status = row.status
    if row.held:
        return _HELD_STILL
    if status in _OVER or (status == _OBSERVED and not row.incidents):
        return _NOTHING
    names: set[str] = set()
    steps = []
    due = 0
    for step in row.steps.values():
        if step.status == _ACTIVE:
            names.add(KANTOR if step.timer == RETRY else step.owner or step.path)
        elif step.status == _COMPENSATING:
            names.add(KANTOR if step.timer == COMPENSATION_RETRY else step.compensator or step.path)
        elif step.status == _INCIDENT:
            names.add(PERSON)
        elif step.status != _IN_DOUBT:
            continue
        steps.append(step.path)
        if step.due and (step.due < due or not due):
            due = step.due
    if row.incidents or status == _PARKED:
        names.add(PERSON)
    return Open(_names(tuple(sorted(names or (KANTOR,)))), _names(tuple(steps)), due)


@cache
def _names(names: tuple[str, ...]) -> str:
    return to_json(names)


@dataclass(slots=True)
class Changes:
    """What one batch of records changes. Tuples are rows of the tables of the same names."""

    transactions: list[TransactionRow] = field(default_factory=list)
    keys: list[tuple[str, str, int]] = field(default_factory=list)
    incidents_opened: list[tuple[Any, ...]] = field(default_factory=list)
    incidents_closed: list[tuple[Any, ...]] = field(default_factory=list)
    uncorrelated: list[tuple[Any, ...]] = field(default_factory=list)
    refused: list[tuple[Any, ...]] = field(default_factory=list)
    holds: list[tuple[Any, ...]] = field(default_factory=list)
    sagas: list[SagaFacts] = field(default_factory=list)
    schemas: list[tuple[int, Schema]] = field(default_factory=list)
    positions: dict[Partition, int] = field(default_factory=dict)
    seen_intake: int = 0
    records: int = 0
    unreadable: int = 0

    @property
    def is_news(self) -> bool:
        """Whether there is anything to store: watermarks alone, which never end, may as well be read again."""
        return bool(self.transactions or self.uncorrelated or self.refused or self.unreadable or self.holds)

    def tallies(self) -> dict[tuple[str, str], int]:
        """How many more, or fewer, there are by saga and status than were stored."""
        found: dict[tuple[str, str], int] = {}
        for row in self.transactions:
            before, after = row.stored, (row.saga, row.status)
            if before != after:
                found[after] = found.get(after, 0) + 1
                if before is not None:
                    found[before] = found.get(before, 0) - 1
        return found
