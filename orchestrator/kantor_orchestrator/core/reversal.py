"""What must be reversed (saga-18), and in which order (saga-19).

Reversed is every effect, known or possible, of a transaction that compensates, of a composite or member that has failed,
of a member that a decided composite is not made of, and of a single step in doubt or of which a compensation has been sent
before. The order is reverse topological by default:
a step's compensation waits until those of the steps after it are confirmed. One in doubt waits for its turn, too, but
once it is sent it holds nobody up: its service may be down for hours.

What a pivot has made final stays: a group whose pivot has succeeded is left alone, and one whose pivot's answer is awaited
waits for it.
"""

from __future__ import annotations

from kantor.envelope import child_id, choreographed_action, idempotency_key
from kantor_orchestrator.core.decision import (
    ACTION,
    COMPENSATION,
    ITEMS,
    Decision,
    ExpressionError,
    instance_of,
)
from kantor_orchestrator.core.entry import COMPENSATION_RETRY, CONFIRMATION
from kantor_orchestrator.core.saga import PARALLEL, ROOT, SEQUENTIAL, Step
from kantor_orchestrator.core.sending import EXPRESSION, message
from kantor_orchestrator.core.transaction import BACKWARD, BY_HAND, NOT_NEEDED, Kind, Status, StepStatus

S = StepStatus
_WELL = (S.ACTIVE, S.SUCCEEDED, S.SKIPPED)


def reverse(d: Decision) -> bool:
    """Send every compensation whose turn has come. Whether anything is still to be reversed or to be known."""
    txn, saga = d.txn, d.saga
    assert saga is not None
    if (
        txn.status is Status.RUNNING
        and not saga.has_choices
        and all(state.status in _WELL and not state.compensation_round for state in txn.steps.values())
    ):
        return False  # nearly always
    while True:
        moves = len(d.out)
        found = _Reversal(d, sends=True).run()
        if len(d.out) == moves or d.is_enforced():
            return found
        # What is only observed is confirmed at once: that may be the next one's turn.


def pivot_status(d: Decision, path: str, definition: str) -> StepStatus | None:
    """Of a group's pivots: succeeded if one has, or a person says so; the status of one that may happen; None if there is a
    way back."""
    assert d.saga is not None
    found = None
    for step in d.saga.children[definition]:
        if step.pivot:
            instance = instance_of(step, path, definition)
            status = d.status(instance)
            if status is S.SUCCEEDED or (status is S.SKIPPED and d.state(instance).code == BY_HAND):
                return S.SUCCEEDED
            if status is S.ACTIVE or (status is S.IN_DOUBT and not d.is_given_up(step, status)):
                found = status
    return found


def is_open(d: Decision) -> bool:
    """Whether anything is to be reversed; nothing is sent."""
    return _Reversal(d, sends=False).run()


