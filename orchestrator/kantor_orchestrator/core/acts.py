"""What people do to a transaction (DESIGN section 7, rule 14): entries of the journal with who, when and why.

An act that is not possible changes nothing; it is recorded with the reason why not.
"""

from __future__ import annotations

from typing import Any

from kantor.envelope import OWN_COMMANDS, STEP_FAILED, TRANSACTION_ENDED, event_id
from kantor_orchestrator.core import progress, refusals, reversal, sending
from kantor_orchestrator.core.decision import ANSWER, REFUSAL, Decision
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import ROOT, Cancellation
from kantor_orchestrator.core.transaction import ENDED, Early, Kind, SentCommand, Status, StepStatus

S = StepStatus

RETRY, SKIP, CANCEL, COMPENSATE, CLOSE, SIGNAL = "retry", "skip", "cancel", "compensate", "close", "signal"
#: The code of an act that came again under the same id.
DONE_ALREADY = "done_already"
#: The code of an act on a transaction that the engine does not know.
NO_TRANSACTION = "no_transaction"


def act(d: Decision) -> None:
    """Carry out ``d.entry``: its type says which act, its step what it is about, its payload ``why`` (text), and of a
    signal ``fields``."""
    entry, txn = d.entry, d.txn
    why = str((entry.payload or {}).get("why", ""))
    if entry.type == CLOSE:
        if txn.status in ENDED:
            d.ignore("act_impossible", f"it is {txn.status} already")
        else:
            d.emit(
                Kind.ENDED,
                status=Status.CLOSED,
                due=entry.at + progress.stub_ttl(txn, Status.CLOSED),
                code="closed",
                reason=f"closed by {entry.actor}: {why}",
            )
    elif not txn.saga:
        _without_saga(d, why)
    elif d.hold or txn.held:
        d.ignore("act_impossible", f"it is held ({d.hold or txn.held}): release it first")
    elif entry.type in (CANCEL, COMPENSATE):
        _cancel(d, f"{entry.type} by {entry.actor}: {why}")
    elif entry.type == RETRY:
        _retry(d, why)
    elif entry.type == SKIP:
        _skip(d, why)
    elif entry.type == SIGNAL:
        _signal(d)
    else:
        d.ignore("act_unknown", f"there is no act {entry.type!r}")


def _without_saga(d: Decision, why: str) -> None:
    if d.entry.type == RETRY and d.txn.incidents:
        d.emit(Kind.RESUMED, status=Status.OBSERVED, reason=why)
    else:
        d.ignore("act_impossible", "no saga has started")


def _cancel(d: Decision, reason: str) -> None:
    txn = d.txn
    if txn.status is not Status.RUNNING:
        d.ignore("act_impossible", f"it is {txn.status}")
    elif reversal.pivot_status(d, ROOT, ROOT) is not None:
        d.ignore("act_impossible", "its pivot has succeeded, or may have: there is no way back")
    else:
        progress.give_up(d, "cancelled", reason)
        progress.settle(d)


def cancelled_by_event(d: Decision, cancellation: Cancellation) -> None:
    """``cancel_on``: as long as its step has not ended; else the refusal is sent, if there is one."""
    txn = d.txn
    too_late = d.status(cancellation.until) not in (S.PENDING, S.ACTIVE, S.IN_DOUBT)
    if txn.status is Status.RUNNING and not too_late and reversal.pivot_status(d, ROOT, ROOT) is None:
        progress.give_up(d, "cancelled", f"cancelled ({cancellation.event})")
        progress.settle(d)
        return
    if too_late:
        reason = f"{cancellation.until} has ended ({d.status(cancellation.until)})"
    elif txn.status is Status.RUNNING:
        reason = "its pivot has succeeded, or may have"
    else:
        reason = f"it is {txn.status}"
    if cancellation.refuse_with is None:
        d.ignore("too_late", f"it can't be cancelled any more: {reason}")
        return
    number = len(txn.fingerprints) + 1  # each request is refused once
    command = sending.message(d, cancellation.refuse_with, ROOT, REFUSAL, number, 1)
    d.emit(Kind.REFUSED, code="too_late", reason=reason, command=command)


