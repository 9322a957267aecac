"""What a message means to a transaction that has started: a success (saga-9), a failure (saga-10,
saga-11), a confirmation, a cancellation, the end of a child (saga-36).
"""

from __future__ import annotations

from kantor.envelope import COMPENSATE_TRANSACTION, STEP_FAILED, TRANSACTION_ENDED
from kantor_orchestrator.core import (
    acts,
    addressing,
    confirming,
    groups,
    parents,
    progress,
    quarantine,
    reversal,
    sending,
)
from kantor_orchestrator.core.addressing import AmbiguousError, GuessError
from kantor_orchestrator.core.decision import Decision, ExpressionError
from kantor_orchestrator.core.entry import TIMEOUT, Entry
from kantor_orchestrator.core.evidence import Evidence
from kantor_orchestrator.core.saga import ASK, MASK, WAIT, Step
from kantor_orchestrator.core.transaction import (
    AFTER_CLOSE,
    AFTER_PIVOT,
    BACKWARD,
    EARLY_TTL,
    FINAL,
    NOT_NEEDED,
    UNSURE,
    Early,
    Kind,
    Status,
    StepStatus,
)

S = StepStatus

#: The code with which a service refuses a command that came too late (the kit does).
EXPIRED = "expired"
#: Messages that a transaction keeps early at most.
MOST_EARLY = 1_000
#: Evidence of an answer to our own command: the step's command says the rest.
OWN = Evidence().identity()
_LATE = (S.IN_DOUBT, S.FAILED, S.COMPENSATING, S.COMPENSATED, S.INCIDENT)


def keep(d: Decision, message: Entry | Early) -> None:
    """Until its saga, the composite it is for, or the release. More than is kept waits unread."""
    if isinstance(message, Entry) and len(d.txn.early) >= MOST_EARLY:
        quarantine.put_off(d, f"{MOST_EARLY} early messages are already kept for this transaction")
        return
    try:
        if isinstance(message, Entry):
            d.admit(message.payload or {})
    except ExpressionError as error:
        quarantine.put_off(d, str(error))
        return
    early = Early(
        message.kind, message.type, message.id, message.source, message.causation_id, message.at, message.origin,
        dict(message.payload or {}), message.sent_at, message.idempotency_key,
    )  # fmt: skip
    d.emit(Kind.KEPT, early=early, due=message.at + EARLY_TTL)


def message(d: Decision, message: Entry | Early) -> None:
    """Raises nothing: an expression that throws is an incident of this transaction, or defers the message (saga-34)."""
    saga, type_ = d.saga, message.type
    assert saga is not None
    if d.txn.status is Status.CLOSED and type_ != COMPENSATE_TRANSACTION:
        _after_close(d, message)
        return
    moves = len(d.out)
    try:
        if type_ == COMPENSATE_TRANSACTION:
            parents.asks_for_compensation(d, message)
        elif saga.cancel_on is not None and type_ == saga.cancel_on.event:
            acts.cancelled_by_event(d, saga.cancel_on, message)
        elif type_ == TRANSACTION_ENDED and (
            parents.is_closed_child(d, message) or parents.is_not_reversed(d, message)
        ):
            pass
        elif type_ in saga.by_bare and (path := addressing.named(d, message, saga.by_bare[type_])):
            sending.no_result(d, path, message)
        elif type_ in saga.by_confirmation and _confirms(d, message):
            _confirmation(d, message, saga.by_confirmation[type_])
        elif type_ in saga.by_success and _is_success(message):
            _success(d, message, saga.by_success[type_])
        elif type_ in saga.by_failure or type_ in (STEP_FAILED, TRANSACTION_ENDED):
            _failure(d, message)
        elif type_ in saga.by_progress:
            _progressed(d, message, saga.by_progress[type_])
        elif type_ in saga.by_bare:
            d.ignore("no_match", f"{type_} answers no step's command", saga.by_bare[type_][0].path)
        elif type_ == saga.starts_on:
            d.ignore("second_start", "the transaction has started already")
    except GuessError as error:
        d.ignore("ambiguous", str(error))
    except AmbiguousError as error:
        if isinstance(message, Entry):
            quarantine.put_off(d, str(error))
        else:
            d.ignore("ambiguous", str(error))
    except ExpressionError as error:
        if message is d.entry and len(d.out) == moves and message.journal_offset >= 0:
            quarantine.put_off(d, str(error))
        else:
            d.incident(sending.EXPRESSION, str(error))


