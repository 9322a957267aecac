"""How each field of a command is filled: what ``fields`` says, else by name from what is known by then.

By name, the nearest wins: for an action the successes of the steps before it, nearest first, then the start event; for
a compensation the step's own success (unknown while it is in doubt), then the same. Within an ``each`` the item comes
between the steps of its member and those around.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kantor_orchestrator.definitions import expressions
from kantor_orchestrator.definitions.expressions import Formula, Literal, Plain, Ref
from kantor_orchestrator.definitions.own_messages import CALL_SUCCEEDED, TASK_SUCCEEDED
from kantor_orchestrator.definitions.scopes import Scope
from kantor_schemas import Schema

#: An Avro record's field, as its schema has it.
Field = Mapping[str, Any]


def fields_of(schema: Schema | None) -> dict[str, Field]:
    """A record's fields by name; none of an unknown one."""
    return {field["name"]: field for field in schema["fields"]} if schema else {}


@dataclass(frozen=True, slots=True)
class Filling:
    """One field of one command. ``sources`` in the order of preference; ``explicit``: what ``fields`` says of it."""

    field: Field
    sources: tuple[Ref, ...]
    explicit: Ref | Literal | Formula | None

    @property
    def name(self) -> str:
        return str(self.field["name"])

    @property
    def has_default(self) -> bool:
        return "default" in self.field


def fillings(
    schema: Schema | None, written: Mapping[str, Plain], known: Mapping[str, Scope]
) -> Iterator[Filling]:
    """How the fields of a command are filled; none of an unknown one."""
    for name, field in fields_of(schema).items():
        if name in written:
            explicit = expressions.parse(written[name])
            yield Filling(field, (explicit,) if isinstance(explicit, Ref) else (), explicit)
        else:
            sources = (Ref(s.name, name) for s in known.values() if _can_give(s, name))
            yield Filling(field, tuple(sources), None)


def _can_give(scope: Scope, name: str) -> bool:
    """Composites' lists and what Kantor's own events say are for expressions: nothing is filled with them by name."""
    if scope.event in (TASK_SUCCEEDED, CALL_SUCCEEDED):
        return False
    return (scope.is_event or scope.name == "item") and name in scope.fields
