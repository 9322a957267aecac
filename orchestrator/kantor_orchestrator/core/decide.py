"""What an entry of the journal means to a transaction: the pure heart of the engine.

Rules (DESIGN section 7), each by its number there:

1. Order does not exist across topics. A duplicate changes nothing; what comes before its start waits for it; a success
   counts in whatever state its step is.
2. A step that may have happened is compensated: timed-out and in-flight steps are *in doubt* when compensation begins.
   A success that arrives later is compensated then, even after the end.
3. Compensation runs in reverse topological order, each confirmed. One in doubt is sent in its turn and holds nobody up.
4. A compensation that exhausts its retries is an incident, never an end.
6. Retries are durable: backoff is a timer in the state, jitter is derived from the command's id.
7. A timer that is early or stale does nothing.

A failure counts for its attempt only (its causation is a command of ours) or for its open step (section 5a).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kantor.envelope import (
    STEP_FAILED,
    choreographed_action,
    command_id,
    fingerprint,
    idempotency_key,
)
from kantor_orchestrator.core.saga import START, Command, Saga, Step
from kantor_orchestrator.core.transaction import (
    TIMED_OUT,
    Early,
    Kind,
    SentCommand,
    Status,
    StepState,
    StepStatus,
    Transaction,
    Transition,
    evolve,
)

ACTION, COMPENSATION = "action", "compensation"

#: Kinds of timers: what a step or transaction waits for.
TIMEOUT, RETRY, CONFIRMATION, COMPENSATION_RETRY, DEADLINE, EXPIRY = (
    "timeout",
    "retry",
    "confirmation",
    "compensation_retry",
    "deadline",
    "expiry",
)

#: The code with which a service refuses a command that came too late (the kit does).
EXPIRED = "expired"
#: How long a message waits for its saga's start (ms).
EARLY_TTL = 3_600_000
#: How long the stub of an ended transaction stays (ms): a later effect reopens compensation.
STUB_TTL = {Status.COMPLETED: 86_400_000, Status.COMPENSATED: 30 * 86_400_000, Status.CLOSED: 30 * 86_400_000}


@dataclass(slots=True)
class Entry:
    """One entry of the journal, as the shell hands it over. Empty text: none.

    ``at`` is the broker's time (ms). ``payload`` has the fields that some saga captures, or None if nothing is needed of
    it. ``error`` says why it could not be decoded. ``timer`` and ``step``, ``round``, ``attempt`` are a timer's.
    """

    kind: str  # event | command | timer
    at: int
    type: str = ""
    id: str = ""
    source: str = ""
    causation_id: str = ""
    origin: str = ""
    sent_at: int = 0  # the source record's own time
    payload: Mapping[str, Any] | None = None
    error: str = ""
    timer: str = ""
    step: str = ""
    round: int = 0
    attempt: int = 0


def decide(saga: Saga | None, transaction: Transaction, entry: Entry, now: int) -> list[Transition]:
    """What ``entry`` means: the transitions, in order; the commands that go out are in them.

    ``saga`` is the transaction's own version if it has started, else the one that ``entry`` would start, else None.
    ``now`` (ms) is when the shell sends: expiry and timeouts of commands count from it, so that a lagging engine sends
    no dead commands. Never raises for what may arrive; an empty list means: a duplicate, a stale timer, or none of
    this transaction's business.
    """
    return _Decision(saga, transaction, entry, now).run()


class _Decision:
    """One call of :func:`decide`: folds its own transitions into a copy, to see their consequences."""

    __slots__ = ("entry", "fingerprint", "now", "out", "saga", "txn")

    def __init__(self, saga: Saga | None, transaction: Transaction, entry: Entry, now: int) -> None:
        self.saga = saga
        self.txn = transaction.copy()
        self.entry = entry
        self.now = max(now, entry.at)
        self.out: list[Transition] = []
        self.fingerprint = 0

    def run(self) -> list[Transition]:
        entry = self.entry
        if entry.kind == "timer":
            if not entry.error:
                self._timer()
            elif all(i.step != entry.step for i in self.txn.incidents):
                self.emit(Kind.INCIDENT_OPENED, code="timer_failed", step=entry.step, reason=entry.error)
            return self.out
        self.fingerprint = fingerprint(entry.source, entry.id)
        if self.fingerprint in self.txn.fingerprints:
            return self.out
        if entry.error:
            self._poison()
        elif not self.txn.saga:
            self._before_start()
        else:
            self._message(entry)
        return self.out

    def emit(self, kind: Kind, **facts: Any) -> None:
        transition = Transition(kind, self.entry.at, **facts)
        if self.fingerprint:  # on the first move that a message causes
            transition.fingerprint, self.fingerprint = self.fingerprint, 0
        evolve(self.txn, transition)
        self.out.append(transition)

    # -- messages

    def _before_start(self) -> None:
        entry, saga = self.entry, self.saga
        if saga is None or entry.type != saga.starts_on:
            early = Early(
                entry.kind, entry.type, entry.id, entry.source, entry.causation_id, entry.at, entry.origin,
                dict(entry.payload or {}),
            )  # fmt: skip
            self.emit(Kind.KEPT, early=early, due=entry.at + EARLY_TTL)
            return
        if entry.sent_at and entry.sent_at < saga.deployed_at:
            self.emit(
                Kind.IGNORED, code="before_deployment", reason=f"{saga.name} was deployed after it was sent"
            )
            return
        waiting = self.txn.early
        self.emit(
            Kind.STARTED,
            saga=saga.name,
            version=saga.version,
            status=Status.RUNNING,
            due=entry.at + saga.deadline if saga.deadline else 0,
            scope=START,
            captured=self._capture(entry.type, entry.payload),
        )
        self._advance()
        for early in waiting:
            self.fingerprint = 0
            self._message(early)

    def _message(self, message: Entry | Early) -> None:
        saga, type_ = self.saga, message.type
        assert saga is not None
        if type_ in saga.by_confirmation and self._confirms(message):
            self._confirmation(message, saga.by_confirmation[type_])
        elif type_ in saga.by_success:
            self._success(message, saga.by_success[type_])
        elif type_ in saga.by_failure or type_ == STEP_FAILED:
            self._failure(message)
        elif type_ == saga.starts_on:
            self._ignore("second_start", "the transaction has started already")

    def _ignore(self, code: str, reason: str, step: str = "") -> None:
        self.emit(Kind.IGNORED, code=code, reason=reason, step=step)

    def _poison(self) -> None:
        status = None if self.txn.saga else Status.PARKED
        if len(self.txn.incidents) >= _MOST_INCIDENTS:
            self._ignore("poison", self.entry.error)
            return
        reason = f"{self.entry.type or 'message'} at {self.entry.origin}: {self.entry.error}"
        self.emit(Kind.INCIDENT_OPENED, code="poison", reason=reason, status=status)

    def _success(self, message: Entry | Early, steps: tuple[Step, ...]) -> None:
        step = self._addressed(message, steps)
        state = self.txn.steps.get(step.path)
        status = state.status if state else StepStatus.PENDING
        # All attempts of a command share one effect: another one's answer, even after the compensation, tells no more.
        counted = step.path in self.txn.captured and self._is_action_of(step, message.causation_id)
        if status is StepStatus.SUCCEEDED or counted:
            self._ignore("already_succeeded", f"{step.path} has succeeded already", step.path)
            return
        payload = message.payload
        self.emit(
            Kind.SUCCEEDED,
            step=step.path,
            scope=step.path,
            captured=self._capture(message.type, payload),
            reason="late" if status in _LATE else "",
        )
        self._go_on(step.path)

    def _confirms(self, message: Entry | Early) -> bool:
        """Whether a type that may end a step or confirm a compensation does the latter here."""
        assert self.saga is not None
        if message.type not in self.saga.by_success:
            return True
        steps = self.saga.by_confirmation[message.type]
        return any(self._is_compensation_of(step, message.causation_id) for step in steps)

    def _confirmation(self, message: Entry | Early, steps: tuple[Step, ...]) -> None:
        open_ = [s for s in steps if self._status(s) in (StepStatus.COMPENSATING, StepStatus.INCIDENT)]
        found = [s for s in open_ if self._is_compensation_of(s, message.causation_id)]
        if not found and not self._is_own_command(message.causation_id):
            found = open_
        if not found:
            self._ignore("unasked_confirmation", f"nobody waits for {message.type}", steps[0].path)
            return
        self._confirmed(found[0])

    def _confirmed(self, step: Step) -> None:
        again = self.txn.steps[step.path].again
        self.emit(Kind.COMPENSATION_CONFIRMED, step=step.path)
        if again:
            self.emit(Kind.SUCCEEDED, step=step.path, reason="late")
        self._go_on("")

    def _failure(self, message: Entry | Early) -> None:
        saga = self.saga
        assert saga is not None
        payload = message.payload or {}
        if message.type == STEP_FAILED:
            compensated = [
                s for s in saga.steps.values() if self._is_compensation_of(s, message.causation_id)
            ]
            if compensated:
                self._compensation_failed(compensated[0], message)
                return
            step = self._failed_step(message)
            code = str(payload.get("code", ""))
            # The service did not act on an expired command: for it that is final, for the step only this attempt is.
            retryable = bool(payload.get("retryable")) or code == EXPIRED
            reason = str(payload.get("message", ""))
        else:
            step = self._addressed(message, saga.by_failure[message.type])
            code, reason, retryable = message.type, str(payload.get("reason", "")), False
        if step is None:
            self._ignore("failure_of_no_step", f"{message.type} from {message.source} fits no open step")
            return
        state = self.txn.steps.get(step.path)
        cause = message.causation_id
        if state and state.command_id and cause != state.command_id and self._is_own_command(cause):
            self._ignore("old_attempt", f"{step.path}: a failure counts for its attempt only", step.path)
            return
        status = state.status if state else StepStatus.PENDING
        if status not in (StepStatus.PENDING, StepStatus.ACTIVE, StepStatus.IN_DOUBT):
            self._ignore("failure_after_end", f"{step.path} is {status}", step.path)
        elif retryable and status is StepStatus.ACTIVE and self._retry(step, code, reason):
            pass
        elif state and state.doubtful and message.type == STEP_FAILED:
            # This attempt has failed, but an earlier one never answered: it may have happened.
            if status is StepStatus.IN_DOUBT:
                self._ignore("still_in_doubt", f"{step.path}: an earlier attempt never answered", step.path)
                return
            self.emit(Kind.DOUBTED, step=step.path, code=code, reason=reason)
            self._compensate(step, code, reason)
        else:
            self.emit(Kind.FAILED, step=step.path, code=code, reason=reason)
            self._compensate(step, code, reason)

    def _compensation_failed(self, step: Step, message: Entry | Early) -> None:
        state = self.txn.steps[step.path]
        payload = message.payload or {}
        code, reason = str(payload.get("code", "")), str(payload.get("message", ""))
        if state.status is not StepStatus.COMPENSATING or message.causation_id != state.compensation_id:
            self._ignore("old_attempt", f"{step.path}: the compensation is {state.status}", step.path)
        elif not payload.get("retryable") or not self._retry_compensation(step, code, reason):
            self.emit(Kind.COMPENSATION_FAILED, step=step.path, code=code, reason=reason or code)

    # -- timers

    def _timer(self) -> None:
        entry, txn, saga = self.entry, self.txn, self.saga
        if entry.timer == EXPIRY:
            if txn.early and not txn.saga and 0 < txn.expires_at <= entry.at:
                types = ", ".join(sorted({early.type for early in txn.early}))
                self.emit(Kind.EXPIRED, code="unmatched", reason=f"no saga started for {types}")
            return
        if saga is None or not txn.saga:
            return
        if entry.timer == DEADLINE:
            if txn.status is Status.RUNNING and txn.deadline and entry.at >= txn.deadline:
                self._compensate(None, "deadline", "the saga's deadline has passed")
            return
        state, step = txn.steps.get(entry.step), saga.steps.get(entry.step)
        if state is None or step is None or state.timer != entry.timer or entry.at < state.due:
            return
        if entry.timer in (TIMEOUT, RETRY):
            if (entry.round, entry.attempt) != (state.round, state.attempt):
                return
            if entry.timer == RETRY:
                self._send(step, state.attempt + 1)
            elif not self._retry(step, TIMED_OUT, "no answer in time"):
                self.emit(Kind.DOUBTED, step=step.path, code=TIMED_OUT, reason="no answer in time")
                self._compensate(step, TIMED_OUT, "no answer in time")
        else:
            if (entry.round, entry.attempt) != (state.compensation_round, state.compensation_attempt):
                return
            if entry.timer == COMPENSATION_RETRY:
                self._send_compensation(step, state.compensation_round, state.compensation_attempt + 1)
            elif not self._retry_compensation(step, TIMED_OUT, "not confirmed in time"):
                reason = f"not confirmed after {state.compensation_attempt} attempts"
                self.emit(Kind.COMPENSATION_FAILED, step=step.path, code=TIMED_OUT, reason=reason)

    # -- consequences

    def _go_on(self, succeeded: str) -> None:
        """After a success or a confirmation: what does it make possible, or necessary?"""
        status = self.txn.status
        if status is Status.RUNNING:
            self._advance()
        elif status is Status.COMPENSATING:
            self._compensate_more()
        elif status is Status.COMPENSATED and succeeded and self._can_reverse(succeeded):
            reason = f"{succeeded} took effect after the end"
            self.emit(Kind.REOPENED, status=Status.COMPENSATING, reason=reason)
            self._compensate_more()

    def _advance(self) -> None:
        saga, steps = self.saga, self.txn.steps
        assert saga is not None
        # A step that succeeded early is not settled before those that come before it: a command needs their fields.
        settled: set[str] = set()
        for step in saga.steps.values():
            if not settled.issuperset(step.after):
                continue
            state = steps.get(step.path)
            if state is not None and state.status is not StepStatus.PENDING:
                if state.status in _DONE:
                    settled.add(step.path)
                continue
            self.emit(
                Kind.ACTIVATED,
                step=step.path,
                timer=TIMEOUT if step.command is None and step.timeout else "",
                due=self.entry.at + step.timeout if step.command is None and step.timeout else 0,
            )
            if step.command is not None:
                self._send(step, 1)
        if len(settled) == len(saga.steps):
            self._end(Status.COMPLETED)

    def _end(self, status: Status) -> None:
        self.emit(Kind.ENDED, status=status, due=self.entry.at + STUB_TTL[status], reason=self.txn.reason)

    def _send(self, step: Step, attempt: int) -> None:
        assert step.command is not None
        txn, state = self.txn, self.txn.steps[step.path]
        command = SentCommand(
            id=command_id(txn.id, step.path, ACTION, state.round, attempt),
            type=step.command.type,
            topic=step.command.topic,
            kind=ACTION,
            idempotency_key=idempotency_key(txn.id, step.path, ACTION, state.round),
            causation_id=self._cause(),
            fields=self._fill(step.command),
            expires_at=self.now + step.timeout if step.timeout else 0,
        )
        self.emit(
            Kind.COMMAND_SENT,
            step=step.path,
            command=command,
            round=state.round,
            attempt=attempt,
            timer=TIMEOUT if step.timeout else "",
            due=self.now + step.timeout if step.timeout else 0,
        )

    def _retry(self, step: Step, code: str, reason: str) -> bool:
        """Schedule another attempt of the step's command, if there is one left."""
        state = self.txn.steps[step.path]
        if (
            step.command is None
            or state.attempt >= step.retry.attempts
            or self.txn.status is not Status.RUNNING
        ):
            return False
        self.emit(
            Kind.RETRY_SCHEDULED,
            step=step.path,
            code=code,
            reason=reason,
            round=state.round,
            attempt=state.attempt,
            timer=RETRY,
            due=self.now + step.retry.delay(state.attempt, state.command_id),
        )
        return True

    def _compensate(self, failed: Step | None, code: str, reason: str) -> None:
        """The transaction can't finish: reverse what happened or may have happened."""
        if self.txn.status is Status.RUNNING:
            why = f"{failed.path}: {code}" if failed else code
            self.emit(
                Kind.COMPENSATION_STARTED,
                status=Status.COMPENSATING,
                code=code,
                reason=f"{why} ({reason})" if reason and reason != code else why,
            )
            for path, state in list(self.txn.steps.items()):
                if state.status is StepStatus.ACTIVE:
                    self.emit(
                        Kind.DOUBTED, step=path, code="in_flight", reason="in flight when compensation began"
                    )
        if self.txn.status is Status.COMPENSATING:
            self._compensate_more()

    def _compensate_more(self) -> None:
        """Send every compensation whose turn has come; end when all are confirmed."""
        saga, txn = self.saga, self.txn
        assert saga is not None
        unsent: set[str] = set()  # wait for their turn
        unconfirmed: set[str] = set()  # of effects that are known: hold back what came before them
        open_ = False
        for step in reversed(list(saga.steps.values())):
            state = txn.steps.get(step.path)
            if state is None or step.compensation is None:
                continue
            if state.status in (StepStatus.SUCCEEDED, StepStatus.IN_DOUBT):
                open_ = True
                later = saga.later[step.path]
                if later & unsent or later & unconfirmed:
                    unsent.add(step.path)
                else:
                    self._send_compensation(step, state.compensation_round + 1, 1)
                    state = txn.steps[step.path]
                    if not state.doubtful:
                        unconfirmed.add(step.path)
            elif state.status in (StepStatus.COMPENSATING, StepStatus.INCIDENT):
                open_ = True
                if not state.doubtful or state.again:
                    unconfirmed.add(step.path)
        if not open_:
            self._end(Status.COMPENSATED)

    def _send_compensation(self, step: Step, round_: int, attempt: int) -> None:
        compensation, txn, state = step.compensation, self.txn, self.txn.steps[step.path]
        assert compensation is not None
        if step.command is None:
            reverses = choreographed_action(txn.id, step.succeeds_on)
        else:
            reverses = idempotency_key(txn.id, step.path, ACTION, state.round)
        command = SentCommand(
            id=command_id(txn.id, step.path, COMPENSATION, round_, attempt),
            type=compensation.command.type,
            topic=compensation.command.topic,
            kind=COMPENSATION,
            idempotency_key=idempotency_key(txn.id, step.path, COMPENSATION, round_),
            causation_id=self._cause(),
            fields=self._fill(compensation.command),
            reverses=reverses,
        )
        self.emit(
            Kind.COMPENSATION_SENT,
            step=step.path,
            command=command,
            round=round_,
            attempt=attempt,
            timer=CONFIRMATION,
            due=self.now + compensation.timeout,
        )

    def _retry_compensation(self, step: Step, code: str, reason: str) -> bool:
        state, compensation = self.txn.steps[step.path], step.compensation
        assert compensation is not None
        if state.compensation_attempt >= compensation.retry.attempts:
            return False
        self.emit(
            Kind.COMPENSATION_RETRY_SCHEDULED,
            step=step.path,
            code=code,
            reason=reason,
            round=state.compensation_round,
            attempt=state.compensation_attempt,
            timer=COMPENSATION_RETRY,
            due=self.now + compensation.retry.delay(state.compensation_attempt, state.compensation_id),
        )
        return True

    # -- looking things up

    def _can_reverse(self, path: str) -> bool:
        assert self.saga is not None
        return self.saga.steps[path].compensation is not None

    def _status(self, step: Step) -> StepStatus:
        state = self.txn.steps.get(step.path)
        return state.status if state else StepStatus.PENDING

    def _cause(self) -> str:
        """What caused the command that goes out: the message that is handled, or the attempt that a timer ended."""
        if self.entry.id:
            return self.entry.id
        state = self.txn.steps.get(self.entry.step)
        if state is None:
            return ""
        return state.compensation_id or state.command_id

    def _capture(self, type_: str, payload: Mapping[str, Any] | None) -> dict[str, Any]:
        assert self.saga is not None
        wanted = self.saga.captures.get(type_, ())
        return {name: payload[name] for name in sorted(wanted) if name in payload} if payload else {}

    def _fill(self, command: Command) -> dict[str, Any]:
        captured, fields = self.txn.captured, {}
        for rule in command.fields:
            if not rule.sources:
                fields[rule.name] = rule.literal
                continue
            for scope, name in rule.sources:
                values = captured.get(scope)
                if values is not None and name in values:
                    fields[rule.name] = values[name]
                    break
        return fields

    def _addressed(self, message: Entry | Early, steps: tuple[Step, ...]) -> Step:
        """The step that an answer is for: whose command it names as its cause, else the open one of that type."""
        if len(steps) == 1:
            return steps[0]
        for step in steps:
            if self._is_action_of(step, message.causation_id):
                return step
        return next((step for step in steps if self._status(step) is StepStatus.ACTIVE), steps[0])

    def _failed_step(self, message: Entry | Early) -> Step | None:
        """The step that a ``StepFailed`` is for. One that names an event counts for the open step of its service."""
        assert self.saga is not None
        steps = self.saga.steps.values()
        for step in steps:
            if self._is_action_of(step, message.causation_id):
                return step
        if self._is_own_command(message.causation_id):
            return None  # of an earlier round
        mine = [s for s in steps if s.command is None and s.owner == message.source]
        for wanted in (StepStatus.ACTIVE, StepStatus.IN_DOUBT, StepStatus.PENDING):
            found = [s for s in mine if self._status(s) is wanted]
            if found:
                return found[0]
        return None

    def _is_action_of(self, step: Step, id_: str) -> bool:
        state = self.txn.steps.get(step.path)
        if not id_ or state is None or not state.command_id:
            return False
        return id_ == state.command_id or any(
            id_ == command_id(self.txn.id, step.path, ACTION, state.round, attempt)
            for attempt in range(1, state.attempt)
        )

    def _is_compensation_of(self, step: Step, id_: str) -> bool:
        """Whether ``id_`` is an attempt of the step's compensation in its current round."""
        state = self.txn.steps.get(step.path)
        if not id_ or state is None or not state.compensation_id:
            return False
        return id_ == state.compensation_id or any(
            id_ == command_id(self.txn.id, step.path, COMPENSATION, state.compensation_round, attempt)
            for attempt in range(1, state.compensation_attempt)
        )

    def _is_own_command(self, id_: str) -> bool:
        """Whether ``id_`` is any command that this transaction has sent."""
        if not id_:
            return False
        txn = self.txn
        for path, state in txn.steps.items():
            for kind, rounds, attempts in (
                (ACTION, state.round, state.attempt),
                (COMPENSATION, state.compensation_round, state.compensation_attempt),
            ):
                if id_ in (state.command_id, state.compensation_id):
                    return True
                for round_ in range(1, rounds + 1):
                    most = attempts if round_ == rounds else _MOST_ATTEMPTS
                    if any(id_ == command_id(txn.id, path, kind, round_, n) for n in range(1, most + 1)):
                        return True
        return False


