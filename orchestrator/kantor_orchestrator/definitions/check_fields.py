"""Can every field of every command be filled, at the time when it is sent, with a value that fits?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kantor_orchestrator.core.saga import START
from kantor_orchestrator.definitions import avro
from kantor_orchestrator.definitions.expressions import Literal, Ref
from kantor_orchestrator.definitions.filling import Filling, Scopes, fields_of
from kantor_orchestrator.definitions.model import RESERVED
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_schemas import Schema


class FieldCheck:
    """``around``: where a problem is put when nothing is written of the field."""

    def __init__(self, found: Findings, scopes: Scopes, catalog: Mapping[str, Schema]) -> None:
        self._found = found
        self._scopes = scopes
        self._catalog = catalog

    def action(
        self, step: str, type_: str, written: Iterable[str], places: tuple[Path, ...], around: Path
    ) -> None:
        """The fields of a step's command; ``places`` of its ``fields``."""
        self._unknown(type_, written, places)
        known = self._scopes.known(step, compensation=False)
        for filling in self._scopes.action(step):
            at = _places(filling, places, around)
            if self._exists(filling, step, known, at):
                self._suits(type_, filling, at)

    def compensation(self, step: str, type_: str, written: Iterable[str], place: Path, around: Path) -> None:
        """The fields of the command that reverses a step.

        It must be sendable while the step is in doubt; and when a choreographed step was heard of before the steps that
        come before it, as events of several topics are.
        """
        choreographed = self._scopes.is_choreographed(step)
        self._unknown(type_, written, (place,))
        known = self._scopes.known(step, compensation=True)
        for filling in self._scopes.compensation(step):
            at = _places(filling, (place,), around)
            if not self._exists(filling, step, known, at):
                continue
            self._suits(type_, filling, at)
            if filling.has_default or filling.literal:
                continue
            scopes = {ref.scope for ref in filling.sources}
            if scopes == {step}:
                self._found.add(
                    f"{type_}.{filling.name} is known only once {step} has succeeded, "
                    f"but {step} is also compensated while nobody knows whether it happened",
                    "fill it from start or an earlier step under `fields`, or give it a default in its schema",
                    *at,
                )
            elif choreographed and scopes.isdisjoint({step, START}):
                self._found.add(
                    f"{type_}.{filling.name} is known only from {', '.join(sorted(scopes))}, "
                    f"whose event may come after {step}'s own",
                    f"put it into {self._scopes.event(step)} or {self._scopes.event(START)} too, "
                    f"or give it a default in its schema",
                    *at,
                )

    def _unknown(self, type_: str, written: Iterable[str], places: tuple[Path, ...]) -> None:
        has = fields_of(self._catalog[type_])
        for field in written:
            if field not in has:
                near = nearest(field, has)
                remedy = f"did you mean {near}?" if near else f"it has {', '.join(has) or 'none'}"
                self._found.add(f"{type_} has no field {field}", remedy, *((*p, field) for p in places))

    def _exists(self, filling: Filling, step: str, known: list[str], at: tuple[Path, ...]) -> bool:
        """Whether there is something to fill the field with; a problem if there must be."""
        if isinstance(filling.explicit, Ref):
            return self._names_something(filling.explicit, step, known, at)
        if filling.explicit is None and not filling.sources:
            if not filling.has_default:
                events = ", ".join(self._scopes.event(scope) for scope in known)
                self._found.add(
                    f"nothing fills the field {filling.name}: no such field in {events}",
                    "fill it under `fields`, or give it a default in its schema",
                    *at,
                )
            return False
        return True

    def _names_something(self, ref: Ref, step: str, known: list[str], at: tuple[Path, ...]) -> bool:
        if ref.scope not in known:
            if ref.scope in RESERVED:
                what = f"the scope `{ref.scope}` is not supported by this version of Kantor"
            elif self._scopes.is_step(ref.scope):
                what = f"{ref}: {ref.scope} has not succeeded by the time when {step}'s command is sent"
            else:
                what = f"{ref}: there is no step {ref.scope}"
            near = "" if self._scopes.is_step(ref.scope) else nearest(ref.scope, known)
            remedy = f"did you mean {near}.{ref.name}?" if near else f"known by then: {', '.join(known)}"
            self._found.add(what, remedy, *at)
            return False
        event, fields = self._scopes.event(ref.scope), self._scopes.fields(ref.scope)
        if event in self._catalog and ref.name not in fields:
            near = nearest(ref.name, fields)
            remedy = f"did you mean {ref.scope}.{near}?" if near else f"it has {', '.join(fields) or 'none'}"
            self._found.add(f"{ref}: {event} has no field {ref.name}", remedy, *at)
        return ref.name in fields

    def _suits(self, type_: str, filling: Filling, at: tuple[Path, ...]) -> None:
        """Whether the values fit, by Avro type and logical type."""
        target = avro.field_type(self._catalog[type_], filling.name)
        wanted = f"{type_}.{filling.name} wants {avro.shown(target)}"
        if isinstance(filling.explicit, Literal):
            if not avro.literal_fits(filling.explicit.value, target):
                what = f"the literal {filling.explicit.value!r} does not fit: {wanted}"
                self._found.add(what, "write another one, or take it from an event", *at)
            return
        for ref in filling.sources:
            source = avro.field_type(self._scopes.schema(ref.scope), ref.name)
            if not avro.fits(source, target):
                self._found.add(
                    f"{ref} is {avro.shown(source)}, but {wanted}",
                    "fill it from another field under `fields`, or change one of the schemas",
                    *at,
                )


def _places(filling: Filling, places: tuple[Path, ...], around: Path) -> tuple[Path, ...]:
    named = tuple((*p, filling.name) for p in places) if filling.explicit is not None else ()
    return (*named, around)