def compensated_by_parent(d: Decision, message: Entry | Early) -> None:
    """The step that this transaction is shall be reversed. The answer to the parent is this transaction's end, or, if
    there is no way back, a failure."""
    txn, id_ = d.txn, message.id
    if not txn.parent:
        d.ignore("act_impossible", "it is nobody's child")
        return
    pivot = reversal.pivot_status(d, ROOT, ROOT)
    if txn.status in (Status.RUNNING, Status.COMPLETED) and pivot is not None:
        known = pivot is S.SUCCEEDED
        text = "its pivot has succeeded: there is no way back" if known else "its pivot is not decided yet"
        fields = {"code": "after_pivot", "message": text, "retryable": not known, "handling": message.type}
        _answer(d, id_, STEP_FAILED, fields, text)
    elif txn.status in (Status.COMPENSATED, Status.CLOSED):
        fields = {
            "transaction_id": txn.id,
            "saga": txn.saga,
            "version": txn.version,
            "status": txn.status.value,
            "started_at": txn.started_at,
            "ended_at": txn.ended_at,
        }
        _answer(d, id_, TRANSACTION_ENDED, fields, f"it is {txn.status} already")
    else:
        reason = f"its parent {txn.parent} is compensated"
        d.emit(Kind.PARENT_ASKED, parent_command=id_, reason=reason)
        if txn.status is Status.RUNNING:
            progress.give_up(d, "parent", reason)
        elif txn.status is Status.COMPLETED:
            d.emit(Kind.REOPENED, status=Status.COMPENSATING, reason=reason)
        progress.settle(d)


def _answer(d: Decision, cause: str, type_: str, fields: dict[str, Any], reason: str) -> None:
    id_ = event_id(cause, type_, 0)
    command = SentCommand(id_, type_, OWN_COMMANDS, ANSWER, id_, cause, fields, about=d.txn.parent)
    d.emit(Kind.ANSWERED, command=command, reason=reason)


def _retry(d: Decision, why: str) -> None:
    path, txn = d.entry.step, d.txn
    step, state = d.step(path) if path else None, txn.steps.get(path)
    if not path:
        if not txn.incidents:
            d.ignore("act_impossible", "nothing waits for a person")
            return
        d.emit(Kind.RESUMED, reason=why)
        progress.settle(d)
    elif step is None:
        d.ignore("act_impossible", f"there is no step {path}")
    elif state is None:  # its guard or a field threw
        d.emit(Kind.RESUMED, code=path, reason=why)
        progress.settle(d)
    elif state.status is S.INCIDENT and step.compensation is None:
        d.ignore("act_impossible", f"{path} took effect, and nothing reverses it: do it by hand, and skip it")
    elif state.status is S.INCIDENT:
        reversal.send_compensation(d, step, path, state.compensation_round + 1, 1)
    elif (
        state.status is S.FAILED
        and step.command is not None
        and (txn.status is Status.RUNNING or any(i.step == path for i in txn.incidents))
    ):
        sending.send(d, step, path, state.round + 1, 1)
    elif state.status is S.ACTIVE and refusals.is_refused(d, path) and step.command is not None:
        sending.send(d, step, path, state.round, state.attempt + 1)  # nobody has seen the last attempt
    elif state.status is S.IN_DOUBT and step.ask is not None:
        sending.ask(d, step, path)
    else:
        d.ignore("act_impossible", f"{path} is {state.status}")


def _skip(d: Decision, why: str) -> None:
    """A person did it by hand: a compensation that was given up, or a step that can't be done otherwise."""
    path = d.entry.step
    status = d.status(path)
    said = f"{d.entry.actor}: {why}"
    if not why:
        d.ignore("act_impossible", "a skip needs its evidence: say why")
    elif status is S.INCIDENT or status is S.COMPENSATING:
        progress.confirmed(d, path, "by_hand", said)
    elif status in (S.FAILED, S.IN_DOUBT) and (
        d.txn.status is Status.RUNNING or any(i.step == path for i in d.txn.incidents)
    ):
        d.emit(Kind.SKIPPED, step=path, code="by_hand", reason=said)
        progress.settle(d)
    else:
        d.ignore("act_impossible", f"{path} is {status}")


def _signal(d: Decision) -> None:
    path = d.entry.step
    step = d.step(path)
    if step is None or step.kind != "signal":
        d.ignore("act_impossible", f"{path} waits for no signal")
    elif d.status(path) is not S.ACTIVE:
        d.ignore("act_impossible", f"{path} is {d.status(path)}")
    else:
        fields = dict((d.entry.payload or {}).get("fields", {}))
        d.emit(Kind.SUCCEEDED, step=path, scope=path, captured=fields)
        progress.settle(d)
