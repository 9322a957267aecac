"""How each field of a command is filled: what ``fields`` says, else by name from what is known by then.

By name, the nearest wins: for an action the successes of the steps before it, nearest first, then the start event; for
a compensation the step's own success (unknown while it is in doubt), then the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kantor_orchestrator.core.saga import START
from kantor_orchestrator.definitions import expressions, graph
from kantor_orchestrator.definitions.expressions import Literal, Ref
from kantor_orchestrator.definitions.model import SagaModel, StepModel
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
    explicit: Ref | Literal | None

    @property
    def name(self) -> str:
        return str(self.field["name"])

    @property
    def literal(self) -> bool:
        return isinstance(self.explicit, Literal)

    @property
    def has_default(self) -> bool:
        return "default" in self.field


class Scopes:
    """What is known when a command of a step goes out."""

    def __init__(self, saga: SagaModel, schemas: Mapping[str, Schema]) -> None:
        self._saga = saga
        self._schemas = schemas
        self._graph = {name: step.after for name, step in saga.steps.items()}

    def is_step(self, scope: str) -> bool:
        return scope in self._saga.steps

    def is_choreographed(self, step: str) -> bool:
        return self._saga.steps[step].command is None

    def event(self, scope: str) -> str:
        """The type of the event whose fields ``scope`` names."""
        return self._saga.starts_on if scope == START else self._saga.steps[scope].succeeds_on or ""

    def fields(self, scope: str) -> dict[str, Field]:
        return fields_of(self._schemas.get(self.event(scope)))

    def field(self, ref: Ref) -> Field | None:
        return self.fields(ref.scope).get(ref.name)

    def schema(self, scope: str) -> Schema:
        return self._schemas[self.event(scope)]

    def known(self, step: str, *, compensation: bool) -> list[str]:
        """The scopes that may be named, nearest first."""
        own = [step] if compensation else []
        return [*own, *graph.before(self._graph, step), START]

    def action(self, name: str) -> list[Filling]:
        """How the fields of a step's command are filled; none of a choreographed step, or of an unknown command."""
        step = self._saga.steps[name]
        schema = self._schemas.get(step.command.type) if step.command else None
        return list(self._fillings(name, schema, step.command_fields(), compensation=False))

    def compensation(self, name: str) -> list[Filling]:
        step: StepModel = self._saga.steps[name]
        if step.compensate_with is None:
            return []
        schema = self._schemas.get(step.compensate_with.command)
        return list(self._fillings(name, schema, step.compensate_with.fields, compensation=True))

    def _fillings(
        self,
        step: str,
        schema: Schema | None,
        written: Mapping[str, expressions.Plain],
        *,
        compensation: bool,
    ) -> Iterator[Filling]:
        for name, field in fields_of(schema).items():
            if name in written:
                explicit = expressions.parse(written[name])
                yield Filling(field, (explicit,) if isinstance(explicit, Ref) else (), explicit)
            else:
                scopes = self.known(step, compensation=compensation)
                yield Filling(field, tuple(Ref(s, name) for s in scopes if name in self.fields(s)), None)
