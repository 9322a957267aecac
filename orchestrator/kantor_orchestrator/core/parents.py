"""What a child transaction and its parent say to each other, by way of the journal: their shards may be two.

1. The parent starts its child by a command, and asks for its reversal by another one. The child's end is the answer to
   whichever came last (``parent_command``), so that an answer that Kafka refused is told again by a later one.
2. A start may be refused for good, and still leave: whoever takes the parent's shard sends what is logged. So only the child
   says that it never began, when it is asked; from then on its start does nothing. (Services' inboxes do the same.)
3. The child forgets its end after a month. A parent that knows of its success does not believe that it never began.
4. An end that is no reversal confirms none: of a child that is completed its reversal is asked for again, one that a person
   closed is an incident of the parent.
"""

from __future__ import annotations

from typing import Any

from kantor.envelope import (
    COMPENSATE_TRANSACTION,
    OWN_COMMANDS,
    STEP_FAILED,
    TRANSACTION_ENDED,
    event_id,
)
from kantor_orchestrator.core import progress, reversal
from kantor_orchestrator.core.confirming import confirmed
from kantor_orchestrator.core.decision import ANSWER, Decision
from kantor_orchestrator.core.entry import COMPENSATION_RETRY, Entry
from kantor_orchestrator.core.evidence import Evidence
from kantor_orchestrator.core.saga import ROOT
from kantor_orchestrator.core.transaction import (
    ENDED,
    FINAL,
    Early,
    Kind,
    SentCommand,
    Status,
    StepStatus,
)
from kantor_orchestrator.core.values import dump
from kantor_orchestrator.core.ways import IMPOSSIBLE

S = StepStatus
#: The code of a child's answer: no start of it is known.
NEVER_BEGAN = "never_began"


def asks_for_compensation(d: Decision, message: Entry | Early) -> None:
    """The step that this transaction is shall be reversed. The answer to the parent is this transaction's end, or, if
    there is no way back, a failure."""
    txn, id_ = d.txn, message.id
    if not txn.parent:
        d.ignore(IMPOSSIBLE, "it is not a child transaction")
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


def asks_before_start(d: Decision) -> None:
    """Its reversal is asked for, and no start of it has come: it never began, and does not begin any more."""
    txn, entry = d.txn, d.entry
    if txn.status not in ENDED:
        d.emit(
            Kind.NEVER_BEGAN,
            status=Status.COMPENSATED,
            due=entry.at + progress.STUB_TTL[Status.COMPENSATED],
            reason=f"its parent {entry.parent} is compensated, and it never began: a start that arrives now is ignored",
        )
    _tell_never_began(d, entry.id, entry.parent)


def _tell_never_began(d: Decision, cause: str, parent: str) -> None:
    text = "its start is unknown, and a start that arrives now is ignored"
    fields = {"code": NEVER_BEGAN, "message": text, "retryable": False, "handling": COMPENSATE_TRANSACTION}
    _answer(d, cause, STEP_FAILED, fields, text, parent)


def never_began(d: Decision, path: str, message: Entry | Early) -> bool:
    """Whether a child says that it never began, whose reversal is asked for because it may have: then there is nothing to
    reverse. One of whose success this transaction knows has forgotten it."""
    step, state = d.step(path), d.state(path)
    if step is None or not step.child or (message.payload or {}).get("code") != NEVER_BEGAN:
        return False
    if state.status not in (S.COMPENSATING, S.INCIDENT) or not state.doubtful or state.again:
        return False
    confirmed(d, path, NEVER_BEGAN, "its transaction never began", evidence=Evidence.of(message))
    return True


def is_not_reversed(d: Decision, message: Entry | Early) -> bool:
    """Whether a child whose reversal was asked for has completed all the same: it may not have heard that, or Kafka may have
    refused its answer. So it is asked again."""
    path = _of_question(d, message, Status.COMPLETED)
    if not path:
        return False
    step, state = d.step(path), d.state(path)
    assert step is not None
    text = f"{path}: its transaction is completed, and not reversed"
    if state.status is not S.COMPENSATING or state.timer == COMPENSATION_RETRY:
        d.ignore("not_reversed", text, path)
    elif not reversal.retry_compensation(d, step, path, "not_reversed", text):
        d.emit(Kind.COMPENSATION_FAILED, step=path, code="not_reversed", reason=text)
    return True


def stands_after_close(d: Decision, message: Entry | Early) -> str:
    """The step whose child has ended otherwise than reversed, though that was asked for; empty: none has."""
    return _of_question(d, message, Status.COMPLETED) or _of_question(d, message, Status.CLOSED)


def _of_question(d: Decision, message: Entry | Early, status: Status) -> str:
    """The step whose reversal a child's end with this status is the answer to."""
    if message.type != TRANSACTION_ENDED or (message.payload or {}).get("status") != status:
        return ""
    return next((path for path in d.txn.steps if d.is_compensation_of(path, message.causation_id)), "")


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


def tell_again(d: Decision, reason: str) -> None:
    """Kafka refused what this transaction, which has ended, told its parent."""
    if d.txn.saga:
        tell_end(d, d.txn.parent_command, reason)
    else:
        _tell_never_began(d, d.txn.parent_command, d.txn.parent)


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


def _answer(
    d: Decision, cause: str, type_: str, fields: dict[str, Any], reason: str, parent: str = ""
) -> None:
    """``parent``: if this transaction does not know it yet."""
    # What a person has told again is another message: the same one might differ from what has been read of it.
    id_ = event_id(cause if d.entry.kind != "act" else f"{cause}/{d.entry.id}", type_, 0)
    about = parent or d.txn.parent
    command = SentCommand(id_, type_, OWN_COMMANDS, ANSWER, id_, cause, fields, about=about)
    d.emit(Kind.ANSWERED, command=command, reason=reason, parent=parent, parent_command=cause)
