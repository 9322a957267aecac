"""What an entry of the journal means to a transaction: the pure heart of the engine.

Rules (DESIGN section 7), each by its number there:

1. Order does not exist across topics. A duplicate changes nothing; what comes before its start waits for it; a success
   counts in whatever state its step is.
2. A step that may have happened is compensated: timed-out and in-flight steps are *in doubt* when compensation begins.
   A success that arrives later is compensated then, even after the end. So is one in a member of a composite that was decided
   without it.
3. Compensation runs in reverse topological order, each confirmed. One in doubt is sent in its turn and holds nobody up.
4. A compensation that exhausts its retries is an incident, never an end.
5. After the pivot there is no way back. One that failed retryably acts if its command is delivered once more, and nothing
   could reverse that: it is asked about before it is given up, if it can be. One that takes effect all the same, after what
   was before it has been given up, is a person's.
6. Retries are durable: backoff is a timer in the state, jitter is derived from the command's id.
7. A timer that is early or stale does nothing.
13. While a person holds a saga, its transactions stand still: messages are kept, timers wait, nothing is sent. The
    release is an entry for each, which looks at what was kept, in order.
14. Acts of people are entries like all others.

A failure counts for its attempt only (its causation is a command of ours) or for its open step (section 5a).
"""

from __future__ import annotations

from kantor.envelope import COMPENSATE_TRANSACTION, STEP_FAILED, TRANSACTION_ENDED, fingerprint
from kantor_orchestrator.core import acts, progress, refusals, reversal, sending
from kantor_orchestrator.core.decision import Decision, ExpressionError
from kantor_orchestrator.core.entry import (
    COMPENSATION_RETRY,
    DEADLINE,
    EXPIRY,
    QUESTION,
    RELEASE,
    RETRY,
    SLEEP,
    TIMEOUT,
    Entry,
)
from kantor_orchestrator.core.saga import ASK, START, WAIT, Saga, Step
from kantor_orchestrator.core.transaction import (
    AFTER_PIVOT,
    BACKWARD,
    ENDED,
    NOT_NEEDED,
    TIMED_OUT,
    Early,
    Kind,
    Status,
    StepStatus,
    Transaction,
    Transition,
)

S = StepStatus

#: The code with which a service refuses a command that came too late (the kit does).
EXPIRED = "expired"
#: How long a message waits for its saga's start (ms).
EARLY_TTL = 3_600_000
#: A transaction that gets nothing but poison must not grow for ever.
_MOST_INCIDENTS = 20
_LATE = (S.IN_DOUBT, S.FAILED, S.COMPENSATING, S.COMPENSATED, S.INCIDENT)


def decide(
    saga: Saga | None, transaction: Transaction, entry: Entry, now: int, hold: str = ""
) -> list[Transition]:
    """What ``entry`` means: the transitions, in order; the commands that go out are in them.

    ``saga`` is the transaction's own version if it has started, else the one that ``entry`` would start, else None.
    ``now`` (ms) is when the shell sends: expiry and timeouts of commands count from it, so that a lagging engine sends
    no dead commands. ``hold``: who holds the saga, and why; empty: nobody. Never raises for what may arrive; an empty list means: a duplicate, a stale timer, or none of
    this transaction's business.
    """
    return consider(saga, transaction, entry, now, hold)[0]


def consider(
    saga: Saga | None, transaction: Transaction, entry: Entry, now: int, hold: str = ""
) -> tuple[list[Transition], Transaction]:
    """As :func:`decide`; also the transaction as these transitions leave it. ``transaction`` itself is not changed."""
    d = Decision(saga, transaction, entry, now, hold)
    _decide(d)
    return d.out, d.txn


def _decide(d: Decision) -> None:
    entry = d.entry
    if entry.kind == "refused":
        refusals.refused(d)
        return
    if entry.kind == "timer":
        if not entry.error:
            _timer(d)
        else:
            d.incident("timer_failed", entry.error, entry.step)
        return
    d.fingerprint = fingerprint(entry.source, entry.id)
    if d.fingerprint in d.txn.fingerprints:
        if entry.kind == "act":  # somebody waits for the answer, again
            d.fingerprint = 0
            d.ignore(acts.DONE_ALREADY, f"this {entry.type} was done before")
        return
    if entry.error:
        _poison(d)
    elif entry.kind == "act":
        acts.act(d)
        _wake(d)
    elif not d.txn.saga:
        _before_start(d)
    elif d.hold or d.txn.held:
        _hold_back(d, entry)
    else:
        _message(d, entry)
        _wake(d)


# -- messages