def _success(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    path = addressing.addressed(d, message, steps)
    if not path:
        _unaddressed(d, message, steps)
        return
    step, status = d.step(path), d.status(path)
    assert step is not None
    if _is_known(d, path, message):
        return
    left_out = "." in path and groups.is_left_out(d, path)
    is_unexpected = status not in (S.ACTIVE, S.IN_DOUBT)
    d.emit(
        Kind.SUCCEEDED,
        step=path,
        scope=path,
        captured=d.capture(message.type, message.payload),
        code=NOT_NEEDED if left_out else "",
        reason="late" if status in _LATE else "",
        evidence=_evidence(d, step, path, message),
    )
    if step.pivot and is_unexpected and (left_out or d.txn.status in BACKWARD):
        text = f"{path} took effect after it was given up, and nothing reverses a pivot: resolve it by hand, then skip it"
        d.emit(Kind.COMPENSATION_FAILED, step=path, code=AFTER_PIVOT, reason=text)
    progress.settle(d)


def _evidence(d: Decision, step: Step, path: str, message: Entry | Early) -> str:
    """What must be remembered of a success: nothing of one that nothing reverses, little of an answer to our own command."""
    if step.compensation is None:
        return ""
    evidence = Evidence.of(message)
    if d.status(path) in (
        S.COMPENSATING,
        S.INCIDENT,
    ):  # its reversal's confirmation says which of them was first
        return evidence.dump()
    return OWN if d.is_action_of(path, message.causation_id) else evidence.identity()


def _is_known(d: Decision, path: str, message: Entry | Early) -> bool:
    """Whether a success reports an effect that is known, or has been reversed: one effect has one reversal. Says so."""
    state, cause = d.txn.steps.get(path), message.causation_id
    if state is None:
        return False
    if state.status is S.SUCCEEDED or (state.status is S.INCIDENT and not state.compensation_round):
        d.ignore("already_succeeded", f"{path} has succeeded already", path)
        return True
    if not state.effect and not state.reversed_round and state.status is not S.COMPENSATED:
        return False  # nearly always: nothing is known that it could be the same as
    # All attempts of a command share one effect: another one's answer tells no more. Earlier rounds have been reversed.
    known = bool(state.effect) and d.is_action_of(path, cause)
    known = known or d.is_action_up_to(path, cause, min(state.reversed_round, state.round - 1))
    evidence = Evidence.of(message)
    if known or (state.effect and evidence.is_of(Evidence.load(state.effect))):
        d.ignore("already_succeeded", f"{path} has succeeded already", path)
        return True
    if state.status is not S.COMPENSATED:
        return False
    if state.reversal and evidence.is_before(Evidence.load(state.reversal)):
        d.ignore("already_reversed", f"{path}: it was told before its reversal was confirmed", path)
        return True
    if state.effect:
        confirming.second_effect(d, path, message.type)
        return True
    return False


def _after_close(d: Decision, message: Entry | Early) -> None:
    """A person has ended it: nothing is sent any more (saga-29). What took effect all the same is that person's to know."""
    saga = d.saga
    assert saga is not None
    type_ = message.type
    try:
        if path := parents.stands_after_close(d, message):
            d.incident(AFTER_CLOSE, f"{path}: its transaction has ended, and was not reversed", path)
            return
        if type_ in saga.by_bare and (path := addressing.named(d, message, saga.by_bare[type_])):
            if d.status(path) is not S.SUCCEEDED:
                d.incident(
                    AFTER_CLOSE, f"{path} was done ({type_}) after it was closed: nothing is sent", path
                )
            return
        if type_ in saga.by_confirmation and _confirms(d, message):
            found = addressing.confirmed(d, message, saga.by_confirmation[type_])
            if found:
                evidence = Evidence.of(message).dump()
                d.emit(
                    Kind.COMPENSATION_CONFIRMED, step=found, reason="after it was closed", evidence=evidence
                )
                return
        elif type_ in saga.by_success and _is_success(message):
            path = addressing.addressed(d, message, saga.by_success[type_])
            if path and _is_known(d, path, message):
                return
            if path:
                d.emit(Kind.SUCCEEDED, step=path, reason="after it was closed", code=AFTER_CLOSE)
            where = path or saga.by_success[type_][0].path
            d.incident(
                AFTER_CLOSE, f"{where} took effect ({type_}) after it was closed: nothing is sent", where
            )
            return
    except (AmbiguousError, ExpressionError) as error:
        d.incident(AFTER_CLOSE, f"{type_} came after it was closed; whose it is can't be said: {error}")
        return
    d.ignore("closed", f"it is closed: {type_} changes nothing")


def _unaddressed(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    """For no instance that there is: kept while one may still begin, else it contradicts the state."""
    if d.txn.status is Status.RUNNING and any(_may_begin(d, step) for step in steps):
        keep(d, message)
    else:
        d.ignore("no_match", f"{message.type} fits no step", steps[0].path)


def _may_begin(d: Decision, step: Step) -> bool:
    """Whether a composite around a step has not begun: its members are not known yet."""
    assert d.saga is not None
    parent = d.saga.steps.get(step.parent)
    while parent is not None:
        if parent.each is not None and any(
            d.status(path) is S.PENDING for path in d.instances(parent) or [""]
        ):
            return True
        parent = d.saga.steps.get(parent.parent)
    return False


def _progressed(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    try:
        path = addressing.addressed(d, message, steps)
    except AmbiguousError as error:
        d.ignore("no_progress", str(error), steps[0].path)
        return
    if not path or d.status(path) is not S.ACTIVE:
        d.ignore("no_progress", f"no open step is about {message.type}", steps[0].path)
        return
    step, state = d.step(path), d.state(path)
    assert step is not None
    if state.timer == TIMEOUT and step.timeout:
        d.emit(
            Kind.PROGRESSED,
            step=path,
            timer=TIMEOUT,
            due=d.entry.at + step.timeout,
            round=state.round,
            attempt=state.attempt,
        )


def _confirms(d: Decision, message: Entry | Early) -> bool:
    """Whether a type that may end a step or confirm a compensation does the latter here."""
    assert d.saga is not None
    if message.type not in d.saga.by_success:
        return True
    steps = d.saga.by_confirmation[message.type]
    return any(
        d.is_compensation_of(path, message.causation_id) for step in steps for path in d.instances(step)
    )


def _is_success(message: Entry | Early) -> bool:
    return message.type != TRANSACTION_ENDED or (message.payload or {}).get("status") == Status.COMPLETED


def _confirmation(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    path = addressing.confirmed(d, message, steps)
    if path:
        confirming.confirmed(d, path, evidence=Evidence.of(message))
    else:
        d.ignore("unasked_confirmation", f"no step is waiting for {message.type}", steps[0].path)


def _failure(d: Decision, message: Entry | Early) -> None:
    saga = d.saga
    assert saga is not None
    payload = message.payload or {}
    cause = message.causation_id
    code, reason, retryable, unsure = message.type, str(payload.get("reason", "")), False, False
    if reason and message.type in saga.personal_reasons:
        reason = MASK  # it would be told in lists, alerts and logs: who may, reads it in the message
    if message.type == STEP_FAILED:
        for path in d.txn.steps:
            if d.is_compensation_of(path, cause):
                _compensation_failed(d, path, message)
                return
        path = addressing.failed(d, message)
        code = str(payload.get("code", ""))
        # The service did not act on an expired command: for it that is final, for the step only this attempt is.
        retryable = bool(payload.get("retryable")) or code == EXPIRED
        unsure = bool(payload.get("unsure"))
        reason = str(payload.get("message", ""))
    elif message.type == TRANSACTION_ENDED:
        path = next((path for path in d.txn.steps if d.is_action_of(path, cause)), "")
        code = str(payload.get("status", ""))
    else:
        path = addressing.addressed(d, message, saga.by_failure[message.type])
        if not path:
            _unaddressed(d, message, saga.by_failure[message.type])
            return
    if not path:
        d.ignore("failure_of_no_step", f"{message.type} from {message.source} fits no open step")
        return
    _step_failed(d, path, message, code, reason, retryable=retryable, unsure=unsure)


def _step_failed(
    d: Decision, path: str, message: Entry | Early, code: str, reason: str, *, retryable: bool, unsure: bool
) -> None:
    step, state = d.step(path), d.txn.steps.get(path)
    assert step is not None
    cause = message.causation_id
    asked = bool(state and state.questions and state.status is S.IN_DOUBT and d.is_action_of(path, cause))
    if state and state.command_id and cause != state.command_id and d.is_own_command(cause) and not asked:
        d.ignore("old_attempt", f"{path}: a failure counts for its attempt only", path)
        return
    status = state.status if state else S.PENDING
    if status not in (S.PENDING, S.ACTIVE, S.IN_DOUBT):
        d.ignore("failure_after_end", f"{path} is {status}", path)
        return
    evidence = UNSURE if unsure else ""
    if retryable and status is S.ACTIVE and sending.retry(d, step, path, code, reason, evidence):
        return
    if status is S.IN_DOUBT and retryable and d.is_question_of(path, cause):
        d.ignore("still_in_doubt", f"{path}: its service can't say", path)
        return
    # saga-25: nothing could reverse it, if it acts after all.
    if retryable and step.pivot and step.in_doubt == ASK and code != EXPIRED and status is not S.PENDING:
        if status is S.IN_DOUBT:
            d.ignore("still_in_doubt", f"{path}: its service is being asked", path)
        else:
            doubt(d, step, path, code, reason)
        return
    if unsure or (state and state.doubtful and message.type == STEP_FAILED):
        # This attempt has failed, but it, or an earlier one that never answered, may have happened.
        if status is S.IN_DOUBT:
            d.ignore("still_in_doubt", f"{path}: an attempt may have happened", path)
            return
        doubt(d, step, path, code, reason)
        return
    d.emit(Kind.FAILED, step=path, code=code, reason=reason, evidence=FINAL)
    progress.settle(d)


def doubt(d: Decision, step: Step, path: str, code: str, reason: str) -> None:
    """Nobody knows whether a step happened (saga-13): it is asked about, waited for, or given up and reversed (saga-15)."""
    d.emit(Kind.DOUBTED, step=path, code=code, reason=reason)
    if step.in_doubt == ASK:
        sending.ask(d, step, path)
    elif step.in_doubt == WAIT:
        sending.no_answer(d, path)
    progress.settle(d)


def _compensation_failed(d: Decision, path: str, message: Entry | Early) -> None:
    step, state = d.step(path), d.state(path)
    assert step is not None
    payload = message.payload or {}
    code, reason = str(payload.get("code", "")), str(payload.get("message", ""))
    if parents.never_began(d, path, message):
        return
    if state.status is not S.COMPENSATING or message.causation_id != state.compensation_id:
        d.ignore("old_attempt", f"{path}: the compensation is {state.status}", path)
    elif not payload.get("retryable") or not reversal.retry_compensation(d, step, path, code, reason):
        final = "" if payload.get("retryable") else FINAL
        d.emit(Kind.COMPENSATION_FAILED, step=path, code=code, reason=reason or code, evidence=final)
