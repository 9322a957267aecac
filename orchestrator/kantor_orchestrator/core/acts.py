"""What people do to a transaction: entries of the journal with who, when and why.

An operator action that is not possible changes nothing; it is recorded with the reason why not (saga-31). ``mending.py`` has ``retry``
and ``skip``, the ways forward from an incident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kantor.envelope import command_id, idempotency_key
from kantor_orchestrator.core import mending, parents, progress, quarantine, reversal, sending, ways
from kantor_orchestrator.core.act_kinds import CANCEL, CLOSE, COMPENSATE, RETRY, SIGNAL, SKIP, START
from kantor_orchestrator.core.decision import REFUSAL, Decision, ExpressionError
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import ROOT, Cancellation
from kantor_orchestrator.core.step_kinds import KINDS
from kantor_orchestrator.core.transaction import (
    BY_HAND,
    ENDED,
    FINAL,
    Early,
    Kind,
    Status,
    StepStatus,
)
from kantor_orchestrator.core.ways import IMPOSSIBLE

__all__ = [
    "CANCEL", "CLOSE", "COMPENSATE", "DONE_ALREADY", "IMPOSSIBLE", "NO_TRANSACTION", "RETRY", "SIGNAL", "SKIP", "START", "act",
]  # fmt: skip

S = StepStatus

#: The code of an operator action that came again under the same id (journal-18).
DONE_ALREADY = "done_already"
#: The code of an operator action on a transaction that the engine does not know.
NO_TRANSACTION = "no_transaction"


def act(d: Decision) -> None:
    """Carry out ``d.entry``: its type says which operator action, its step what it is about, its payload ``why`` (text), and of a
    signal ``fields``, of a start ``offset``."""
    entry, txn = d.entry, d.txn
    why = str((entry.payload or {}).get("why", ""))
    is_about_step = bool(entry.step)
    if entry.type in IN_ANY_STATE:
        IN_ANY_STATE[entry.type](d, why)
    elif entry.type not in OF_A_SAGA:
        d.ignore("act_unknown", f"there is no operator action {entry.type!r}")
    elif txn.put_off and not is_about_step and entry.type in (RETRY, SKIP):
        _of_quarantine(d, why)
    elif not txn.saga:
        _without_saga(d, why)
    elif d.hold or txn.held:
        d.ignore(IMPOSSIBLE, f"it is held ({d.hold or txn.held}): release it first")
    elif txn.put_off:
        d.ignore(
            IMPOSSIBLE, "it is blocked by an unreadable message: retry or skip that first, without a step"
        )
    else:
        OF_A_SAGA[entry.type](d, why)


def as_before(d: Decision) -> str:
    """Why an operator action changed nothing: what waits for a person is in the way of it, too."""
    said = [i.reason for i in d.txn.incidents if d.entry.step in ("", i.step)]
    return (
        f"it fails as before ({'; '.join(said)}): fix that first, or skip it"
        if said
        else "it changes nothing"
    )


def _close(d: Decision, why: str) -> None:
    """Of the deferred messages, only the first, which can't be read, is dropped. Those behind it are processed all the same:
    it may be an effect, or the parent's question."""
    txn, at = d.txn, d.entry.at
    reason = f"closed by {d.entry.actor}: {why}"
    if txn.status not in ENDED:
        kept = txn.early
        due = at + progress.stub_ttl(txn, Status.CLOSED)
        d.emit(Kind.ENDED, status=Status.CLOSED, due=due, code="closed", reason=reason)
        if txn.saga:
            d.waiting += kept  # that person has to know an effect that they report
        if txn.put_off:
            quarantine.drop(d, reason)
        return
    if not txn.incidents and not txn.put_off:
        d.ignore(IMPOSSIBLE, f"it is already {txn.status} and has no open incident: there is nothing to do")
        return
    # It has ended; what came later and needs a person is dropped. But a parent waits for its answer all the same.
    if mending.parent_waits(d):
        parents.tell_again(d, reason)
    if txn.put_off:
        quarantine.drop(d, reason)
    for step in sorted({incident.step for incident in txn.incidents}):
        d.emit(Kind.RESUMED, code=step, reason=reason, due=progress.lives_until(d))


def _without_saga(d: Decision, why: str) -> None:
    """No saga has started. What was to be told all the same, a parent's child that it never began, may have been refused."""
    if d.txn.incidents and d.entry.type in (RETRY, SKIP) and not d.entry.step:
        (mending.retry if d.entry.type == RETRY else mending.skip)(d, why)
    elif d.txn.status not in ENDED:
        d.ignore(IMPOSSIBLE, "no saga has started: start it if its start came too late, or close it")
    else:
        d.ignore(IMPOSSIBLE, ways.of_transaction(d))


def _start(d: Decision, why: str) -> None:
    """Start it, though its start was too old: the shell brings it back."""
    txn, offset = d.txn, (d.entry.payload or {}).get("fields", {}).get("offset")
    if txn.saga:
        d.ignore(IMPOSSIBLE, "its saga has already started: there is nothing to start")
    elif txn.put_off:
        d.ignore(IMPOSSIBLE, "it is blocked by an unreadable message: retry or skip that first")
    elif txn.status in ENDED:
        d.ignore(IMPOSSIBLE, ways.of_transaction(d))
    elif not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < d.entry.journal_offset:
        d.ignore(IMPOSSIBLE, "a start needs the journal offset of the message that starts it: name it")
    else:
        quarantine.start(d, offset, f"started by {d.entry.actor}: {why}")


