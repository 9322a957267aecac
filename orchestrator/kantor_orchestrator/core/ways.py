"""Why an operator action is refused, in words: the state that forbids it, and what can be done instead."""

from __future__ import annotations

from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.transaction import ENDED, Status, StepStatus

S = StepStatus
#: The code of an operator action that changes nothing.
IMPOSSIBLE = "act_impossible"

#: What an ended transaction does not take any more, by its status.
_ENDED = {
    Status.COMPLETED: "it is completed: only a new transaction can reverse it now",
    Status.COMPENSATED: "it is compensated: nothing is left to reverse",
    Status.CLOSED: "it is closed, and that is final: what is left must be done by hand",
}
#: A step that nothing can be done to by hand, while its transaction runs.
_RUNNING = {
    S.PENDING: "its turn has not come yet; to reverse the transaction, cancel it",
    S.ACTIVE: "its answer is awaited; to reverse the transaction, cancel it",
    S.IN_DOUBT: "its answer is awaited; to reverse the transaction, cancel it",
    S.SUCCEEDED: "there is nothing to do for it; to reverse the transaction, cancel it",
    S.FAILED: "it had no effect, and the transaction goes on without it",
    S.SKIPPED: "there is nothing to do for it; to reverse the transaction, cancel it",
    S.COMPENSATING: "its compensation is repeated automatically; if it was done by hand, skip it",
    S.COMPENSATED: "its effect has been reversed already",
    S.INCIDENT: "retry or skip it",
}
#: The same, while its transaction is reversed.
_COMPENSATING = _RUNNING | {
    S.PENDING: "it will no longer start",
    S.ACTIVE: "it is reversed once its steps are",
    S.IN_DOUBT: "its answer or its compensation is awaited",
    S.SUCCEEDED: "it is reversed when its turn comes",
    S.FAILED: "it had no effect, so there is nothing to do",
    S.SKIPPED: "it has nothing to reverse",
}


def of_transaction(d: Decision) -> str:
    """It is in no state to be reversed, or begun."""
    status = d.txn.status
    return _ENDED.get(status) or f"it is {status}: retry or skip its open incidents"


def of_nothing(d: Decision) -> str:
    """Nothing waits for a person."""
    if d.txn.status in ENDED:
        return f"it has ended ({d.txn.status}) and has no open incident: there is nothing to do"
    return "it has no open incident and continues by itself; to act on one step, name that step"


def of_step(d: Decision, path: str) -> str:
    """This step is in no state to be tried again, or skipped."""
    txn, status = d.txn, d.status(path)
    if txn.status in ENDED:
        return f"it is {txn.status}, and {path} has no open incident: there is nothing to do"
    ways = _RUNNING if txn.status is Status.RUNNING else _COMPENSATING
    return f"{path} is {status}: {ways[status]}"


def of_signal(d: Decision, path: str) -> str:
    """This step takes no signal now."""
    assert d.saga is not None
    status = d.status(path)
    if d.txn.status in ENDED:
        return of_transaction(d)
    if status is S.PENDING:
        return f"{path} is pending: it takes its signal once it is active"
    return f"{path} is {status}: it no longer takes a signal"
