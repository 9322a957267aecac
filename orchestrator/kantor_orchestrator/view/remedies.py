"""What a person may do now about what waits for one: operator actions that are carried out in that state (docs/acts.md), the best first.

A test walks all states of small sagas, and finds that none of these is refused (view-15).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kantor_orchestrator.core import acts
from kantor_orchestrator.core.act_kinds import RELEASE
from kantor_orchestrator.core.refusals import REFUSED
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.step_kinds import kind_of
from kantor_orchestrator.core.transaction import ENDED, Status, StepState, StepStatus, Transaction
from kantor_orchestrator.view.sagas import NO_STEP, StepFacts

S = StepStatus

#: By kind of incident: what ``retry`` means, and ``skip``.
_MEANS = {
    "compensation_failed": (
        "its service is fixed: the compensation is sent again",
        "it was reversed by hand",
    ),
    "after_pivot": ("the cause is fixed: it is tried again", "it was done by hand"),
    "no_answer": ("the outcome is unknown: the service is asked again", "it did happen"),
    "no_result": ("its service is fixed: it is asked again", "its result was handed on by hand"),
    "refused": ("the topic is fixed: the message is sent again", "it was done by hand"),
    "expression": ("the saga is fixed and deployed: it is tried again", "the transaction goes on without it"),
    "timer_failed": ("it is tried again", "it was done by hand"),
    "second_effect": ("it did take effect again: that is reversed", "it did not take effect again"),
}
_PUT_OFF = ("the message can be read now: it is read again", "the message is dropped for good")
_OTHER = ("the cause is fixed: it is tried again", "it has been dealt with")


@dataclass(frozen=True, slots=True)
class Remedy:
    """``step`` empty: the operator action is about the whole transaction. ``means``: when it is right, or what it does."""

    act: str
    step: str
    means: str


def remedies(txn: Transaction, steps: Mapping[str, StepFacts], *, is_held: bool) -> list[Remedy]:
    """``steps``: what is known of the saga's, by their paths in the definition. Nothing, if nothing waits for a person."""
    if txn.put_off and txn.incidents:
        found = [Remedy(acts.RETRY, "", _PUT_OFF[0]), Remedy(acts.SKIP, "", _PUT_OFF[1])]
    elif not txn.incidents:
        return []
    elif is_held:
        found = [
            Remedy(
                RELEASE,
                "",
                "first (without --saga if everything is held): then its incidents can be dealt with",
            )
        ]
    elif txn.status in ENDED:
        waiting = sorted({incident.step for incident in txn.incidents})
        untold = txn.parent and any(not i.step and i.kind == REFUSED for i in txn.incidents)
        found = (
            [Remedy(acts.RETRY, "", "the topic is fixed: its parent is told again how it ended")]
            if untold
            else []
        )
        return found + [Remedy(acts.SKIP, step, "it has been dealt with") for step in waiting]
    else:
        kinds = {incident.step: incident.kind for incident in reversed(txn.incidents)}
        found = [
            remedy
            for path, kind in sorted(kinds.items())
            for remedy in _of_step(txn, path, kind, steps.get(definition_path(path), NO_STEP))
        ]
    if txn.status not in ENDED:
        found.append(Remedy(acts.CLOSE, "", "it ends as it is, and nothing is reversed"))
    return found


def _of_step(txn: Transaction, path: str, kind: str, step: StepFacts) -> list[Remedy]:
    state = txn.steps.get(path)
    again, by_hand = _MEANS.get(kind, _OTHER)
    found = []
    if state is None or _can_be_retried(txn, state, kind, step):
        found.append(Remedy(acts.RETRY, path, again))
    elif step.pivot and state.status is S.IN_DOUBT and txn.status is Status.RUNNING and "." not in path:
        found.append(Remedy(acts.COMPENSATE, "", "it did not happen"))
    found.append(Remedy(acts.SKIP, path, by_hand))
    return found


def _can_be_retried(txn: Transaction, state: StepState, kind: str, step: StepFacts) -> bool:
    """As ``core.mending`` has it, of a step that has an incident."""
    status, is_asked_for = state.status, kind_of(step.kind).is_asked
    if status in (S.COMPENSATING, S.INCIDENT):
        return bool(step.compensator)
    if status is S.SUCCEEDED:
        return True
    if status is S.IN_DOUBT and (step.asks or kind == "expression"):  # a question, or what reverses it
        return True
    if status is S.ACTIVE and not is_asked_for:
        return True
    if status is S.COMPENSATED and any(i.kind == "second_effect" for i in txn.incidents):
        return True
    if status in (S.ACTIVE, S.FAILED, S.IN_DOUBT, S.COMPENSATED):
        return is_asked_for and txn.status is Status.RUNNING and not txn.failing
    return False
