"""What people see of a transaction: pure functions of where it stands, as the engine's own ``evolve`` folded it.

Nothing here knows what a transition means: a second opinion on that would drift from the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from kantor_orchestrator.core.entry import COMPENSATION_RETRY, RETRY
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.step_kinds import KANTOR, PERSON, SERVICE, STEPS, kind_of
from kantor_orchestrator.core.transaction import (
    ENDED,
    NOT_NEEDED,
    Kind,
    Status,
    StepState,
    StepStatus,
    Transaction,
    Transition,
)
from kantor_orchestrator.view.facts import to_json
from kantor_orchestrator.view.sagas import NO_STEP, SagaFacts, StepFacts

_ACTIVE, _COMPENSATING = StepStatus.ACTIVE, StepStatus.COMPENSATING
_IN_DOUBT, _FAILED, _INCIDENT = StepStatus.IN_DOUBT, StepStatus.FAILED, StepStatus.INCIDENT

#: A step that was not reached.
_PENDING = StepState()


class Trouble(NamedTuple):
    """Why a step, or its compensation, is tried again: its next try, or its end, makes an end of it."""

    at: int
    code: str
    reason: str


class Open(NamedTuple):
    """What of a transaction is open: whom it is waiting on and which steps (JSON lists), the first timer (ms)."""

    waiting_on: str
    steps: str
    due: int


NOTHING_IS_OPEN = Open("[]", "[]", 0)
_HELD_STILL = Open(to_json([PERSON]), "[]", 0)


def what_is_open(txn: Transaction, saga: SagaFacts | None) -> Open:
    if txn.held:
        return _HELD_STILL
    status = txn.status
    if status in ENDED or (status is Status.OBSERVED and not txn.incidents):
        return NOTHING_IS_OPEN
    names: set[str] = set()
    steps = []
    due = 0
    for path, state in txn.steps.items():
        is_at = state.status
        if is_at is _ACTIVE or is_at is _COMPENSATING:
            if name := _who(path, state, facts_of(saga, path)):
                names.add(name)
        elif is_at is _INCIDENT:
            names.add(PERSON)
        elif is_at is not _IN_DOUBT:
            continue
        steps.append(path)
        if state.due and (state.due < due or not due):
            due = state.due
    if txn.incidents or status is Status.PARKED:
        names.add(PERSON)
    return Open(_names(tuple(sorted(names or (KANTOR,)))), _names(tuple(steps)), due)


def _who(path: str, state: StepState, facts: StepFacts) -> str:
    """Whom this step is waiting on; empty: see the steps in it."""
    if state.status is _COMPENSATING:
        return KANTOR if state.timer == COMPENSATION_RETRY else facts.compensator or path
    by = kind_of(facts.kind).waits_for
    if by == STEPS:
        return ""
    if by == SERVICE:
        return KANTOR if state.timer == RETRY else facts.owner or path
    return by


@cache
def _names(names: tuple[str, ...]) -> str:
    return to_json(names)


def facts_of(saga: SagaFacts | None, path: str) -> StepFacts:
    """What is known of a step, by its path in a transaction."""
    return saga.steps.get(definition_path(path), NO_STEP) if saga else NO_STEP


def last_error(txn: Transaction, troubles: Mapping[str, Trouble]) -> str:
    """The latest thing that went wrong and has not been overcome: an open incident, a step that failed or is in doubt, one
    that is tried again. One that completed has none: what went wrong on the way is in its timeline."""
    if txn.status is Status.COMPLETED:
        return ""
    latest, found = -1, ("", "", "")
    for path, state in txn.steps.items():
        if state.status is _FAILED or state.status is _IN_DOUBT:
            if (state.code or state.reason) and state.code != NOT_NEEDED and state.ended_at >= latest:
                latest, found = state.ended_at, (path, state.code, state.reason)
        elif path in troubles and (trouble := troubles[path]).at >= latest:
            latest, found = trouble.at, (path, trouble.code, trouble.reason)
    for incident in txn.incidents:
        if incident.opened_at >= latest:
            latest = incident.opened_at
            of = txn.steps.get(
                incident.step, _PENDING
            )  # what happened to it says more than that a person is needed
            is_its_own = of.status in (_FAILED, _IN_DOUBT, _INCIDENT) and (of.code or of.reason)
            found = incident.step, *((of.code, of.reason) if is_its_own else (incident.kind, incident.reason))
    step, code, reason = found
    what = f"{code}: {reason}" if code and reason and reason != code else code or reason
    return f"{step}: {what}" if step else what


@dataclass(slots=True)
class Tries:
    """How often something was asked for, and when: facts of the transitions, which the state forgets."""

    sent: int = 0
    compensations: int = 0
    compensation_started_at: int = 0
    compensation_ended_at: int = 0
    ended_at: int = 0  # of what was compensated

    def count(self, move: Transition, state: StepState) -> None:
        """``state``: of the step before this transition."""
        if move.kind is Kind.COMMAND_SENT:
            self.sent += 1
        elif move.kind is Kind.COMPENSATION_SENT:
            self.compensations += 1
            self.compensation_started_at = self.compensation_started_at or move.at
            self.compensation_ended_at = 0
        elif move.kind is Kind.COMPENSATION_CONFIRMED:
            self.compensation_ended_at = move.at
            self.ended_at = state.ended_at


@dataclass(slots=True)
class Step:
    """One step, as people see it; ``pending`` if it was not reached."""

    name: str
    kind: str  # empty: not known
    owner: str  # the service that must answer
    compensator: str  # the service that must confirm the compensation
    status: str
    attempts: int
    started_at: int
    ended_at: int
    compensation_attempts: int
    compensation_started_at: int
    compensation_ended_at: int
    timer: str
    due: int
    code: str
    reason: str
    after: tuple[str, ...] = ()


_UNTRIED = Tries()


def steps_of(txn: Transaction, tries: Mapping[str, Tries], saga: SagaFacts | None) -> list[Step]:
    """All steps in the definition's order, each item of a composite with its own; then those that only the history
    knows."""
    known = saga.steps if saga else {}
    begun = {definition_path(path) for path in txn.steps}
    waiting = [path for path in known if path not in begun]
    order = {path: n for n, path in enumerate(known)}
    return [
        _step(path, txn.steps.get(path, _PENDING), tries.get(path, _UNTRIED), facts_of(saga, path))
        for path in sorted([*txn.steps, *waiting], key=lambda path: _rank(path, order))
    ]


def _step(path: str, state: StepState, tries: Tries, facts: StepFacts) -> Step:
    return Step(
        name=path,
        kind=facts.kind,
        owner=facts.owner,
        compensator=facts.compensator,
        status=state.status.value,
        attempts=tries.sent or int(state.started_at > 0),
        started_at=state.started_at,
        ended_at=tries.ended_at if state.status is StepStatus.COMPENSATED else state.ended_at,
        compensation_attempts=tries.compensations,
        compensation_started_at=tries.compensation_started_at,
        compensation_ended_at=tries.compensation_ended_at,
        timer=state.timer,
        due=state.due,
        code=state.code,
        reason=state.reason,
        after=facts.after,
    )


def _rank(path: str, order: Mapping[str, int]) -> list[tuple[int, int]]:
    """Where a step stands in the tree: a composite before its items, each item before the steps in it."""
    ranks, above = [], ""
    for part in path.split("."):
        name, _, item = part.partition("[")
        above = f"{above}.{name}" if above else name
        ranks.append((order.get(above, len(order)), int(item[:-1]) + 1 if item else 0))
    return ranks
