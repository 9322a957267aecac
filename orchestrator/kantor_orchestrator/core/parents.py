"""What a child transaction and its parent say to each other, by way of the journal: their shards may be two."""

from __future__ import annotations

from typing import Any

from kantor.envelope import OWN_COMMANDS, STEP_FAILED, TRANSACTION_ENDED, event_id
from kantor_orchestrator.core import progress, reversal
from kantor_orchestrator.core.decision import ANSWER, Decision
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import ROOT
from kantor_orchestrator.core.transaction import FINAL, Early, Kind, SentCommand, Status, StepStatus
from kantor_orchestrator.core.values import dump
from kantor_orchestrator.core.ways import IMPOSSIBLE

S = StepStatus


def asks_for_compensation(d: Decision, message: Entry | Early) -> None:
    """The step that this transaction is shall be reversed. The answer to the parent is this transaction's end, or, if
    there is no way back, a failure."""
    txn, id_ = d.txn, message.id
    if not txn.parent:
        d.ignore(IMPOSSIBLE, "it is nobody's child")
        return
    pivot = reversal.pivot_status(d, ROOT, ROOT)
    if txn.status in (Status.RUNNING, Status.COMPLETED) and pivot is not None:
        known = pivot is S.SUCCEEDED
        text = "its pivot has succeeded: there is no way back" if known else "its pivot is not decided yet"
        fields = {"code": "after_pivot", "message": text, "retryable": not known, "handling": message.type}
        _answer(d, id_, STEP_FAILED, fields, text)
    elif txn.status in (Status.COMPENSATED, Status.CLOSED):
        tell_end(d, id_, f"it is {txn.status} already")
    else:
        reason = f"its parent {txn.parent} is compensated"
        d.emit(Kind.PARENT_ASKED, parent_command=id_, reason=reason)
        if txn.status is Status.RUNNING:
            progress.give_up(d, "parent", reason)
        elif txn.status is Status.COMPLETED:
            d.emit(Kind.REOPENED, status=Status.COMPENSATING, reason=reason)
        progress.settle(d)


def is_closed_child(d: Decision, message: Entry | Early) -> bool:
    """Whether a person closed a child that this transaction waits to see reversed: nobody will say that it is, so that is an
    incident now."""
    if (message.payload or {}).get("status") != Status.CLOSED:
        return False
    cause = message.causation_id
    for path, state in d.txn.steps.items():
        if state.status is S.COMPENSATING and (
            d.is_action_of(path, cause) or d.is_compensation_of(path, cause)
        ):
            text = f"{path}: its transaction was closed by a person, so nothing of it is reversed any more"
            d.emit(Kind.COMPENSATION_FAILED, step=path, code=str(Status.CLOSED), reason=text, evidence=FINAL)
            return True
    return False


def tell_end(d: Decision, cause: str, reason: str) -> None:
    """Answer the parent's command ``cause`` with this transaction's end, which has come already."""
    txn = d.txn
    fields = {
        "transaction_id": txn.id,
        "saga": txn.saga,
        "version": txn.version,
        "status": txn.status.value,
        "started_at": txn.started_at,
        "ended_at": txn.ended_at,
        "reason": txn.reason or None,
        "returns": dump(txn.captured[ROOT]) if ROOT in txn.captured else "",
    }
    _answer(d, cause, TRANSACTION_ENDED, fields, reason)


def _answer(d: Decision, cause: str, type_: str, fields: dict[str, Any], reason: str) -> None:
    id_ = event_id(cause, type_, 0)
    command = SentCommand(id_, type_, OWN_COMMANDS, ANSWER, id_, cause, fields, about=d.txn.parent)
    d.emit(Kind.ANSWERED, command=command, reason=reason)
