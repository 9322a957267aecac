"""``retry`` and ``skip``: the ways forward from an incident (saga-32).

``retry`` does again what failed: with the same idempotency key, unless the service's last word was a final failure or the
effect has been reversed; then in a new round (saga-23). ``skip``, with evidence, says that a person did it by hand, or that
it need not be done. Either is refused with its reason where it would do harm.
"""

from __future__ import annotations

from collections.abc import Callable

from kantor_orchestrator.core import parents, progress, reversal, sending, ways
from kantor_orchestrator.core.confirming import confirmed
from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.entry import SLEEP, TIMEOUT
from kantor_orchestrator.core.refusals import REFUSED
from kantor_orchestrator.core.saga import Step
from kantor_orchestrator.core.transaction import (
    AFTER_PIVOT,
    BY_HAND,
    ENDED,
    SECOND_EFFECT,
    Kind,
    Status,
    StepState,
    StepStatus,
)
from kantor_orchestrator.core.ways import IMPOSSIBLE

S = StepStatus


def retry(d: Decision, why: str) -> None:
    _each(d, why, _retry)


def skip(d: Decision, why: str) -> None:
    if why:
        _each(d, why, _skip)
    else:
        d.ignore(IMPOSSIBLE, "a skip needs its evidence: say why")


def _each(d: Decision, why: str, do: Callable[[Decision, str, str], None]) -> None:
    """To the step that is named, or to everything that waits for a person."""
    if d.entry.step:
        do(d, d.entry.step, why)
        return
    steps = sorted({incident.step for incident in d.txn.incidents})
    if not steps:
        d.ignore(IMPOSSIBLE, ways.of_nothing(d))
    for step in steps:
        if any(
            incident.step == step for incident in d.txn.incidents
        ):  # what was done before may have resolved it
            do(d, step, why)


def no_step(d: Decision, path: str) -> str:
    return (
        f"{path} is a member: name a step in it"
        if path in d.txn.steps
        else f"there is no step {path}: name another"
    )


def _has_incident(d: Decision, path: str, kind: str = "") -> bool:
    return any(i.step == path and kind in ("", i.kind) for i in d.txn.incidents)


def _resume(d: Decision, path: str, why: str) -> None:
    """The incident is dealt with; what follows is tried again."""
    d.emit(Kind.RESUMED, code=path, reason=why, due=progress.lives_until(d))
    progress.settle(d)


def parent_waits(d: Decision) -> bool:
    """Whether a parent may not have heard how this transaction ended: Kafka refused to take that."""
    return d.txn.status in ENDED and bool(d.txn.parent) and _has_incident(d, "", REFUSED)


def _retry(d: Decision, path: str, why: str) -> None:
    txn = d.txn
    step, state = d.step(path) if path else None, txn.steps.get(path)
    if not path and parent_waits(d):
        parents.tell_again(d, f"told again: {why}")
        _resume(d, path, why)
    elif txn.status in ENDED:
        d.ignore(IMPOSSIBLE, f"it is {txn.status}: nothing is sent any more; skip what you have dealt with")
    elif not path:
        _resume(d, path, why)
    elif step is None:
        d.ignore(IMPOSSIBLE, no_step(d, path))
    elif state is None:
        if _has_incident(d, path):  # its guard or a field threw
            _resume(d, path, why)
        else:
            d.ignore(IMPOSSIBLE, ways.of_step(d, path))
    else:
        _retry_step(d, step, path, state, why)


def _retry_step(d: Decision, step: Step, path: str, state: StepState, why: str) -> None:
    status, waits = state.status, _has_incident(d, path)
    if _has_incident(d, path, SECOND_EFFECT) and status is S.COMPENSATED:
        d.emit(Kind.SUCCEEDED, step=path, reason=f"it took effect again: {why}")
        progress.settle(d)
    elif status in (S.COMPENSATING, S.INCIDENT) and (status is S.INCIDENT or waits):
        _compensate_again(d, step, path, state)
    elif status is S.SUCCEEDED and waits:
        _resume(d, path, why)
    elif status is S.IN_DOUBT and step.ask is not None:
        sending.ask(d, step, path, by_person=True)
    elif status is S.IN_DOUBT and _has_incident(d, path, sending.EXPRESSION) and not _is_wanted(d, path):
        _resume(d, path, why)  # what reverses it could not be filled in
    elif status is S.ACTIVE and waits and step.command is None:
        _wait_again(d, step, path, state, why)
    elif status in (S.ACTIVE, S.FAILED, S.IN_DOUBT, S.COMPENSATED):
        _act_again(d, step, path, state)
    else:
        d.ignore(IMPOSSIBLE, ways.of_step(d, path))


