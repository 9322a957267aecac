"""What an ended transaction must have, worked out from the shape and from what services really did: no status of the
engine's is asked, but for what people said that they did by hand.

*Whole* is a step that has all its effects. *Clean* is one of which nothing is left that could have been reversed. What a
transaction needs is whole, what it does not need is whole or clean; what has been compensated is clean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from kantor.envelope import child_id
from simulation.plan import label
from simulation.shapes import ACTING, GUARD, StepShape

#: Effects that are left, by transaction and label.
Net = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Judge:
    """Of one transaction of the plan and its children. ``by_hand``: the steps (transaction, path) that a person
    vouches for, and ``done`` those of which a person says that they have happened. ``in_hand``: transactions whose effects are a
    person's to know: closed, or with messages that can't be read. ``signalled``: the steps (transaction, name) whose signal
    was given."""

    net: Net
    amount: int
    lines: int
    by_hand: Collection[tuple[str, str]]
    done: Collection[tuple[str, str]]
    in_hand: Collection[str]
    signalled: Collection[tuple[str, str]]
    rounds: int

    def missing(self, steps: tuple[StepShape, ...], txn: str, path: str = "", item: int = -1) -> list[str]:
        """What a group whose steps must all succeed lacks, or has too much of."""
        found = []
        for step in steps:
            here = _inside(path, step)
            lacks = self._missing(step, txn, here, item)
            if lacks and not (step.optional and not self._left(step, txn, here, item)):
                found += lacks
        return found

    def left(self, steps: tuple[StepShape, ...], txn: str, path: str = "", item: int = -1) -> list[str]:
        """What is left of a group that was compensated. One whose pivot took effect, or did so as a person says, was final before:
        then what comes before the pivot must still be there."""
        found = []
        pivot = next((s for s in steps if s.pivot and self._is_final(s, txn, path, item)), None)
        if pivot is not None:
            if not path:
                return [f"{pivot.name} took effect, and there is no way back from it"]
            before = [step for step in steps if step.name in _before(steps, pivot)]
            gone = self.missing(tuple(before), txn, path, item)
            return [f"{text}, though its pivot {pivot.name} took effect" for text in gone]
        for step in steps:
            found += self._left(step, txn, _inside(path, step), item)
        return found

    def _is_final(self, pivot: StepShape, txn: str, path: str, item: int) -> bool:
        here = txn, _inside(path, pivot)
        took_effect = bool(self.net.get((txn, label(pivot.name, item)), 0))
        return here in self.done or (took_effect and here not in self.by_hand)

    def surplus(self, step: StepShape, txn: str, path: str, item: int, kept: Collection[str]) -> list[str]:
        """What is left in a group beside the members that it was decided with."""
        return [
            text
            for one, where, index in self._members(step, path, item)
            if where not in kept
            for text in self._left_of(step, one, txn, where, index)
        ]

    def _missing(self, step: StepShape, txn: str, path: str, item: int) -> list[str]:
        if self._is_by_hand(txn, path) or (step.guarded and self.amount <= GUARD):
            return []
        if step.kind in ACTING:
            count = self.net.get((txn, label(step.name, item)), 0)
            return [] if count == 1 else [f"{path} has {count} effects"]
        if step.child is not None:
            ways = [self.missing(step.child.steps, child) for child in self._children(txn, path)]
            in_hand = any(child in self.in_hand for child in self._children(txn, path))
            return [] if in_hand else min(ways, key=len)
        if step.kind != "group":
            return []
        members = [
            (
                self._missing_of_member(step, one, txn, where, index),
                # What services did by themselves in a step that was skipped is no more than that.
                []
                if one is not None and one.guarded and self.amount <= GUARD
                else self._left_of(step, one, txn, where, index),
            )
            for one, where, index in self._members(step, path, item)
        ]
        if not step.need:
            return [text for lacks, _ in members for text in lacks]
        whole = sum(not lacks for lacks, _ in members)
        found = [] if whole >= step.need else [f"{path} has {whole} members that are whole, of {step.need}"]
        return found + [text for lacks, left in members if lacks for text in left]

    def _left(self, step: StepShape, txn: str, path: str, item: int) -> list[str]:
        if self._is_by_hand(txn, path):
            return []
        if step.kind in ACTING:
            count = self.net.get((txn, label(step.name, item)), 0)
            return [f"{path} has {count} effects left"] if step.is_compensated and count else []
        if step.child is not None:
            return [
                text
                for child in self._children(txn, path)
                if child not in self.in_hand
                for text in self.left(step.child.steps, child)
            ]
        if not step.steps:
            return []
        if not step.each:
            return self.left(step.steps, txn, path, item)
        return [
            text
            for one, where, index in self._members(step, path, item)
            for text in self._left_of(step, one, txn, where, index)
        ]

    # -- members of a group: items, or steps

    def _members(self, step: StepShape, path: str, item: int) -> Iterator[tuple[StepShape | None, str, int]]:
        if step.each:
            yield from ((None, f"{path}[{index}]", index) for index in range(self.lines))
        else:
            yield from ((one, _inside(path, one), item) for one in step.steps)

    def _missing_of_member(
        self, step: StepShape, one: StepShape | None, txn: str, path: str, item: int
    ) -> list[str]:
        if one is None:
            return self.missing(step.steps, txn, path, item)
        if one.guarded and self.amount <= GUARD and step.need:
            # Skipped is not succeeded; but a service may act by itself, and a signal be given, whatever the guard says.
            acted = self.net.get((txn, label(one.name, item)), 0) == 1 or (txn, one.name) in self.signalled
            return [] if acted else [f"{path} is skipped"]
        return self.missing((one,), txn, path.rpartition(".")[0], item)

    def _left_of(self, step: StepShape, one: StepShape | None, txn: str, path: str, item: int) -> list[str]:
        return self.left(step.steps, txn, path, item) if one is None else self._left(one, txn, path, item)

    def _children(self, txn: str, path: str) -> list[str]:
        return [child_id(txn, path, number) for number in range(1, self.rounds)]

    def _is_by_hand(self, txn: str, path: str) -> bool:
        """Whether a person vouches for it, or for something that it is in."""
        return any(
            one == txn and (path == hand or path.startswith((f"{hand}.", f"{hand}[")))
            for one, hand in self.by_hand
        )


def _inside(path: str, step: StepShape) -> str:
    return f"{path}.{step.name}" if path else step.name


def _before(steps: tuple[StepShape, ...], pivot: StepShape) -> set[str]:
    found = set(pivot.after)
    for step in reversed(steps):
        if step.name in found:
            found |= set(step.after)
    return found
