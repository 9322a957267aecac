"""What the names in an expression mean, seen from a step: which are known by then, and what Avro says of their fields.

The nearest name wins: the step itself (in a compensation, a match), the steps before it, ``item`` and ``index`` of the
``each`` around it, the steps before the composites around it, ``start``. A composite is a record of its own:
``succeeded`` and ``failed`` are lists of its members. A type that nobody knows is ``None``: anything goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kantor_orchestrator.core.saga import START
from kantor_orchestrator.definitions import avro, expressions, kinds, meaning
from kantor_orchestrator.definitions.kinds import ANY, branch
from kantor_orchestrator.definitions.meaning import Children
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.own_messages import with_own
from kantor_orchestrator.definitions.references import ELEMENT, Use
from kantor_orchestrator.definitions.tree import Node, Tree
from kantor_schemas import Schema

#: Avro types by those of Python, for what CEL makes of literals.
_LITERALS = {bool: "boolean", int: "long", float: "double", str: "string", bytes: "bytes", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Scope:
    """A name and what it means. ``source``: the definition's path of the step whose event it is (``start``); empty of
    what has no event. ``certain``: it is known whenever the step is reached."""

    name: str
    type: Any
    source: str = ""
    event: str = ""
    certain: bool = True
    #: The types of its fields by name; none of what is not a record.
    fields: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = {one["name"]: one["type"] for one in _record(self.type).get("fields", ())}
        object.__setattr__(self, "fields", found)

    @property
    def is_event(self) -> bool:
        return bool(self.source)


class Scopes:
    """The names of one saga."""

    def __init__(self, saga: SagaModel, schemas: Mapping[str, Schema], children: Children) -> None:
        self.saga = saga
        self.tree = Tree(saga)
        self.schemas = with_own(schemas)
        self.children = children
        self._items: dict[str, Any] = {}
        # A step's names are asked for again by each step after it, and by each of its expressions.
        self._events: dict[str, Any] = {}
        self._scopes: dict[tuple[str, bool], Scope] = {}
        self._known: dict[tuple[str, bool], dict[str, Scope]] = {}

    # -- what a name means

    def start(self) -> Scope:
        return Scope(START, self.type_of_event(self.saga.starts_on), START, self.saga.starts_on)

    def of(self, node: Node, *, certain: bool | None = None) -> Scope:
        """What a step's name means."""
        certain = not node.may_be_missing if certain is None else certain
        key = node.path, certain
        if key not in self._scopes:
            self._scopes[key] = self._of(node, certain)
        return self._scopes[key]

    def _of(self, node: Node, certain: bool) -> Scope:
        if node.step.steps:
            return Scope(node.name, self._composite(node), certain=certain)
        return Scope(node.name, self.success(node), node.path, meaning.success(node.step), certain)

    def success(self, node: Node) -> Any:
        """The type of what is known of a step once it has succeeded."""
        return node.step.form.result(node, self)

    def event(self, type_: str) -> Scope:
        """``event`` in a match."""
        return Scope("event", self.type_of_event(type_), event=type_)

    # -- what is known where

    def known(self, node: Node, *, own: bool = False) -> dict[str, Scope]:
        """What may be named in what a step sends, nearest first. ``own``: its own success too (of a compensation), known
        for certain only if the step is not compensated while nobody knows whether it happened."""
        key = node.path, own
        if key not in self._known:
            self._known[key] = self._find(node, own)
        return dict(self._known[key])

    def _find(self, node: Node, own: bool) -> dict[str, Scope]:
        found: dict[str, Scope] = {}
        if own:
            found[node.name] = self.of(node, certain=node.step.doubt != "compensate")
        for place in (node, *node.around):
            for before in self.tree.before(place):
                found.setdefault(before.name, self.of(before))
            if place.parent is not None and place.parent.step.each is not None and "item" not in found:
                found["item"] = Scope("item", self.item(place.parent))
                found["index"] = Scope("index", {"type": "int"})
        return {**found, START: self.start()}

    def at_end(self, status: str) -> dict[str, Scope]:
        """What may be named in the message that a transaction ends with, and in what it returns."""
        found = {
            node.name: self.of(node, certain=status == "completed" and not node.may_be_missing)
            for node in reversed(self.tree.ordered())
            if node.parent is None
        }
        return {**found, START: self.start()}

    def item(self, composite: Node) -> Any:
        """The type of an ``each``'s items; ``ANY`` if it is not known."""
        if composite.path not in self._items:
            self._items[composite.path] = ANY  # of an `each` over itself
            self._items[composite.path] = self._item(composite)
        return self._items[composite.path]

    def _item(self, composite: Node) -> Any:
        list_ = self.listed(composite)
        return ANY if list_ is ANY else branch(list_, "array").get("items", ANY)

    def listed(self, composite: Node) -> Any:
        """The type of what an ``each`` goes over; ``ANY`` if it is not known."""
        text = composite.step.each or ""
        if (found := expressions.literal(text)) is not None:
            return _of_literal(found[0])
        ref = expressions.as_ref(text)
        scope = self.known(composite).get(ref.scope) if ref else None
        return scope.fields.get(ref.name, ANY) if ref and scope else ANY

    # -- types

    def typed(self, path: tuple[str, ...], known: Mapping[str, Scope]) -> Any:
        """The type at a path; ``ANY`` if it is not known. Raises ``LookupError(name, known names)`` where it ends."""
        type_: Any = known[path[0]].type
        for name in path[1:]:
            if type_ is ANY:
                return ANY
            if name == ELEMENT:
                inner = branch(type_, "array").get("items", branch(type_, "map").get("values", ANY))
                type_ = inner
                continue
            if map_ := branch(type_, "map"):
                type_ = map_["values"]
                continue
            fields = {field["name"]: field["type"] for field in _record(type_).get("fields", ())}
            if name not in fields:
                if name == "status" and known[path[0]].is_event and len(path) == 2:
                    return {"type": "string"}  # of the step itself
                raise LookupError(name, tuple(fields))
            type_ = fields[name]
        return type_

    def type_of(self, text: str, known: Mapping[str, Scope]) -> Any:
        """The type of what an expression gives; ``ANY`` as far as it can't be told."""
        types = {name: scope.type for name, scope in known.items()}
        return kinds.type_of(text, types, lambda path: self.typed(path, known))

    def summed(self, text: str, known: Mapping[str, Scope]) -> list[Any]:
        """The types of what an expression gives to ``sum``."""
        types = {name: scope.type for name, scope in known.items()}
        return kinds.summed(text, types, lambda path: self.typed(path, known))

    def captured(
        self, path: tuple[str, ...], node: Node | None, *, listed: bool
    ) -> Iterator[tuple[str, str | None]]:
        """The events and fields (None: all) that must be captured for what is read at ``path`` from ``node``."""
        step = self._named(path[0], node)
        if path[0] == START:
            yield self.saga.starts_on, _field(path)
        elif step is not None and not step.step.steps:
            yield meaning.success(step.step), _field(path)
        elif step is not None and not (listed and len(path) == 2) and path[1:2] != ("status",):
            inner = self.tree.children(step)
            if step.step.each is not None:
                if len(path) > 3 and path[3] in inner:
                    inner = {path[3]: inner[path[3]]}
                    yield from ((meaning.success(n.step), _field(path[3:])) for n in inner.values())
                    return
                if len(path) > 3 and path[3] in ("item", "index"):
                    return
                yield from ((meaning.success(n.step), None) for n in inner.values())
            else:
                wanted = path[3] if len(path) > 3 else None
                for child in inner.values():
                    if wanted is None or wanted in self.of(child).fields:
                        yield meaning.success(child.step), wanted

    def is_flag(self, use: Use, node: Node) -> bool:
        """Whether ``X.succeeded`` and ``X.failed`` can mean how the step X ended."""
        step = self._named(use.path[0], node)
        return step is not None and (bool(step.step.steps) or use.path[1] not in self.of(step).fields)

    def _named(self, name: str, node: Node | None) -> Node | None:
        if node is None:
            return self.tree.children(None).get(name)
        return node if node.name == name else self.tree.visible(node).get(name)

    def type_of_event(self, type_: str) -> Any:
        """``ANY`` if its schema is not known."""
        if type_ not in self._events:
            schema = self.schemas.get(type_)
            self._events[type_] = avro.expand(schema) if schema else ANY
        return self._events[type_]

    def _composite(self, node: Node) -> Any:
        children = self.tree.children(node).values()
        if node.step.each is not None:
            fields: dict[str, Any] = {"item": self.item(node), "index": {"type": "int"}}
            fields |= {c.name: self.success(c) for c in children if not c.step.steps}
        else:
            fields = {"name": {"type": "string"}}
            for child in children:
                fields |= self.of(child).fields if not child.step.steps else {}
        members = {"type": "array", "items": avro.record("member", fields)}
        return avro.record(node.name, {"succeeded": members, "failed": members, "status": {"type": "string"}})


def _field(path: tuple[str, ...]) -> str | None:
    return path[1] if len(path) > 1 and path[1] != ELEMENT else None


def _record(type_: Any) -> dict[str, Any]:
    return {} if type_ is ANY else branch(type_, "record")


def _of_literal(value: Any) -> Any:
    if isinstance(value, list | tuple):
        kinds = [_of_literal(item) for item in value]
        same = bool(kinds) and all(kind == kinds[0] for kind in kinds)
        return {"type": "array", "items": kinds[0] if same else ANY}
    if isinstance(value, dict):
        return avro.record("literal", {name: _of_literal(inner) for name, inner in value.items()})
    if isinstance(value, datetime | timedelta):
        return ANY
    return {"type": _LITERALS.get(type(value), "string")}
