"""Sagas of 10 to 30 steps, drawn: a DAG with guards, composites and pivots; and services that answer in any order.

Steps before a pivot of the whole saga all come before it, those after it all after it: where a step fails beside a
pivot, it is for the order of things to say which of them wins, and that is not what is asked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kantor.envelope import STEP_FAILED, choreographed_action
from kantor_orchestrator.core.entry import SLEEP, Entry, timers_of
from kantor_orchestrator.core.saga import (
    ASK,
    PARALLEL,
    ROOT,
    SEQUENTIAL,
    TOPOLOGICAL,
    WAIT,
    Command,
    Compensation,
    Retry,
    Saga,
    Step,
)
from kantor_orchestrator.core.transaction import SentCommand
from unit.core_kit import BEGIN, Story

START = "x.Begun"


@dataclass(frozen=True)
class Drawn:
    """A saga, what its start event says, and which of its steps (by definition path) refuse."""

    saga: Saga
    start: dict[str, Any]
    refusing: frozenset[str]
    triggers: dict[str, str]  # of event steps: the type that their service reacts to


@dataclass
class _Drawing:
    random: Random
    steps: dict[str, Step] = field(default_factory=dict)
    triggers: dict[str, str] = field(default_factory=dict)
    left: int = 0

    def is_(self, share: float) -> bool:
        return self.random.random() < share

    def group(self, count: int, parent: str, *, in_each: bool, final: bool, first: list[str]) -> list[str]:
        """Some steps of one group, each of them after ``first``; their paths."""
        found: list[str] = []
        for _ in range(count):
            if self.left <= 0:
                break
            self.left -= 1
            number = len(self.steps) + 1
            path = f"{parent}.n{number}" if parent else f"n{number}"
            before = self.random.sample(found, min(len(found), self.random.choice([0, 1, 1, 2])))
            after = tuple(first + before)
            if parent.count(".") < 1 and self.left > 1 and self.is_(0.25):
                self.composite(path, parent, after, in_each=in_each, final=final)
            else:
                self.leaf(path, parent, after, in_each=in_each, final=final)
            found.append(path)
        return found

    def composite(
        self, path: str, parent: str, after: tuple[str, ...], *, in_each: bool, final: bool
    ) -> None:
        each = not in_each and self.is_(0.5)
        self.steps[path] = Step(path=path, parent=parent, kind="composite")  # before what it holds
        inner = self.group(self.random.randint(1, 4), path, in_each=in_each or each, final=final, first=[])
        self.steps[path] = Step(
            path=path,
            parent=parent,
            after=after,
            kind="composite",
            when=self.guard(),
            optional=self.is_(0.15),
            steps=tuple(inner),
            each=(lambda scope: scope["start"]["lines"]) if each else None,
            need=self.random.choice([None, None, 1]),
            in_order=self.is_(0.3),
            settle_all=self.is_(0.25),
        )

    def leaf(
        self,
        path: str,
        parent: str,
        after: tuple[str, ...],
        *,
        in_each: bool,
        final: bool,
        pivot: bool = False,
    ) -> None:
        name = path.rpartition(".")[2]
        # Whom a service hears of must act for certain; and what is final must not be begun by the start.
        heard = [s for one in after if (s := self.steps[one]).succeeds_on and not (s.when or s.optional)]
        kinds = ["command", "command", "sleep", *(["event"] if heard or not final else [])]
        kind = "command" if in_each or pivot else self.random.choice(kinds)
        if kind == "sleep":
            self.steps[path] = Step(
                path=path, parent=parent, after=after, kind="sleep", sleep=lambda _: 1_000
            )
            return
        if kind == "event":
            self.triggers[path] = self.random.choice(heard).succeeds_on if heard else START
        reverse = Compensation(command=Command(f"{name}.Reverse", "cmd"), confirmed_on=f"{name}.Reversed")
        self.steps[path] = Step(
            path=path,
            parent=parent,
            after=after,
            kind=kind,
            when=None if pivot else self.guard(),
            optional=not pivot and self.is_(0.1),
            pivot=pivot,
            command=Command(f"{name}.Do", "cmd") if kind == "command" else None,
            succeeds_on=f"{name}.Done",
            fails_on=(f"{name}.Refused",),
            timeout=60_000,
            retry=Retry(attempts=self.random.choice([1, 3])),
            compensation=None if pivot or final else reverse,
            in_doubt=self.random.choice([WAIT, ASK]) if pivot else "compensate",
            ask=Command(f"{name}.Ask", "cmd") if pivot else None,
        )

    def guard(self) -> Any:
        if not self.is_(0.15):
            return None
        least = self.random.randint(1, 10)
        return lambda scope: scope["start"]["amount"] > least


def draw(random: Random) -> Drawn:
    one = _Drawing(random, left=random.randint(10, 30))
    pivot = ""
    if one.is_(0.4):
        one.left, rest = one.left // 2, one.left - one.left // 2
        before = one.group(30, ROOT, in_each=False, final=False, first=[])
        pivot = f"n{len(one.steps) + 1}"
        one.leaf(pivot, ROOT, tuple(before), in_each=False, final=False, pivot=True)
        one.left = rest
        one.group(30, ROOT, in_each=False, final=True, first=[pivot])
    else:
        one.group(30, ROOT, in_each=False, final=False, first=[])
    acting = [path for path, step in one.steps.items() if step.succeeds_on]
    refusing = frozenset(random.sample(acting, min(len(acting), random.choice([0, 0, 1, 2]))))
    saga = Saga(
        "drawn",
        1,
        START,
        one.steps,
        captures={START: frozenset({"amount", "lines"}), STEP_FAILED: frozenset({"code", "retryable"})},
        deadline=random.choice([0, 600_000]),
        compensation=random.choice([TOPOLOGICAL, SEQUENTIAL, PARALLEL]),
    )
    start = {"amount": random.randint(1, 10), "lines": list(range(random.choice([0, 1, 2, 3])))}
    return Drawn(saga, start, refusing, one.triggers)


class Services:
    """Every service with an inbox and a fence, and the transaction that hears of them in an order that chance decides.
    Commands travel as well: a compensation may overtake its action."""

    def __init__(self, drawn: Drawn, chance: Random) -> None:
        self.drawn = drawn
        self.story = Story(drawn.saga)
        self.chance = chance
        self.effects: Counter[tuple[str, str]] = Counter()  # by definition path and action
        self._ways: list[Entry | SentCommand] = []
        self._answered: dict[str, str] = {}
        self._fenced: set[str] = set()
        self._sent = 0
        self._publish(START, "start", drawn.start)

    def run(self) -> Story:
        while self.step():
            pass
        return self.story

    def step(self) -> bool:
        """The next thing happens. Whether there was any."""
        sleeps = [timer for timer in timers_of(self.story.txn) if timer[1] == SLEEP]
        which = self.chance.randrange(len(self._ways) + len(sleeps)) if self._ways or sleeps else -1
        if which < 0:
            return False
        if which >= len(self._ways):
            due, kind, path, round_, attempt = sleeps[which - len(self._ways)]
            self.story.fire(kind, path, round_, attempt, at=max(due, self.story.at))
        else:
            one = self._ways.pop(which)
            if isinstance(one, Entry):
                one.at = self.story.at + 1
                self.story.deliver(one)
            else:
                self._carry_out(one)
        self.take()
        return True

    def take(self) -> None:
        """What the transaction has sent goes on its way."""
        new, self._sent = self.story.commands[self._sent :], len(self.story.commands)
        self._ways += new

    def _publish(self, type_: str, cause: str, payload: dict[str, Any] | None = None) -> None:
        id_ = f"{type_} because of {cause}"
        for _ in range(2 if self.chance.random() < 0.2 else 1):  # now and then twice
            source = type_.partition(".")[0]
            self._ways.append(
                Entry("event", 0, type_, id_, source, cause, "evt/0/1", BEGIN, dict(payload or {}))
            )
        for path in self._reacting(type_):
            step = self.drawn.saga.steps[path]
            self._act(step, choreographed_action(self.story.txn.id, step.succeeds_on), id_)

    def _reacting(self, type_: str) -> Iterator[str]:
        return (path for path, trigger in self.drawn.triggers.items() if trigger == type_)

    def _carry_out(self, command: SentCommand) -> None:
        name, _, what = command.type.partition(".")
        step = next(s for s in self.drawn.saga.steps.values() if s.succeeds_on == f"{name}.Done")
        if what == "Reverse":
            self._fenced.add(command.reverses)
            self.effects[step.path, command.reverses] = 0
            self._publish(f"{name}.Reversed", command.id)
        else:
            self._act(step, command.idempotency_key, command.id)

    def _act(self, step: Step, action: str, cause: str) -> None:
        if action in self._fenced and action not in self._answered:
            fenced = {"code": "fenced", "retryable": False}
            self._publish(STEP_FAILED, cause, fenced)
            return
        if action not in self._answered:
            refuses = step.path in self.drawn.refusing
            self._answered[action] = step.fails_on[0] if refuses else step.succeeds_on
            self.effects[step.path, action] += not refuses
        self._publish(self._answered[action], cause)