def _compensate_again(d: Decision, step: Step, path: str, state: StepState) -> None:
    if step.compensation is None:
        d.ignore(IMPOSSIBLE, f"{path} took effect, and nothing reverses it: reverse it by hand, then skip it")
    elif state.final:
        reversal.send_compensation(d, step, path, state.compensation_round + 1, 1)
    else:
        reversal.send_compensation(d, step, path, state.compensation_round, state.compensation_attempt + 1)


def _is_wanted(d: Decision, path: str) -> bool:
    """Whether it is not to be reversed."""
    return d.txn.status is Status.RUNNING and sending.is_wanted(d, path)


def _act_again(d: Decision, step: Step, path: str, state: StepState) -> None:
    """Send the step's command again, if the saga still wants it done."""
    txn, waits = d.txn, _has_incident(d, path)
    if state.status in (S.ACTIVE, S.COMPENSATED) and not waits:
        d.ignore(IMPOSSIBLE, ways.of_step(d, path))
    elif step.steps:
        d.ignore(
            IMPOSSIBLE, f"{path} is a composite whose steps were given up: if it was done by hand, skip it"
        )
    elif step.command is None:
        d.ignore(
            IMPOSSIBLE, f"{path} is choreographed, so nobody can ask for it: if it has happened, skip it"
        )
    elif txn.status is not Status.RUNNING or txn.failing:
        instead = (
            "if it happened, skip it; if not, compensate"
            if step.pivot
            else "find out what happened, then skip it"
        )
        d.ignore(IMPOSSIBLE, f"{path} is {state.status}, and was given up: {instead}")
    elif not waits and not sending.is_wanted(d, path):
        d.ignore(
            IMPOSSIBLE,
            f"{path} is {state.status}, and its composite was decided without it: there is nothing to do",
        )
    elif state.final or state.status is S.COMPENSATED:
        sending.send(d, step, path, state.round + 1, 1)
    else:  # it may have happened: the same action, another attempt
        sending.send(d, step, path, state.round, state.attempt + 1)


def _wait_again(d: Decision, step: Step, path: str, state: StepState, why: str) -> None:
    """A sleep ends, a wait for a message begins again."""
    d.emit(Kind.RESUMED, code=path, reason=why)
    at = d.entry.at
    timer, due = (SLEEP, at) if step.sleep is not None else (TIMEOUT, at + step.timeout)
    if step.sleep is not None or step.timeout:
        d.emit(Kind.PROGRESSED, step=path, timer=timer, due=due, round=state.round, attempt=state.attempt)
    progress.settle(d)


def _skip(d: Decision, path: str, why: str) -> None:
    txn, status = d.txn, d.status(path) if path else S.PENDING
    said, waits = f"{d.entry.actor}: {why}", _has_incident(d, path)
    if txn.status in ENDED or (waits and _has_incident(d, path, SECOND_EFFECT)):
        if not path and parent_waits(d):  # whatever was dealt with, the parent waits
            parents.tell_again(d, f"told again by {said}")
        if waits:
            _resume(d, path, f"dealt with by {said}")
        else:
            d.ignore(IMPOSSIBLE, ways.of_step(d, path))
    elif not path:
        _skip_whole(d, said)
    elif status is S.PENDING and not waits and d.step(path) is None:
        d.ignore(IMPOSSIBLE, no_step(d, path))
    elif status in (S.INCIDENT, S.COMPENSATING) or (
        waits and status is S.SUCCEEDED and not _has_incident(d, path, AFTER_PIVOT)
    ):
        confirmed(d, path, BY_HAND, said)
    elif _may_be_skipped(d, path, status, waits=waits):
        d.emit(Kind.SKIPPED, step=path, code=BY_HAND, reason=said)
        progress.settle(d)
    else:
        d.ignore(IMPOSSIBLE, ways.of_step(d, path))


def _may_be_skipped(d: Decision, path: str, status: StepStatus, *, waits: bool) -> bool:
    if status in (S.PENDING, S.ACTIVE, S.COMPENSATED):
        return waits and d.step(path) is not None
    if status in (S.FAILED, S.IN_DOUBT):
        return waits or (d.txn.status is Status.RUNNING and sending.is_wanted(d, path))
    return False


def _skip_whole(d: Decision, said: str) -> None:
    """What is about no step: its end is told without what can't be filled in, if that is what waits."""
    if not _has_incident(d, ""):
        d.ignore(IMPOSSIBLE, "only steps have open incidents: name the step")
        return
    can_not_end = _has_incident(d, "", sending.EXPRESSION)
    d.emit(Kind.RESUMED, reason=f"skipped by {said}")
    progress.settle(d, plain_end=can_not_end)