def _before_start(d: Decision) -> None:
    entry, saga = d.entry, d.saga
    if saga is None or entry.type != saga.starts_on:
        _keep(d, entry)
        return
    if entry.sent_at and entry.sent_at < saga.deployed_at:
        d.ignore("before_deployment", f"{saga.name} was deployed after it was sent")
        return
    waiting = d.txn.early
    d.emit(
        Kind.STARTED,
        saga=saga.name,
        version=saga.version,
        status=Status.RUNNING,
        due=entry.at + saga.deadline if saga.deadline else 0,
        scope=START,
        captured=d.capture(entry.type, entry.payload),
        parent=entry.parent,
        parent_command=entry.parent_command,
    )
    if d.hold:
        for message in waiting:
            _keep(d, message)
        d.be_held()
        return
    progress.settle(d)
    d.waiting += waiting
    _wake(d)


def _hold_back(d: Decision, message: Entry) -> None:
    """It waits for the release, if it means something to the saga."""
    assert d.saga is not None
    if message.type in d.saga.types:
        _keep(d, message)
        d.be_held()


def _release(d: Decision) -> None:
    """Go on where it stood still."""
    if d.hold or not d.txn.held:
        return
    status, waiting = d.txn.status, d.txn.early
    d.emit(Kind.RELEASED, due=d.entry.at + progress.stub_ttl(d.txn, status) if status in ENDED else 0)
    progress.settle(d)
    d.waiting += waiting
    _wake(d)


def _keep(d: Decision, message: Entry | Early) -> None:
    early = Early(
        message.kind, message.type, message.id, message.source, message.causation_id, message.at, message.origin,
        dict(message.payload or {}),
    )  # fmt: skip
    d.emit(Kind.KEPT, early=early, due=message.at + EARLY_TTL)


def _wake(d: Decision) -> None:
    """Look at the messages that waited for what has begun now."""
    while d.waiting:
        message = d.waiting.pop(0)
        d.fingerprint = 0
        _message(d, message)


def _message(d: Decision, message: Entry | Early) -> None:
    """Raises nothing: an expression that throws is an incident of this transaction."""
    saga, type_ = d.saga, message.type
    assert saga is not None
    try:
        if type_ == COMPENSATE_TRANSACTION:
            acts.compensated_by_parent(d, message)
        elif saga.cancel_on is not None and type_ == saga.cancel_on.event:
            acts.cancelled_by_event(d, saga.cancel_on)
        elif type_ in saga.by_confirmation and _confirms(d, message):
            _confirmation(d, message, saga.by_confirmation[type_])
        elif type_ in saga.by_success and (
            type_ != TRANSACTION_ENDED or (message.payload or {}).get("status") == Status.COMPLETED
        ):
            _success(d, message, saga.by_success[type_])
        elif type_ in saga.by_failure or type_ in (STEP_FAILED, TRANSACTION_ENDED):
            _failure(d, message)
        elif type_ in saga.by_progress:
            _progressed(d, message, saga.by_progress[type_])
        elif type_ == saga.starts_on:
            d.ignore("second_start", "the transaction has started already")
    except ExpressionError as error:
        d.incident(sending.EXPRESSION, str(error))


def _poison(d: Decision) -> None:
    entry = d.entry
    if len(d.txn.incidents) >= _MOST_INCIDENTS:
        d.ignore("poison", entry.error)
        return
    reason = f"{entry.type or 'message'} at {entry.origin}: {entry.error}"
    status = None if d.txn.saga else Status.PARKED
    d.emit(Kind.INCIDENT_OPENED, code="poison", reason=reason, status=status)


