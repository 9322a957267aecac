"""What is simulated: a :class:`Shape` says what a saga's definition, its services and its judges need to know of it.

The generator draws a tree: groups (composites, also with ``each``, ``need``, ``in_order``, ``settle``), and leaves of most
kinds, with guards, pivots, doubts and children. Names of steps are unique in the whole tree, so that an effect is known by
its *label*: the step's name, with the item's index where the step is in an ``each`` (``s3[1]``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

START = "sim.shop.Begun"
CANCELLED, REFUSAL = "sim.shop.Cancelled", "sim.shop.Refuse"
#: A guard asks for an amount above this; a transaction's is from 1 to 10.
GUARD = 5

#: Leaves in which a service acts, and leaves an effect.
ACTING = ("event", "command")


@dataclass(frozen=True, slots=True)
class StepShape:
    """One step. ``trigger``: for an event step, the step whose success its service reacts to ("": the start)."""

    name: str
    service: str
    kind: str = "event"  # event | command | sleep | signal | saga | group
    after: tuple[str, ...] = ()
    trigger: str = ""
    timeout: int = 0  # s; of a sleep: how long
    attempts: int = 1
    is_compensated: bool = True
    guarded: bool = False
    optional: bool = False
    pivot: bool = False
    in_doubt: str = "compensate"  # | wait | ask
    in_each: bool = False  # it is about an item
    transactional: bool = False  # its service delivers in Kafka transactions, and has no store
    child: Shape | None = None
    # -- of groups
    steps: tuple[StepShape, ...] = ()
    each: bool = False
    need: int = 0  # 0: all
    in_order: bool = False
    settle: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """One saga. ``example``: it is the checkout."""

    steps: tuple[StepShape, ...]
    deadline: int = 0  # s
    example: bool = False
    compensation: str = "topological"
    cancel_until: str = ""  # the step until which it can be cancelled by an event
    refuses: bool = False
    name: str = "sim"

    @property
    def starts_on(self) -> str:
        if self.example:
            return "shop.OrderPlaced"
        return START if self.name == "sim" else f"{self.name.replace('_', '.')}.Begun"

    @property
    def every(self) -> tuple[StepShape, ...]:
        """Every step of this saga, those in groups too; not those of its children."""
        return tuple(_every(self.steps))

    @property
    def family(self) -> tuple[Shape, ...]:
        """This saga and its children."""
        return (self, *(step.child for step in self.every if step.child is not None))

    @property
    def acting(self) -> tuple[StepShape, ...]:
        """The steps of the family in which a service acts."""
        return tuple(step for shape in self.family for step in shape.every if step.kind in ACTING)

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(step.service for step in self.acting)


def _every(steps: tuple[StepShape, ...]) -> Iterator[StepShape]:
    for step in steps:
        yield step
        yield from _every(step.steps)


def later_in(steps: tuple[StepShape, ...], *, chain: bool = False) -> dict[str, set[str]]:
    """By step of one group: all that come after it, directly or not. (Not asked of the compiled saga: that may be wrong.)
    ``chain``: the group's steps are members in order."""
    found: dict[str, set[str]] = {step.name: set() for step in steps}
    for step in steps:  # in topological order
        for earlier, later in found.items():
            if earlier in step.after or later & set(step.after) or (chain and earlier != step.name):
                later.add(step.name)
        if chain:
            found[step.name].clear()
    return found


def checkout() -> Shape:
    """The example, as it is in checkout.yaml."""
    return Shape(
        (
            StepShape("stock", "inventory"),
            StepShape("payment", "payment", after=("stock",), trigger="stock"),
            StepShape("shipping", "shipping", "command", after=("payment",), attempts=5),
        ),
        example=True,
    )


def generate(random: Random) -> Shape:
    """A tree of steps."""
    return _Draw(random).saga()


