"""One decision under way: the transaction as it will be, the transitions so far, and what can be looked up in them.

The files beside this one say what an entry means: ``decide`` (messages and timers), ``acts`` (people), ``progress`` (what
becomes possible), ``reversal`` (what must be compensated).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any
from zlib import crc32

from kantor.envelope import command_id
from kantor_orchestrator.core import limits
from kantor_orchestrator.core.entry import RELEASE, Entry
from kantor_orchestrator.core.saga import (
    COMPENSATE,
    ENFORCE,
    MOST_ATTEMPTS,
    ROOT,
    START,
    Command,
    Expression,
    FieldRule,
    Saga,
    Step,
    beside,
    definition_path,
)
from kantor_orchestrator.core.scope import Cost, Scope
from kantor_orchestrator.core.transaction import (
    Early,
    Kind,
    StepState,
    StepStatus,
    Transaction,
    Transition,
    evolve,
)

ACTION, COMPENSATION, QUESTION = "action", "compensation", "question"
ENDING, REFUSAL, CHILD, ANSWER = "ending", "refusal", "child", "answer"

#: Where the items of an ``each`` are kept, in what was captured of the composite.
ITEMS = "items"


class ExpressionError(Exception):
    """A guard or field expression threw on this transaction's data: an incident of it."""


