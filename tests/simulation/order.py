"""In which order a transaction's effects may be reversed, worked out from the shape."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kantor_orchestrator.core.transaction import Status, StepState, StepStatus, Transaction
from simulation.shapes import Shape, StepShape, later_in

_UNDER_WAY = (StepStatus.COMPENSATING, StepStatus.INCIDENT)
_PART = re.compile(r"([^\[\]]+)(?:\[(\d+)\])?")

#: A path in parts: names, with the item's index where there is one.
Parts = list[tuple[str, int]]


class Order:
    """Of one transaction's compensations, before one of them is sent."""

    def __init__(self, shape: Shape, found: Transaction) -> None:
        self._shape = shape
        self._steps = {step.name: step for step in shape.every}
        self._found = found

    def broken_by(self, path: str) -> Iterator[str]:
        """What is wrong with sending this step's compensation now."""
        if self._shape.compensation == "parallel" or not self._is_wanted(path):
            return
        for other, state in self._found.steps.items():
            step = self._steps.get(_parts(other)[-1][0])
            if other == path or step is None or not (step.is_compensated or step.child) or step.steps:
                continue
            is_later = self._is_later(_parts(path), _parts(other))
            holds = is_later or self._shape.compensation == "sequential"
            held = state.status in _UNDER_WAY and not state.doubtful
            if (held and holds) or (is_later and self._is_waiting(step, state, path, other)):
                where = "after it" if is_later else "and one comes after the other"
                yield f"{path} is compensated while {other}, {where}, is {state.status}"

    def _is_waiting(self, step: StepShape, state: StepState, path: str, other: str) -> bool:
        """Whether the other one must be reversed first, and has not been."""
        if state.status is StepStatus.IN_DOUBT:
            is_reversed = step.in_doubt == "compensate" and not step.pivot
            return is_reversed and not self._is_final(other, path)
        if state.status is not StepStatus.SUCCEEDED or not self._is_wanted(other):
            return False
        return not self._is_final(other, path)

    def _is_wanted(self, path: str) -> bool:
        """Whether it is part of something that is given up as a whole."""
        if self._found.status in (Status.COMPENSATING, Status.COMPENSATED):
            return True
        steps = self._found.steps
        around = _around(path)
        return any(group in steps and steps[group].status is StepStatus.FAILED for group in around)

    def _is_final(self, path: str, apart_from: str) -> bool:
        """Whether it is in a group whose pivot has succeeded, and the other one is not."""
        for group in _around(path):
            if apart_from.startswith((f"{group}.", f"{group}[")):
                continue
            for other, state in self._found.steps.items():
                inside, _, name = other.rpartition(".")
                is_pivot = inside == group and self._steps[_parts(name)[-1][0]].pivot
                if is_pivot and state.status is StepStatus.SUCCEEDED:
                    return True
        return False

    def _is_later(self, path: Parts, other: Parts) -> bool:
        """Whether the other one comes after it."""
        siblings, chain, each = self._shape.steps, False, False
        for (mine, index), (its, number) in zip(path, other, strict=False):
            if mine != its:
                return its in later_in(siblings, chain=chain)[mine]
            group = self._steps[mine]
            each = group.each
            if index != number:
                return group.in_order and number > index
            siblings, chain = group.steps, group.in_order and not each
        return False


def _parts(path: str) -> Parts:
    found = []
    for part in path.split("."):
        match = _PART.fullmatch(part)
        assert match is not None, path
        found.append((match[1], -1 if match[2] is None else int(match[2])))
    return found


def _around(path: str) -> list[str]:
    """The groups and members around a step, the outermost first."""
    found = []
    for place, letter in enumerate(path):
        if letter in ".[":
            group = path[:place]
            if not group.endswith("]"):
                found.append(group)
        if letter == "]":
            found.append(path[: place + 1])
    return found
