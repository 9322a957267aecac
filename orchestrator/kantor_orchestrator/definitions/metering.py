"""Bounds on what the evaluation of an expression may cost, in steps and in size. They are counted, not measured: the same
expression on the same data is always within them, or never.
"""

from __future__ import annotations

from kantor_orchestrator.core.limits import MOST_KEPT

#: Operators, names and calls that one evaluation may come to: about a quarter of a second. That 300 items
#: differ takes 450,000.
STEPS = 500_000
#: Characters and values that one evaluation may build: as much as a transaction may keep.
SIZE = MOST_KEPT
#: Characters that are compared or searched at the cost of a step.
_CHARACTERS = 256


class BudgetError(Exception):
    """An evaluation must not go on. Nothing swallows it, ``||`` neither."""


class Meter:
    """What one evaluation has cost so far."""

    __slots__ = ("_size", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self._size = 0

    def spend(self, steps: int) -> None:
        """Raises ``BudgetError`` if these steps are too many."""
        self.steps += steps
        if self.steps > STEPS:
            raise BudgetError(f"it takes more than {STEPS:,} steps; let it go through less")

    def read(self, text: str | bytes) -> None:
        """For an operation that goes through a text. Raises ``BudgetError``."""
        self.spend(1 + len(text) // _CHARACTERS)

    def build(self, size: int) -> None:
        """Raises ``BudgetError`` if so many characters or values are too many."""
        self._size += size
        if self._size > SIZE:
            raise BudgetError(f"it builds more than {SIZE:,} characters and values; let it build less")