class Decision:
    """Folds its own transitions into a copy of the transaction, to see their consequences."""

    __slots__ = (
        "_awaits",
        "_is_spent",
        "_sent",
        "_touched",
        "cost",
        "entry",
        "fingerprint",
        "hold",
        "now",
        "out",
        "saga",
        "sweeps",
        "txn",
        "waiting",
    )

    def __init__(
        self, saga: Saga | None, transaction: Transaction, entry: Entry, now: int, hold: str = ""
    ) -> None:
        self.saga = saga
        self.hold = hold  # who holds the saga, and why
        self.txn = transaction.copy()
        self.entry = entry
        self.now = max(now, entry.at)
        self.out: list[Transition] = []
        self.fingerprint = 0
        self.waiting: list[Early] = []  # messages whose step may have begun now
        self._touched: set[str] = set()
        self._sent = 0  # what the fields of the messages weigh that have been filled
        self._awaits = False  # something goes out now, so an answer to it, or its timer, will come
        self.cost = Cost()
        self._is_spent = False  # something had no room beside the others: an incident says so
        #: Anything may follow anywhere: a person, a release, the pivot's answer, what threw and may not throw now.
        self.sweeps = entry.kind == "act" or entry.timer == RELEASE
        self.sweeps |= bool(transaction.incidents or transaction.failing or transaction.held)

    def emit(self, kind: Kind, **facts: Any) -> None:
        transition = Transition(kind, self.entry.at, **facts)
        if self.fingerprint:  # on the first transition that a message causes
            transition.fingerprint, self.fingerprint = self.fingerprint, 0
        if self.entry.actor:
            transition.actor = self.entry.actor
        if len(transition.reason) > limits.MOST_TEXT or len(transition.code) > limits.MOST_TEXT:
            transition.reason = transition.reason[: limits.MOST_TEXT]
            transition.code = transition.code[: limits.MOST_TEXT]
        evolve(self.txn, transition)
        self.out.append(transition)
        self._awaits = self._awaits or (transition.command is not None and not transition.command.held)
        if "[" in transition.step:
            self._touch(transition.step)

    def _touch(self, path: str) -> None:
        while (end := path.rfind("]")) >= 0:
            self._touched.add(path[: end + 1])
            path = path[: path.rfind("[", 0, end)]

    def may_go_on(self, member: str) -> bool:
        """Whether anything can follow in an item's group: something has happened in it. There may be a thousand of them."""
        return self.sweeps or member in self._touched

    def be_held(self) -> None:
        """Wait for the release, from now on."""
        if not self.txn.held:
            self.emit(Kind.HELD, reason=self.hold)

    def ignore(self, code: str, reason: str, step: str = "") -> None:
        self.emit(Kind.IGNORED, code=code, reason=reason, step=step)

    def incident(self, code: str, reason: str, step: str = "") -> None:
        """Open one for a person, unless the same is open already."""
        if all(i.kind != code or i.step != step for i in self.txn.incidents):
            self.emit(Kind.INCIDENT_OPENED, code=code, reason=reason, step=step)

    # -- the saga's steps and this transaction's

    def step(self, path: str) -> Step | None:
        """The definition of an instance; None of a member (``parcels[1]``)."""
        assert self.saga is not None
        return None if path.endswith("]") else self.saga.steps.get(definition_path(path))

    def status(self, path: str) -> StepStatus:
        state = self.txn.steps.get(path)
        return StepStatus.PENDING if state is None else state.status

    def instances(self, step: Step) -> list[str]:
        """The paths of a step's instances: one, or one for each item of the composites around it."""
        assert self.saga is not None
        if not step.parent:
            return [step.path]
        name = step.path.rpartition(".")[2]
        return [f"{group}.{name}" for group in self._groups(self.saga.steps[step.parent])]

    def _groups(self, composite: Step) -> Iterator[str]:
        for path in self.instances(composite):
            if composite.each is None:
                yield path
            else:
                for index in range(len(self.txn.captured.get(path, {}).get(ITEMS, ()))):
                    yield f"{path}[{index}]"

    def is_enforced(self) -> bool:
        """Whether this transaction's commands are sent (saga-35). The share is by the transaction's id: a replay decides
        alike."""
        assert self.saga is not None
        if self.saga.mode != ENFORCE:
            return False
        return self.saga.share >= 1 or crc32(self.txn.id.encode()) % 10_000 < self.saga.share * 10_000

    # -- values

    def capture(self, type_: str, payload: Mapping[str, Any] | None) -> dict[str, Any]:
        assert self.saga is not None
        wanted = self.saga.captures.get(type_, ())
        found = {name: payload[name] for name in sorted(wanted) if name in payload} if payload else {}
        self.admit(found)
        return found

    def admit(self, values: Any) -> None:
        """Raises ``ExpressionError`` if the transaction can't keep these, too."""
        txn = self.txn
        kept = chain(txn.captured.values(), (one.payload for one in txn.early))
        if why := limits.too_much_kept(values, kept, txn.entries):
            raise ExpressionError(why)

    @property
    def is_full(self) -> bool:
        """So much goes out already, or was calculated, that what can wait for its turn waits: for an answer to what goes out, or
        for the person whom the incident is for. Where nothing goes out, as in a saga that observes, nobody would wake it."""
        many = self._sent > limits.MOST_SENT // 2 or self.cost.steps > limits.PORTION_STEPS
        return self._is_spent or (many and self._awaits)

    def fill(self, rules: Iterable[FieldRule], path: str) -> dict[str, Any]:
        """The fields of a message that is about the instance ``path``. Raises ``ExpressionError``."""
        captured, fields = self.txn.captured, {}
        scope: Scope | None = None
        for rule in rules:
            if rule.expression is not None:
                scope = self.scope(path) if scope is None else scope
                fields[rule.name] = self.evaluate(rule.expression, scope, f"field {rule.name}", path)
            elif not rule.sources:
                fields[rule.name] = rule.literal
            else:
                for source, name in rule.sources:
                    values = captured.get(beside(source, path))
                    if values is not None and name in values:
                        fields[rule.name] = values[name]
                        break
        size = limits.weight(fields, limits.MOST_SENT)
        self._sent += size
        if self._sent > limits.MOST_SENT:
            self._is_spent = size <= limits.MOST_SENT  # in the next entry there is room for it
            raise ExpressionError(
                f"what it sends{f' for {path}' if path else ''} has, with what goes out beside it, more than "
                f"{limits.MOST_SENT:,} characters and values: send fewer fields, or a reference to them"
            )
        return fields

    def key(self, command: Command, path: str) -> str:
        if command.key is None:
            return ""
        return str(self.evaluate(command.key, self.scope(path), f"key of {command.type}", path))

    def evaluate(self, expression: Expression, scope: Mapping[str, Any], what: str, path: str) -> Any:
        """Raises ``ExpressionError`` with what it was for: an incident of this transaction."""
        where = f" of {path}" if path else ""
        if self.cost.steps > limits.MOST_STEPS:
            self._is_spent = True
            raise ExpressionError(
                f"{what}{where}: the expressions that one message leads to took more than {limits.MOST_STEPS:,} steps: `kantor retry` goes "
                "on from here; in the saga's next version let them go through less, or let a service calculate it"
            )
        try:
            return expression(scope)
        except Exception as error:
            raise ExpressionError(f"{what}{where}: {type(error).__name__}: {error}") from error

    def scope(self, path: str) -> Scope:
        """What an expression of the instance ``path`` sees: the steps around it, nearest last, and its items."""
        assert self.saga is not None
        txn = self.txn
        found = Scope({START: txn.captured.get(START, {})}, self.cost)
        group = ROOT
        parts = path.split(".")
        for depth in range(len(parts)):
            for step in self.saga.children.get(definition_path(group), ()):
                name = step.path.rpartition(".")[2]
                instance = f"{group}.{name}" if group else name
                if step.steps:
                    if instance in txn.steps:
                        found.later(name, partial(self._results, step, instance))
                elif instance in txn.steps or instance in txn.captured:
                    found[name] = {"status": self.status(instance), **txn.captured.get(instance, {})}
            if depth == len(parts) - 1:
                break
            group = ".".join(parts[: depth + 1])
            if group.endswith("]"):
                composite, _, index = group[:-1].rpartition("[")
                found["index"] = int(index)
                found["item"] = txn.captured[composite][ITEMS][int(index)]
        return found

    def _results(self, composite: Step, path: str) -> dict[str, Any]:
        """A composite in an expression: its status, and the members that ended, by how."""
        assert self.saga is not None
        succeeded: list[Any] = []
        failed: list[Any] = []
        captured = self.txn.captured
        if composite.each is not None:
            items = captured.get(path, {}).get(ITEMS, ())
            members = [(f"{path}[{n}]", {"item": item, "index": n}) for n, item in enumerate(items)]
        else:
            members = []
            for child in self.saga.children[composite.path]:
                name = child.path.rpartition(".")[2]
                members.append((f"{path}.{name}", {"name": name, **captured.get(f"{path}.{name}", {})}))
        self.cost.steps += len(members)
        for member, facts in members:
            status = self.status(member)
            if composite.each is not None:
                for child in self.saga.children[composite.path]:
                    name = child.path.rpartition(".")[2]
                    facts[name] = captured.get(f"{member}.{name}", {})
            if status is StepStatus.SUCCEEDED:
                succeeded.append(facts)
            elif self.is_given_up(child_of(self.saga, composite, member), status):
                failed.append(facts)
        return {"succeeded": succeeded, "failed": failed, "status": str(self.status(path))}

    def is_given_up(self, step: Step | None, status: StepStatus) -> bool:
        """Whether a step will not succeed any more, as far as the saga's progress goes."""
        if status is StepStatus.IN_DOUBT:
            return step is None or step.in_doubt == COMPENSATE
        return status in _GIVEN_UP

    # -- whose message is it?

    def cause(self) -> str:
        """What caused the message that goes out: the one that is handled, or the attempt that a timer ended."""
        if self.entry.id:
            return self.entry.id
        state = self.txn.steps.get(self.entry.step)
        if state is None:
            return ""
        return state.compensation_id or state.command_id

    def is_action_of(self, path: str, id_: str) -> bool:
        """Whether ``id_`` is an attempt of the step's command in its current round, or a question about it."""
        state = self.txn.steps.get(path)
        if not id_ or state is None:
            return False
        if state.command_id and (
            id_ == state.command_id or self._is_attempt(id_, path, ACTION, state.round, state.attempt - 1)
        ):
            return True
        return self.is_question_of(path, id_)

    def is_action_up_to(self, path: str, id_: str, round_: int) -> bool:
        """Whether ``id_`` is an attempt of the step's command in one of the rounds up to this one."""
        if not id_ or round_ < 1:
            return False
        return any(self._is_attempt(id_, path, ACTION, n, MOST_ATTEMPTS) for n in range(1, round_ + 1))

    def is_question_of(self, path: str, id_: str) -> bool:
        """Whether ``id_`` is a question about the step's action in its current round."""
        state = self.txn.steps.get(path)
        return state is not None and self._is_attempt(id_, path, QUESTION, state.round, state.questions)

    def is_compensation_of(self, path: str, id_: str) -> bool:
        """Whether ``id_`` is an attempt of the step's compensation in its current round."""
        state = self.txn.steps.get(path)
        if not id_ or state is None or not state.compensation_id:
            return False
        return id_ == state.compensation_id or self._is_attempt(
            id_, path, COMPENSATION, state.compensation_round, state.compensation_attempt - 1
        )

    def _is_attempt(self, id_: str, path: str, kind: str, round_: int, most: int) -> bool:
        if most < 1:
            return False  # nearly always
        return any(id_ == command_id(self.txn.id, path, kind, round_, n) for n in range(1, most + 1))

    def is_own_command(self, id_: str) -> bool:
        """Whether ``id_`` is any command that this transaction has sent."""
        if not id_:
            return False
        for path, state in self.txn.steps.items():
            if id_ in (state.command_id, state.compensation_id):
                return True
            for kind, rounds, attempts in (
                (ACTION, state.round, state.attempt),
                (QUESTION, state.round, state.questions),
                (COMPENSATION, state.compensation_round, state.compensation_attempt),
            ):
                for round_ in range(1, rounds + 1):
                    most = attempts if round_ == rounds else MOST_ATTEMPTS
                    if self._is_attempt(id_, path, kind, round_, most):
                        return True
        return False

    def first_of(self, paths: list[str], *wanted: StepStatus) -> str:
        """The first instance in the first of these states that any of them has; empty if none is."""
        for status in wanted:
            for path in paths:
                if self.status(path) is status:
                    return path
        return ""

    def state(self, path: str) -> StepState:
        return self.txn.steps[path]


def instance_of(step: Step, group: str, definition: str) -> str:
    """The path of a step's instance in a group (``definition``: that of the group)."""
    return step.path if group == definition else f"{group}.{step.path.rpartition('.')[2]}"


def child_of(saga: Saga, composite: Step, member: str) -> Step | None:
    """The definition of a composite's member; None where the members are items."""
    return None if composite.each is not None else saga.steps.get(definition_path(member))


_GIVEN_UP = frozenset(
    {StepStatus.FAILED, StepStatus.COMPENSATING, StepStatus.COMPENSATED, StepStatus.INCIDENT}
)
#: Statuses outside of which no step is given up.
MAY_BE_GIVEN_UP = _GIVEN_UP | {StepStatus.IN_DOUBT}
