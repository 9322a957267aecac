"""What a mutation is: one bug, put into the platform's code for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: What to put in place of what: (owner, name, maker of the new one from the old one).
Change = tuple[Any, str, Callable[[Any], Any]]

#: What is told where the platform's code raised what it never may.
NO_CRASH = "no crash"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One bug. ``seeds``: one of these catches it, with trouble for ``focus``. ``breaks``: the invariants that it is meant for
    (or ``NO_CRASH``); one of them must be broken, whatever else is."""

    name: str
    change: Change
    seeds: range
    focus: str
    breaks: tuple[str, ...]

    @contextmanager
    def applied(self) -> Iterator[None]:
        owner, name, make = self.change
        before = owner.__dict__[name]
        setattr(owner, name, make(before))
        try:
            yield
        finally:
            setattr(owner, name, before)


def near(seed: int) -> range:
    """From one that is known to catch it: another may, when the platform has changed."""
    return range(seed, seed + 60)
