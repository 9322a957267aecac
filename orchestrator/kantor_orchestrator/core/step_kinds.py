"""The kinds of steps: one registry of what the engine and the view must know of each.

How a kind is written, checked, compiled and drawn is in ``definitions/step_kinds.py``, by the same name. What the engine does with a step
follows from what it is compiled to: its command, its sleep, its child, its steps. A new kind is an entry in both; a test fails with its
name until all is there (docs/contributing/step-kinds.md).
"""

from __future__ import annotations

from dataclasses import dataclass

#: Whom a transaction is waiting on while a step is under way: the service whose answer it needs, or those whose answers the steps in it need.
SERVICE, PERSON, KANTOR, STEPS = "service", "a person", "kantor", "steps"


@dataclass(frozen=True, slots=True)
class StepKind:
    """A kind. ``is_asked``: a command asks for it, so that it can be asked for again. ``happens_unheard``: if it is given up while it is
    under way, it may have happened all the same. ``takes_signal``: people may say that it has happened (the operator action ``signal``)."""

    name: str
    waits_for: str  # SERVICE | PERSON | KANTOR | STEPS
    is_asked: bool = False
    happens_unheard: bool = False
    takes_signal: bool = False

    @property
    def is_told_by_type(self) -> bool:
        """Whether what reports it names no command: it is known by its type, or by ``match``."""
        return self.waits_for == SERVICE and not self.is_asked

    @property
    def is_choreographed(self) -> bool:
        """Whether a service does it by itself, whenever it likes."""
        return self.is_told_by_type and self.happens_unheard


KINDS = {
    one.name: one
    for one in (
        StepKind("event", SERVICE, happens_unheard=True),
        StepKind("command", SERVICE, is_asked=True, happens_unheard=True),
        StepKind("signal", SERVICE, takes_signal=True),
        StepKind("sleep", KANTOR),
        StepKind("saga", SERVICE, is_asked=True, happens_unheard=True),
        StepKind("task", PERSON, is_asked=True, happens_unheard=True),
        StepKind("call", SERVICE, is_asked=True, happens_unheard=True),
        StepKind("composite", STEPS),
    )
}
_UNKNOWN = StepKind("", SERVICE)


def kind_of(name: str) -> StepKind:
    """For those who may not know the step's definition: of no name, it is any service's."""
    return KINDS.get(name, _UNKNOWN)