#: How many attempts of an earlier round are looked through, to know an old answer again: a definition's limit.
_MOST_ATTEMPTS = 100
#: A transaction that gets nothing but poison must not grow for ever.
_MOST_INCIDENTS = 20
_DONE = (StepStatus.SUCCEEDED, StepStatus.SKIPPED)
_LATE = (
    StepStatus.IN_DOUBT,
    StepStatus.FAILED,
    StepStatus.COMPENSATING,
    StepStatus.COMPENSATED,
    StepStatus.INCIDENT,
)


def timers_of(transaction: Transaction) -> list[tuple[int, str, str, int, int]]:
    """Every timer that is set: (due, kind, step, round, attempt). The shell keeps them in a heap."""
    found = []
    if transaction.deadline:
        found.append((transaction.deadline, DEADLINE, "", 0, 0))
    if transaction.early and not transaction.saga and transaction.expires_at:
        found.append((transaction.expires_at, EXPIRY, "", 0, 0))
    for path, state in transaction.steps.items():
        if state.timer:
            found.append((state.due, state.timer, path, *_count_of(state)))
    return found


def _count_of(state: StepState) -> tuple[int, int]:
    if state.timer in (CONFIRMATION, COMPENSATION_RETRY):
        return state.compensation_round, state.compensation_attempt
    return state.round, state.attempt
