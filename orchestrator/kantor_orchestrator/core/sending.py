"""Sending a step's command, again if need be, and asking whether it happened."""

from __future__ import annotations

from kantor.envelope import child_id, command_id, idempotency_key
from kantor_orchestrator.core.decision import ACTION, CHILD, QUESTION, Decision, ExpressionError
from kantor_orchestrator.core.entry import QUESTION as QUESTION_TIMER
from kantor_orchestrator.core.entry import RETRY, TIMEOUT, Entry
from kantor_orchestrator.core.saga import COMPENSATION_RETRY, WAIT, Command, Step
from kantor_orchestrator.core.transaction import Early, Kind, SentCommand, Status, StepStatus

S = StepStatus
#: The incident of a guard or field that threw.
EXPRESSION = "expression"


def send(d: Decision, step: Step, path: str, round_: int, attempt: int) -> None:
    """Send a step's command (again). A field that throws is an incident."""
    assert step.command is not None
    try:
        command = command_of(d, step, step.command, path, round_, attempt)
    except ExpressionError as error:
        d.incident(EXPRESSION, str(error), path)
        return
    sent(d, step, path, command, round_, attempt)


def sent(d: Decision, step: Step, path: str, command: SentCommand, round_: int, attempt: int) -> None:
    due = d.now + step.timeout if step.timeout else 0
    d.emit(
        Kind.COMMAND_SENT,
        step=path,
        command=command,
        round=round_,
        attempt=attempt,
        timer=TIMEOUT if due else "",
        due=due,
    )


def command_of(d: Decision, step: Step, wanted: Command, path: str, round_: int, attempt: int) -> SentCommand:
    """An attempt at a step's action, or the start of its child. It expires with the step's timeout (wire-14)."""
    if step.child:
        command = message(d, wanted, path, CHILD, round_, attempt)
        command.id = command_id(d.txn.id, path, ACTION, round_, attempt)
        command.about = child_id(d.txn.id, path, round_)
    else:
        command = message(d, wanted, path, ACTION, round_, attempt)
    command.expires_at = d.now + step.timeout if step.timeout and not step.child else 0
    return command


def message(d: Decision, wanted: Command, path: str, kind: str, round_: int, attempt: int) -> SentCommand:
    txn = d.txn
    return SentCommand(
        id=command_id(txn.id, path, kind, round_, attempt),
        type=wanted.type,
        topic=wanted.topic,
        kind=kind,
        idempotency_key=idempotency_key(txn.id, path, kind, round_),
        causation_id=d.cause(),
        fields=d.fill(wanted.fields, path),
        key=d.key(wanted, path),
        held=not d.is_enforced(),
        format=wanted.format,
    )


def retry(d: Decision, step: Step, path: str, code: str, reason: str, evidence: str = "") -> bool:
    """Schedule another attempt of the step's command, if one is left (saga-12). ``evidence``: what is known of the one that
    failed."""
    state, txn = d.state(path), d.txn
    if step.command is None or state.attempt >= step.retry.attempts or code in step.retry.final:
        return False
    if txn.status is not Status.RUNNING or not is_wanted(d, path):
        return False
    due = d.now + step.retry.delay(state.attempt, state.command_id)
    if step.retry.budget and due > state.started_at + step.retry.budget:
        return False
    d.emit(
        Kind.RETRY_SCHEDULED,
        step=path,
        code=code,
        reason=reason,
        round=state.round,
        attempt=state.attempt,
        timer=RETRY,
        due=due,
        evidence=evidence,
    )
    return True


def is_wanted(d: Decision, path: str) -> bool:
    """Whether every group around a step is still on its way."""
    groups = path.split(".")[:-1]
    for n in range(len(groups)):
        group = ".".join(groups[: n + 1])
        if group.endswith("]") and d.status(group) is not S.ACTIVE:
            return False
        if d.status(group.rpartition("[")[0] if group.endswith("]") else group) is not S.ACTIVE:
            return False
    return True


# -- in doubt


def no_answer(d: Decision, path: str) -> None:
    """Nobody says whether a step happened that is waited for: a person can find out."""
    d.incident("no_answer", f"{path}: outcome unknown: no reply", path)


def no_result(d: Decision, path: str, message: Entry | Early) -> None:
    """Its service says that a step is done, and not what the steps after it need: a person can see to that."""
    step, status = d.step(path), d.status(path)
    assert step is not None
    if (
        d.txn.status is not Status.RUNNING
        or status not in (S.ACTIVE, S.IN_DOUBT)
        or d.is_given_up(step, status)
    ):
        code = "already_succeeded" if status is S.SUCCEEDED else "no_match"
        d.ignore(code, f"{path} is {status}: {message.type} changes nothing", path)
        return
    d.incident(
        "no_result",
        f"{path}: {message.source} says that it is done ({message.type}), without {step.succeeds_on}, which the step succeeds on: "
        "let it publish that, or ask again",
        path,
    )


def ask(d: Decision, step: Step, path: str, *, by_person: bool = False) -> None:
    """Ask a step's service whether it happened (saga-16), if the definition says how; again until it answers, or a person is
    asked: who may want it asked once more."""
    if step.ask is None:
        return
    state = d.state(path)
    number = state.questions + 1
    if number > COMPENSATION_RETRY.attempts and not by_person:
        d.incident("no_answer", f"{path}: outcome unknown: no reply to {state.questions} questions", path)
        return
    try:
        command = message(d, step.ask, path, QUESTION, state.round, number)
    except ExpressionError as error:
        d.incident(EXPRESSION, str(error), path)
        return
    # Its answer is the action's: whoever hears both takes them for one.
    command.asks = idempotency_key(d.txn.id, path, ACTION, state.round)
    due = d.now + max(step.timeout, COMPENSATION_RETRY.delay(number, command.id))
    d.emit(
        Kind.ASKED,
        step=path,
        command=command,
        round=state.round,
        attempt=number,
        timer=QUESTION_TIMER,
        due=due,
    )


def doubt_in_flight(d: Decision, step: Step, path: str, code: str, reason: str) -> None:
    """One that is waited for has the time that it had; then it is a person's."""
    state = d.state(path)
    if step.in_doubt == WAIT and state.timer == TIMEOUT:
        d.emit(
            Kind.DOUBTED,
            step=path,
            code=code,
            reason=reason,
            timer=TIMEOUT,
            due=state.due,
            round=state.round,
            attempt=state.attempt,
        )
        return
    d.emit(Kind.DOUBTED, step=path, code=code, reason=reason)
    ask(d, step, path)
    if step.in_doubt == WAIT:
        no_answer(d, path)