class _Reversal:
    def __init__(self, d: Decision, *, sends: bool) -> None:
        self._d = d
        self._sends = sends
        self._open = False
        self._waits = False  # sequential: something that comes later is not confirmed yet
        assert d.saga is not None
        self._saga = d.saga

    def run(self) -> bool:
        if (
            self._saga.compensation == SEQUENTIAL
        ):  # also after one that was sent before a later step was heard of
            self._waits = any(
                state.status in (S.COMPENSATING, S.INCIDENT) and not state.doubtful
                for state in self._d.txn.steps.values()
            )
        self._group(ROOT, ROOT, self._d.txn.status in BACKWARD, blocked=False)
        return self._open

    def _group(self, path: str, definition: str, wanted: bool, *, blocked: bool) -> bool:
        """The steps of a group, the last first; whether any of them holds up what comes before the group."""
        d, steps = self._d, self._d.txn.steps
        children = self._saga.children[definition]
        pivot = pivot_status(d, path, definition) if wanted and path else None
        if pivot is S.SUCCEEDED:
            inside = f"{path}."  # what failed after it is a person's
            self._open = self._open or any(i.step.startswith(inside) for i in d.txn.incidents)
            return False
        if pivot is not None:  # nobody knows yet whether there is anything to reverse
            self._open = True
            return self._hold(True)
        holding: set[str] = set()
        composite = self._saga.steps.get(definition)
        chain = composite is not None and composite.in_order and composite.each is None
        for step in reversed(children):
            instance = instance_of(step, path, definition)
            # What a service did by itself may be known before the composite begins that it is in.
            if instance not in steps and not step.steps:
                continue
            later = holding if chain else holding & self._saga.later[step.path]
            waits = blocked or bool(later)
            if step.steps:
                holds = self._composite(instance, step, wanted, blocked=waits)
            else:
                holds = self._step(instance, step, wanted, blocked=waits)
            if holds:
                holding.add(step.path)
        return bool(holding)

    def _composite(self, path: str, step: Step, wanted: bool, *, blocked: bool) -> bool:
        d = self._d
        wanted = wanted or d.status(path) is S.FAILED or self._is_left_out(path, step)
        if step.each is None:
            return self._group(path, step.path, wanted, blocked=blocked)
        is_decided = step.need is not None and d.status(path) is S.SUCCEEDED
        holds = False
        for n in reversed(range(len(d.txn.captured.get(path, {}).get(ITEMS, ())))):
            member = f"{path}[{n}]"
            status = d.status(member)
            mine = wanted or status is S.FAILED or (is_decided and status is S.PENDING)
            waits = blocked or (holds and step.in_order)
            holds = self._group(member, step.path, mine, blocked=waits) or holds
        return holds

    def _is_left_out(self, path: str, step: Step) -> bool:
        """Whether it is a member that never began, of a composite that is decided: what is in it, services did by themselves."""
        around = self._saga.steps.get(step.parent)
        if around is None or around.need is None or around.each is not None:
            return False
        status = self._d.status
        return status(path) is S.PENDING and status(path.rpartition(".")[0]) is S.SUCCEEDED

    def _step(self, path: str, step: Step, wanted: bool, *, blocked: bool) -> bool:
        """Whether it holds up what comes before it: an effect that is known and not yet confirmed to be reversed."""
        d = self._d
        state = d.txn.steps[path]
        status = state.status
        if status is S.ACTIVE or (status is S.IN_DOUBT and not d.is_given_up(step, status)):
            self._open = self._open or wanted  # it waits for its answer
            return False
        if status is S.COMPENSATED and any(i.step == path for i in d.txn.incidents):
            self._open = True  # a person must say whether it took effect again, or is needed after all
            return False
        if status in (S.COMPENSATING, S.INCIDENT):
            self._open = True
            return self._hold(not state.doubtful or state.again)
        if step.compensation is None:
            return False
        is_mine = wanted or state.is_reversed or state.code == NOT_NEEDED
        if status is S.IN_DOUBT or (status is S.SUCCEEDED and is_mine and not step.pivot):
            self._open = True
            if self._saga.compensation == SEQUENTIAL:
                blocked = blocked or self._waits
            elif self._saga.compensation == PARALLEL:
                blocked = False
            if blocked or d.is_full:
                return self._hold(True)
            if self._sends:
                send_compensation(d, step, path, state.compensation_round + 1, 1)
            state = d.txn.steps[path]
            return self._hold(not state.doubtful and state.status is not S.COMPENSATED)
        return False

    def _hold(self, holds: bool) -> bool:
        self._waits = self._waits or holds
        return holds


def send_compensation(d: Decision, step: Step, path: str, round_: int, attempt: int) -> None:
    """Send a step's compensation (again). A field that throws is an incident."""
    compensation, txn, state = step.compensation, d.txn, d.state(path)
    assert compensation is not None
    if step.command is None:
        # Within an ``each`` its service knows no item (wire-16). A name that it never heard would tell it that nothing has
        # happened: it would confirm without reversing anything. Without a name it reverses, and a late effect gets its own round.
        reverses = "" if "[" in path else choreographed_action(txn.id, step.succeeds_on)
    else:
        reverses = idempotency_key(txn.id, path, ACTION, state.round)
    try:
        command = message(d, compensation.command, path, COMPENSATION, round_, attempt)
    except ExpressionError as error:
        d.incident(EXPRESSION, str(error), path)
        return
    command.reverses = reverses
    command.about = child_id(txn.id, path, state.round) if step.child else ""
    d.emit(
        Kind.COMPENSATION_SENT,
        step=path,
        command=command,
        round=round_,
        attempt=attempt,
        timer=CONFIRMATION,
        due=d.now + compensation.timeout,
    )
    if command.held:  # nobody will confirm what was not sent
        d.emit(Kind.COMPENSATION_CONFIRMED, step=path, code="held", reason="the saga only observes")


def retry_compensation(d: Decision, step: Step, path: str, code: str, reason: str) -> bool:
    """Schedule another attempt of a step's compensation, if one is left (saga-20)."""
    state, compensation = d.state(path), step.compensation
    assert compensation is not None
    if state.compensation_attempt >= compensation.retry.attempts or code in compensation.retry.final:
        return False
    d.emit(
        Kind.COMPENSATION_RETRY_SCHEDULED,
        step=path,
        code=code,
        reason=reason,
        round=state.compensation_round,
        attempt=state.compensation_attempt,
        timer=COMPENSATION_RETRY,
        due=d.now + compensation.retry.delay(state.compensation_attempt, state.compensation_id),
    )
    return True
