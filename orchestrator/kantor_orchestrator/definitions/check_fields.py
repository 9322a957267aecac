"""Can every field of every command be filled, at the time when it is sent, with a value that fits?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kantor_orchestrator.core.saga import START
from kantor_orchestrator.core.step_kinds import KINDS
from kantor_orchestrator.definitions import avro
from kantor_orchestrator.definitions.check_formulas import FormulaCheck
from kantor_orchestrator.definitions.expressions import Formula, Literal, Plain, Ref
from kantor_orchestrator.definitions.filling import Filling, fields_of, fillings
from kantor_orchestrator.definitions.kinds import ANY
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_orchestrator.definitions.scopes import Scope, Scopes
from kantor_orchestrator.definitions.tree import Node


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is sent. ``places`` of its ``fields``; ``around``: where a problem is put when nothing is written of
    the field. ``when``: the time by which its fields must be known, as the end of a sentence."""

    type: str
    written: Mapping[str, Plain]
    known: Mapping[str, Scope]
    node: Node | None
    when: str
    places: tuple[Path, ...]
    around: Path
    compensates: bool = False


class FieldCheck:
    def __init__(self, found: Findings, scopes: Scopes, formulas: FormulaCheck) -> None:
        self._found = found
        self._scopes = scopes
        self._formulas = formulas

    def check(self, sent: Sent) -> None:
        """The fields of a message whose type is known."""
        schema = self._scopes.schemas[sent.type]
        self._unknown(sent.type, sent.written, sent.places)
        for filling in fillings(schema, sent.written, sent.known):
            at = _places(filling, sent.places, sent.around)
            if self._exists(filling, sent, at):
                self._suits(sent, filling, at)
                self._is_known(sent, filling, at)

    def _unknown(self, type_: str, written: Iterable[str], places: tuple[Path, ...]) -> None:
        has = fields_of(self._scopes.schemas[type_])
        for field in written:
            if field not in has:
                near = nearest(field, has)
                remedy = f"did you mean {near}?" if near else f"it has {', '.join(has) or 'none'}"
                self._found.add(f"{type_} has no field {field}", remedy, *((*p, field) for p in places))

    def _exists(self, filling: Filling, sent: Sent, at: tuple[Path, ...]) -> bool:
        """Whether there is something to fill the field with; a problem if there must be."""
        if isinstance(filling.explicit, Ref):
            return self._formulas.ref(filling.explicit, sent.known, sent.node, sent.when, *at)
        if isinstance(filling.explicit, Formula):
            return self._formulas.check(filling.explicit.text, sent.known, sent.node, sent.when, *at)
        if filling.explicit is None and not filling.sources:
            if not filling.has_default:
                events = ", ".join(_named(scope) for scope in sent.known.values() if _has_fields(scope))
                self._found.add(
                    f"nothing fills the field {filling.name}: no such field in {events}",
                    "fill it under `fields`, or give it a default in its schema",
                    *at,
                )
            return False
        return True

    def _suits(self, sent: Sent, filling: Filling, at: tuple[Path, ...]) -> None:
        """Whether the values fit, by Avro type and logical type."""
        target = avro.field_type(self._scopes.schemas[sent.type], filling.name)
        wanted = f"{sent.type}.{filling.name} wants {avro.shown(target)}"
        if isinstance(filling.explicit, Literal):
            if not avro.literal_fits(filling.explicit.value, target):
                what = f"the literal {filling.explicit.value!r} does not fit: {wanted}"
                self._found.add(what, "write a literal of that type, or take the value from an event", *at)
            return
        if (union := avro.lookalikes(target)) is not None:
            self._found.add(
                f"{wanted}: once it has been read, a value could be any of {avro.shown(union)}, and the wrong "
                "type might be sent",
                "give each of them a nullable field of its own, or use one type and a field that names the variant",
                *at,
            )
            return
        if isinstance(filling.explicit, Formula):
            text = filling.explicit.text
            given = [(text, self._formulas.type_of(text, sent.known))]
        else:
            given = [(str(r), self._scopes.typed((r.scope, r.name), sent.known)) for r in filling.sources]
        for name, source in given:
            if source is not ANY and not avro.fits(source, target):
                self._found.add(
                    f"{name} is {avro.shown(source)}, but {wanted}",
                    "fill it from another field under `fields`, or change one of the schemas",
                    *at,
                )

    def _is_known(self, sent: Sent, filling: Filling, at: tuple[Path, ...]) -> None:
        """Whether the value is there whenever the message may be sent.

        A compensation must be sendable while its step is in doubt; and when a choreographed step was heard of before the
        steps that come before it, as events of several topics are.
        """
        if filling.has_default or isinstance(filling.explicit, Literal | Formula):
            return
        scopes = {ref.scope: sent.known[ref.scope] for ref in filling.sources}
        if any(not s.is_event and s.certain for s in scopes.values()):
            return
        node, name = sent.node, f"{sent.type}.{filling.name}"
        if (
            node is not None
            and sent.compensates
            and set(scopes) == {node.name}
            and not scopes[node.name].certain
        ):
            self._found.add(
                f"{name} is known only once {node.name} has succeeded, "
                f"but {node.name} is also compensated while its outcome is unknown",
                "fill it from start or an earlier step under `fields`, or give it a default in its schema",
                *at,
            )
        elif not any(scope.certain for scope in scopes.values()):
            why = "; ".join(f"{root} {self._formulas.why(root, node)}" for root in scopes)
            self._found.add(
                f"{name} may be unknown {sent.when}: {why}",
                "fill it from a value that is always known, use an expression with has(...), "
                "or give it a default in its schema",
                *at,
            )
        elif node is not None and sent.compensates and KINDS[node.step.kind].is_choreographed:
            if not scopes.keys().isdisjoint({node.name, START}):
                return
            own = self._scopes.of(node).event
            self._found.add(
                f"{name} is known only from {', '.join(sorted(scopes))}, "
                f"whose event may arrive after that of {node.name}",
                f"add it to {own} or {self._scopes.saga.starts_on}, or give it a default in its schema",
                *at,
            )


def _has_fields(scope: Scope) -> bool:
    return scope.is_event or scope.name == "item"


def _named(scope: Scope) -> str:
    return scope.event or scope.name


def _places(filling: Filling, places: tuple[Path, ...], around: Path) -> tuple[Path, ...]:
    named = tuple((*p, filling.name) for p in places) if filling.explicit is not None else ()
    return (*named, around)