class _Draw:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0

    def _is(self, share: float) -> bool:
        return self._random.random() < share

    def saga(self) -> Shape:
        random = self._random
        rich = self._is(0.7)  # else event and command steps alone
        steps = self._steps(random.randint(1, 4), depth=0 if rich else 9, in_each=False, plain=not rich)
        names = [step.name for step in steps]
        return Shape(
            steps,
            random.choice([0, 8, 30]),
            compensation=random.choice(["topological", "topological", "sequential", "parallel"]),
            cancel_until=random.choice(names) if rich and self._is(0.25) else "",
            refuses=self._is(0.5),
        )

    def _steps(
        self, count: int, *, depth: int, in_each: bool, plain: bool, chain: bool = False
    ) -> tuple[StepShape, ...]:
        random = self._random
        steps: list[StepShape] = []
        for _ in range(count):
            before = [step.name for step in steps]
            after = tuple(sorted(random.sample(before, min(len(before), random.choice([0, 1, 1, 2])))))
            if depth < 2 and self._is(0.25):
                steps.append(self._group(after, depth, in_each))
            else:
                steps.append(self._leaf(steps, after, in_each=in_each, plain=plain))
        found = tuple(steps)
        return self._with_pivot(found, chain) if not plain and self._is(0.25) else found

    def _group(self, after: tuple[str, ...], depth: int, in_each: bool) -> StepShape:
        random = self._random
        each = not in_each and self._is(0.5)
        name = self._name("g")
        in_order = self._is(0.3)
        steps = self._steps(
            random.randint(1, 3),
            depth=depth + 1,
            in_each=in_each or each,
            plain=False,
            chain=in_order and not each,
        )
        need = random.choice([0, 0, 1, 2])
        if not each:
            need = min(need, len(steps))
            if need:  # its members are its steps, of which each may fail
                steps = tuple(replace(s, pivot=False, in_doubt="compensate") for s in steps)
        return StepShape(
            name,
            "",
            "group",
            after,
            guarded=self._is(0.15),
            optional=self._is(0.15),
            steps=steps,
            each=each,
            need=need,
            in_order=in_order,
            settle=self._is(0.25),
        )

    def _leaf(
        self,
        steps: list[StepShape],
        after: tuple[str, ...],
        *,
        in_each: bool,
        plain: bool,
        kind: str = "",
    ) -> StepShape:
        random = self._random
        heard = [s.name for s in steps if s.name in after and s.kind in ACTING]
        kinds = ["event", "command"]
        if in_each:  # a service that acts by itself must hear of an item first
            kinds = ["command", "command", "command", "sleep", "saga", *(["event"] * 2 if heard else [])]
        elif not plain:
            kinds = [*kinds * 3, "sleep", "signal", "saga"]
        kind, name = kind or random.choice(kinds), self._name("s")
        step = StepShape(
            name,
            f"sim.{name}",
            kind,
            after,
            random.choice(heard) if heard and kind == "event" else "",
            random.choice([2, 5, 10]),
            random.choice([1, 2, 4]) if kind == "command" else 1,
            kind in ACTING and self._is(0.85),
            guarded=not plain and self._is(0.15),
            optional=not plain and self._is(0.12),
            in_each=in_each,
        )
        if kind == "saga":
            return replace(step, timeout=30, child=self._child(name))
        if kind == "command" and not plain and self._is(0.25):
            return replace(step, in_doubt=random.choice(["wait", "ask"]))
        if kind in ACTING and self._is(0.12):  # without a store there is nothing that reverses it
            return replace(step, transactional=True, is_compensated=False)
        return step

    def _child(self, name: str) -> Shape:
        """No service hears of its start, which goes to the engine: somebody must be asked first."""
        random = self._random
        first = self._leaf([], (), in_each=False, plain=True, kind="command")
        rest: tuple[StepShape, ...] = ()
        if self._is(0.5):
            rest = (self._leaf([first], (first.name,), in_each=False, plain=True),)
        return Shape((first, *rest), random.choice([0, 8]), name=f"sim_{name}")

    def _with_pivot(self, steps: tuple[StepShape, ...], chain: bool) -> tuple[StepShape, ...]:
        """After one of the commands there is no way back."""
        able = [step for step in steps if step.kind == "command" and not step.transactional]
        if not able:
            return steps
        pivot = self._random.choice(able)
        doubt = self._random.choice(["wait", "ask", "ask"])
        new = replace(pivot, pivot=True, in_doubt=doubt, is_compensated=False, optional=False)
        later = later_in(steps, chain=chain)[pivot.name]
        return tuple(
            new if step is pivot else _uncompensated(step) if step.name in later else step for step in steps
        )

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"


def _uncompensated(step: StepShape) -> StepShape:
    return replace(step, is_compensated=False, steps=tuple(_uncompensated(inner) for inner in step.steps))
