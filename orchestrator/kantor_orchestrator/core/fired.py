"""What it means that a timer went off."""

from __future__ import annotations

from kantor_orchestrator.core import messages, progress, quarantine, reversal, sending
from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.entry import (
    AGAIN,
    COMPENSATION_RETRY,
    DEADLINE,
    EXPIRY,
    QUESTION,
    RETRY,
    SLEEP,
    TIMEOUT,
)
from kantor_orchestrator.core.transaction import EARLY_TTL, TIMED_OUT, Kind, Status, StepStatus

S = StepStatus


def fired(d: Decision) -> None:
    """Carry out ``d.entry``. A timer that is early or stale does nothing (saga-14)."""
    entry, txn, saga = d.entry, d.txn, d.saga
    if entry.timer == AGAIN:
        if quarantine.is_due(d):
            quarantine.ask(d, "whether it can be read now")
        return
    if txn.put_off:
        return  # all others are set again when nothing waits any more
    if entry.timer == EXPIRY:
        if txn.early and not txn.saga and 0 < txn.expires_at <= entry.at:
            # Not up to this entry's time: intake may lag behind that, and it is known up to the timer's only that no start comes.
            old = [early for early in txn.early if early.at + EARLY_TTL <= txn.expires_at]
            left = [early.at + EARLY_TTL for early in txn.early if early not in old]
            types = ", ".join(sorted({early.type for early in old}))
            reason = f"no saga started for {types}"
            d.emit(Kind.EXPIRED, code="unmatched", reason=reason, due=min(left, default=0))
        return
    if saga is None or not txn.saga:
        return
    if txn.held:
        return  # the release sets it again
    if entry.timer == DEADLINE:
        if txn.status is not Status.RUNNING or not txn.deadline or entry.at < txn.deadline:
            return
        if d.hold:
            d.be_held()
        else:
            progress.give_up(d, "deadline", "deadline (the saga's deadline has passed)")
            progress.settle(d)
        return
    state = txn.steps.get(entry.step)
    step = d.step(entry.step)
    if state is None or step is None or state.timer != entry.timer or entry.at < state.due:
        return
    if d.hold:
        d.be_held()
        return
    action = (entry.round, entry.attempt) == (state.round, state.attempt)
    if entry.timer == SLEEP and action:
        d.emit(Kind.SUCCEEDED, step=entry.step, scope=entry.step, captured={})
        progress.settle(d)
    elif entry.timer == RETRY and action:
        sending.send(d, step, entry.step, state.round, state.attempt + 1)
    elif entry.timer == TIMEOUT and action and state.status is S.IN_DOUBT:
        sending.no_answer(d, entry.step)
    elif entry.timer == TIMEOUT and action:
        if not sending.retry(d, step, entry.step, TIMED_OUT, "no answer in time"):
            messages.doubt(d, step, entry.step, TIMED_OUT, "no answer in time")
    elif entry.timer == QUESTION and (entry.round, entry.attempt) == (state.round, state.questions):
        sending.ask(d, step, entry.step)
    elif (entry.round, entry.attempt) == (state.compensation_round, state.compensation_attempt):
        if entry.timer == COMPENSATION_RETRY:
            reversal.send_compensation(
                d, step, entry.step, state.compensation_round, state.compensation_attempt + 1
            )
        elif not reversal.retry_compensation(d, step, entry.step, TIMED_OUT, "not confirmed in time"):
            reason = f"not confirmed after {state.compensation_attempt} attempts"
            d.emit(Kind.COMPENSATION_FAILED, step=entry.step, code=TIMED_OUT, reason=reason)
