"""What a seed stands for: a saga, its transactions, and everything that goes wrong.

A :class:`Plan` is data, so a failing one can be shrunk: faults and transactions are taken out one by one while it still
fails. What is left of chance (whose turn it is, how much time passes) comes from the seed as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulation.faults import Fault
from simulation.shapes import Shape, StepShape

#: After this (s) nothing goes wrong any more: what is still open then must come to its end by itself.
TROUBLE = 40.0
ENGINES, INTAKES, VIEW = ("engine-1", "engine-2"), ("intake-1", "intake-2"), "view"
#: A shop that is not late gives its signals within this (s) of the start.
PROMPT = 1.0
#: Items of an ``each`` at most.
MOST_LINES = 3


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a step's service does with one transaction, in its action and in its compensation."""

    declines: bool = False
    silent: bool = (
        False  # it acts, and never says so (asked by a command: of what else it did, nobody would ever know)
    )
    retryable: int = 0  # so often it fails before
    broken: bool = False  # it always fails, after it acted (its effect is rolled back)
    reverse_retryable: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """One transaction: when it begins (s), and who behaves how (by label of the step; else all goes well). ``amount`` is
    what guards ask about, ``lines`` how many items it has."""

    id: str
    at: float
    behaviours: tuple[tuple[str, Behaviour], ...] = ()
    amount: int = 7
    lines: int = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. ``people``: what they do, one after the other, whenever all is quiet and something waits for them."""

    seed: int
    shape: Shape
    transactions: tuple[Started, ...]
    faults: tuple[Fault, ...]
    engines: int = 2
    intakes: int = 2
    shared_home: bool = True
    marker_lag: float = 0.0  # s, at most
    people: tuple[str, ...] = ()
    view: bool = False


def instances(
    steps: tuple[StepShape, ...], lines: int, path: str = "", item: int = -1
) -> Iterator[tuple[str, str, StepShape]]:
    """Every instance of these steps and what is in them: its path, its label, its shape."""
    for step in steps:
        here = f"{path}.{step.name}" if path else step.name
        yield here, label(step.name, item), step
        for index in range(lines) if step.each else (None,):
            inside = here if index is None else f"{here}[{index}]"
            yield from instances(step.steps, lines, inside, item if index is None else index)


def label(name: str, item: int) -> str:
    return name if item < 0 else f"{name}[{item}]"