def _success(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    found = d.addressed(message, steps)
    if not found:
        _unaddressed(d, message, steps)
        return
    path = found[0] if len(found) == 1 else d.first_of(found, S.ACTIVE, S.IN_DOUBT, S.PENDING) or found[0]
    status = d.status(path)
    # All attempts of a command share one effect: another one's answer, even after the compensation, tells no more.
    counted = path in d.txn.captured and d.is_action_of(path, message.causation_id)
    if status is S.SUCCEEDED or counted:
        d.ignore("already_succeeded", f"{path} has succeeded already", path)
        return
    step = d.step(path)
    assert step is not None
    left_out = "." in path and progress.is_left_out(d, path)
    is_unexpected = status not in (S.ACTIVE, S.IN_DOUBT)
    d.emit(
        Kind.SUCCEEDED,
        step=path,
        scope=path,
        captured=d.capture(message.type, message.payload),
        code=NOT_NEEDED if left_out else "",
        reason="late" if status in _LATE else "",
    )
    if step.pivot and is_unexpected and (left_out or d.txn.status in BACKWARD):
        text = f"{path} took effect after it was given up, and nothing reverses a pivot: do it by hand, and skip it"
        d.emit(Kind.COMPENSATION_FAILED, step=path, code=AFTER_PIVOT, reason=text)
    progress.settle(d)


def _unaddressed(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    """For no instance that there is: kept while one may still begin, else it contradicts the state."""
    if d.txn.status is Status.RUNNING and any(_may_begin(d, step) for step in steps):
        _keep(d, message)
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
    found = d.addressed(message, steps)
    path = d.first_of(found, S.ACTIVE)
    if not path:
        d.ignore("no_progress", f"nothing is open that {message.type} could be about", steps[0].path)
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


def _confirmation(d: Decision, message: Entry | Early, steps: tuple[Step, ...]) -> None:
    paths = [path for step in steps for path in d.instances(step)]
    open_ = [path for path in paths if d.status(path) in (S.COMPENSATING, S.INCIDENT)]
    found = [path for path in open_ if d.is_compensation_of(path, message.causation_id)]
    if not found and not d.is_own_command(message.causation_id):
        found = open_
    if not found:
        d.ignore("unasked_confirmation", f"nobody waits for {message.type}", steps[0].path)
        return
    progress.confirmed(d, found[0])


def _failure(d: Decision, message: Entry | Early) -> None:
    saga = d.saga
    assert saga is not None
    payload = message.payload or {}
    cause = message.causation_id
    code, reason, retryable = message.type, str(payload.get("reason", "")), False
    if message.type == STEP_FAILED:
        for path in d.txn.steps:
            if d.is_compensation_of(path, cause):
                _compensation_failed(d, path, message)
                return
        path = _failed_step(d, message)
        code = str(payload.get("code", ""))
        # The service did not act on an expired command: for it that is final, for the step only this attempt is.
        retryable = bool(payload.get("retryable")) or code == EXPIRED
        reason = str(payload.get("message", ""))
    elif message.type == TRANSACTION_ENDED:
        path = next((path for path in d.txn.steps if d.is_action_of(path, cause)), "")
        code = str(payload.get("status", ""))
    else:
        found = d.addressed(message, saga.by_failure[message.type])
        if not found:
            _unaddressed(d, message, saga.by_failure[message.type])
            return
        path = found[0] if len(found) == 1 else d.first_of(found, S.ACTIVE, S.IN_DOUBT, S.PENDING) or found[0]
    if not path:
        d.ignore("failure_of_no_step", f"{message.type} from {message.source} fits no open step")
        return
    _step_failed(d, path, message, code, reason, retryable=retryable)


def _step_failed(
    d: Decision, path: str, message: Entry | Early, code: str, reason: str, *, retryable: bool
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
    if retryable and status is S.ACTIVE and sending.retry(d, step, path, code, reason):
        return
    if status is S.IN_DOUBT and retryable and d.is_question_of(path, cause):
        d.ignore("still_in_doubt", f"{path}: its service can't say", path)
        return
    if retryable and step.pivot and step.in_doubt == ASK and code != EXPIRED and status is not S.PENDING:
        if status is S.IN_DOUBT:
            d.ignore("still_in_doubt", f"{path}: it is asked about", path)
        else:
            doubt(d, step, path, code, reason)
        return
    if state and state.doubtful and message.type == STEP_FAILED:
        # This attempt has failed, but an earlier one never answered: it may have happened.
        if status is S.IN_DOUBT:
            d.ignore("still_in_doubt", f"{path}: an earlier attempt never answered", path)
            return
        doubt(d, step, path, code, reason)
        return
    d.emit(Kind.FAILED, step=path, code=code, reason=reason)
    progress.settle(d)


def doubt(d: Decision, step: Step, path: str, code: str, reason: str) -> None:
    """Nobody knows whether a step happened: it is asked about, waited for, or given up and reversed."""
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
    if state.status is not S.COMPENSATING or message.causation_id != state.compensation_id:
        d.ignore("old_attempt", f"{path}: the compensation is {state.status}", path)
    elif not payload.get("retryable") or not reversal.retry_compensation(d, step, path, code, reason):
        d.emit(Kind.COMPENSATION_FAILED, step=path, code=code, reason=reason or code)


def _failed_step(d: Decision, message: Entry | Early) -> str:
    """The step that a ``StepFailed`` is for. One that names an event counts for the open step of its service."""
    assert d.saga is not None
    paths = [path for step in d.saga.steps.values() for path in d.instances(step)]
    for path in paths:
        if d.is_action_of(path, message.causation_id):
            return path
    if d.is_own_command(message.causation_id):
        return ""  # of an earlier round
    mine = []
    for path in paths:
        step = d.step(path)
        if step and step.command is None and not step.steps and step.owner == message.source:
            mine.append(path)
    return d.first_of(mine, S.ACTIVE, S.IN_DOUBT, S.PENDING)


# -- timers


def _timer(d: Decision) -> None:
    entry, txn, saga = d.entry, d.txn, d.saga
    if entry.timer == EXPIRY:
        if txn.early and not txn.saga and 0 < txn.expires_at <= entry.at:
            types = ", ".join(sorted({early.type for early in txn.early}))
            d.emit(Kind.EXPIRED, code="unmatched", reason=f"no saga started for {types}")
        return
    if saga is None or not txn.saga:
        return
    if entry.timer == RELEASE:
        _release(d)
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
            doubt(d, step, entry.step, TIMED_OUT, "no answer in time")
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