def _of_quarantine(d: Decision, why: str) -> None:
    if d.entry.type == RETRY:
        quarantine.ask(d, f"{d.entry.actor}: {why}")
    elif not why:
        d.ignore(IMPOSSIBLE, "a skip needs its evidence: say why")
    else:
        quarantine.drop(d, f"dropped by {d.entry.actor}: {why}")


def _cancel(d: Decision, why: str) -> None:
    txn, reason = d.txn, f"{d.entry.type} by {d.entry.actor}: {why}"
    pivot = _pivot_that_nobody_knows(d)
    if txn.status is not Status.RUNNING:
        d.ignore(IMPOSSIBLE, ways.of_transaction(d))
    elif pivot and d.entry.type == COMPENSATE:
        _pivot_did_not_happen(d, pivot, reason)
    elif txn.failing:
        d.ignore(
            IMPOSSIBLE,
            f"it was given up already ({txn.failing}), and its pivot's answer decides: wait for that answer",
        )
    elif reversal.pivot_status(d, ROOT, ROOT) is not None:
        d.ignore(
            IMPOSSIBLE,
            "its pivot has succeeded, or may have, so there is no way back: retry or skip its open incidents",
        )
    else:
        progress.give_up(d, "cancelled", reason)
        progress.settle(d)


def _pivot_that_nobody_knows(d: Decision) -> str:
    """The pivot of which a person must say whether it happened; empty: none."""
    waiting = {incident.step for incident in d.txn.incidents}
    assert d.saga is not None
    pivots = (step.path for step in d.saga.children[ROOT] if step.pivot)
    return next((path for path in pivots if path in waiting and d.status(path) is S.IN_DOUBT), "")


def _pivot_did_not_happen(d: Decision, path: str, reason: str) -> None:
    """A person has found out: there is a way back. (That it did happen, ``skip`` says.)"""
    d.emit(Kind.FAILED, step=path, code=BY_HAND, reason=reason, evidence=FINAL)
    if not d.txn.failing:
        progress.give_up(d, BY_HAND, reason)
    progress.settle(d)


def cancelled_by_event(d: Decision, cancellation: Cancellation, request: Entry | Early) -> None:
    """``cancel_on`` (saga-33): as long as its step has not ended; else the refusal is sent, if there is one: each request has
    its own, by whose id it is known (wire-12)."""
    txn = d.txn
    too_late = d.status(cancellation.until) not in (S.PENDING, S.ACTIVE, S.IN_DOUBT)
    if txn.status is Status.RUNNING and not too_late and reversal.pivot_status(d, ROOT, ROOT) is None:
        progress.give_up(d, "cancelled", f"cancelled ({cancellation.event})")
        progress.settle(d)
        return
    if txn.failing or txn.status in (Status.COMPENSATING, Status.COMPENSATED, Status.CLOSED):
        d.ignore(
            "cancelled_already",
            f"nothing is in progress that could be cancelled: it is {(txn.failing and 'given up') or txn.status}",
        )
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
    command = sending.message(d, cancellation.refuse_with, ROOT, REFUSAL, 1, 1)
    command.id = command_id(txn.id, request.id, REFUSAL, 1, 1)
    command.idempotency_key = idempotency_key(txn.id, request.id, REFUSAL, 1)
    command.causation_id = request.id
    d.emit(Kind.REFUSED, code="too_late", reason=reason, command=command)


def _signal(d: Decision, _why: str) -> None:
    path = d.entry.step
    step = d.step(path)
    if not path:
        d.ignore(IMPOSSIBLE, "a signal needs a step: name one")
    elif step is None or not KINDS[step.kind].takes_signal:
        d.ignore(IMPOSSIBLE, f"{path} is not a signal step: name one that waits for a signal")
    elif d.status(path) is not S.ACTIVE or d.txn.status in ENDED:
        d.ignore(IMPOSSIBLE, ways.of_signal(d, path))
    else:
        fields = dict((d.entry.payload or {}).get("fields", {}))
        try:
            d.admit(fields)
        except ExpressionError as error:
            d.ignore(IMPOSSIBLE, str(error))
            return
        d.emit(Kind.SUCCEEDED, step=path, scope=path, captured=fields)
        progress.settle(d)


#: How each operator action is carried out, by name (``act_kinds.KINDS``): whatever the transaction's state; and once its saga has started, while
#: nobody holds it and nothing waits that can't be read.
IN_ANY_STATE: Mapping[str, Callable[[Decision, str], None]] = {CLOSE: _close, START: _start}
OF_A_SAGA: Mapping[str, Callable[[Decision, str], None]] = {
    CANCEL: _cancel,
    COMPENSATE: _cancel,
    RETRY: mending.retry,
    SIGNAL: _signal,
    SKIP: mending.skip,
}
