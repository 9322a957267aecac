"""The Avro type of what an expression gives, as far as it can be told; ``ANY`` where it can't.

CEL's library gives no types, so they are found by the nodes of the text. A field keeps the type that its schema says. What
is computed is taken for the narrowest type that it could be written as: whether a sum fits an ``int`` shows only when it is
there, and nothing is refused that may be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kantor_orchestrator.definitions import syntax
from kantor_orchestrator.definitions.syntax import BINDS, Node

#: Any value: of a type that is not known before the transaction runs.
ANY: Any = None
BOOLEAN: Any = {"type": "boolean"}
_STRING, _BYTES, _NULL = {"type": "string"}, {"type": "bytes"}, {"type": "null"}
#: Numbers that are computed. ``int`` may be written as ``long`` and as both others, ``float`` as ``double``.
_WHOLE, _BROKEN = {"type": "int"}, {"type": "float"}

#: CEL's own, which Avro lacks: no field takes it, and JSON has none.
DURATION: Any = {"type": "duration"}

#: What functions and methods give, whatever they are called with.
_GIVES = dict.fromkeys(("has", "bool", "contains", "startsWith", "endsWith", "matches"), BOOLEAN)
_GIVES |= {
    "size": _WHOLE,
    "int": _WHOLE,
    "uint": _WHOLE,
    "double": _BROKEN,
    "string": _STRING,
    "bytes": _BYTES,
    "duration": DURATION,
}

#: The type of a field of something, by its path. Raises ``LookupError``.
Typed = Callable[[tuple[str, ...]], Any]


def type_of(text: str, known: Mapping[str, Any], typed: Typed) -> Any:
    """``known``: the types of the names in scope. ``typed``: of a name and a field of it."""
    try:
        return _Reader(known, typed).type_of(syntax.parse(text), {})
    except (_Unknown, LookupError, RecursionError):  # types that hold themselves can't be compared
        return ANY


def summed(text: str, known: Mapping[str, Any], typed: Typed) -> list[Any]:
    """The types of what an expression gives to ``sum``, in the order of writing, as far as they can be told."""
    reader = _Reader(known, typed)
    with suppress(_Unknown, LookupError, RecursionError):
        reader.type_of(syntax.parse(text), {})
    return reader.summed


def branch(type_: Any, kind: str) -> dict[str, Any]:
    """The part of a type that is of a kind: itself, or the only one beside null; empty if there is none."""
    branches = type_ if isinstance(type_, list) else [type_]
    found = [one for one in branches if one is not ANY and one["type"] == kind]
    rest = [one for one in branches if one is ANY or one["type"] not in (kind, "null")]
    return found[0] if len(found) == 1 and not rest else {}


class _Unknown(Exception):  # noqa: N818 - control flow, not a failure
    """Nothing can be said of this."""


class _Reader:
    """``bound`` in the methods: the types of the variables of macros around."""

    def __init__(self, known: Mapping[str, Any], typed: Typed) -> None:
        self._known = known
        self._typed = typed
        self.summed: list[Any] = []

    def type_of(self, node: Node, bound: Mapping[str, Any]) -> Any:
        match node:
            case syntax.Literal():
                return _literal(node)
            case syntax.Name(name):
                return bound[name] if name in bound else self._known.get(name, ANY)
            case syntax.Group(parts=(inner,)):
                return self.type_of(inner, bound)
            case syntax.Member(name, parts=(syntax.Name(root),)) if root in self._known and root not in bound:
                return self._typed((root, name))
            case syntax.Member(name, parts=(of,)):
                return _member(self.type_of(of, bound), name)
            case syntax.Element(parts=(of, index)):
                type_ = self.type_of(of, bound)
                self.type_of(index, bound)
                return _element(type_, index)
            case syntax.Call("sum", parts=(argument,)):
                self.summed.append(self.type_of(argument, bound))
                return _number(branch(self.summed[-1], "array").get("items", ANY))
            case syntax.Call(name, parts=arguments):
                self._pass(arguments, bound)
                return _GIVES.get(name, ANY)
            case syntax.Method(name, parts=(of, *arguments)):
                self.type_of(of, bound)
                self._pass(arguments, bound)
                return _WHOLE if name.startswith("get") else _GIVES.get(name, ANY)
            case syntax.Macro():
                return self._macro(node, bound)
            case syntax.Signed(signs, parts=(of,)):
                found = self.type_of(of, bound)
                for sign in signs:
                    found = _operated("-", _WHOLE, found) if sign == "-" else BOOLEAN
                return found
            case syntax.Operation(signs, parts=(first, *others)):
                found = self.type_of(first, bound)
                for sign, other in zip(signs, others, strict=True):
                    found = _operated(sign, found, self.type_of(other, bound))
                return found
            case syntax.Conditional(parts=(asked, one, other)):
                self.type_of(asked, bound)
                # Mostly the condition asks whether something is null: what is chosen then is not.
                return _either(_present(self.type_of(one, bound)), _present(self.type_of(other, bound)))
            case syntax.List(parts=items):
                types = [self.type_of(item, bound) for item in items]
                return {"type": "array", "items": _either(*types) if types else ANY}
            case _:
                raise _Unknown  # a map: a record, or a map, by its target

    def _pass(self, nodes: Iterable[Node], bound: Mapping[str, Any]) -> None:
        """Parts whose types don't matter, but that may sum."""
        for node in nodes:
            with suppress(_Unknown, LookupError):
                self.type_of(node, bound)

    def _macro(self, node: syntax.Macro, bound: Mapping[str, Any]) -> Any:
        of, *bodies = node.parts
        listed = branch(self.type_of(of, bound), "array")
        items = listed.get("items", ANY)
        inner = {**bound, node.variable: items}
        if node.name not in ("map", "filter"):
            self._pass(bodies, inner)
            return BOOLEAN
        *asked, found = (self.type_of(body, inner) for body in bodies)
        if node.name == "filter":
            return {"type": "array", "items": _picked(items)} if listed else ANY
        return {"type": "array", "items": _present(found) if asked or _is_picked(items) else found}


def _element(type_: Any, index: Node) -> Any:
    if map_ := branch(type_, "map"):
        return map_["values"]
    if array := branch(type_, "array"):
        return array["items"]
    said = index.said if isinstance(index, syntax.Literal) else None
    return ANY if said is None else _member(type_, said)


def _member(type_: Any, name: str) -> Any:
    if map_ := branch(type_, "map"):
        return map_["values"]
    fields = {field["name"]: field["type"] for field in branch(type_, "record").get("fields", ())}
    return fields.get(name, ANY)


def _literal(node: syntax.Literal) -> Any:
    written = node.written
    if node.kind == "name":
        return _NULL if written == "null" else BOOLEAN
    if node.kind == "number":
        return _BROKEN if set(written) & set(".eE") and "x" not in written.lower() else _WHOLE
    if node.said is None:
        return _BYTES if written[0] in "bB" else _STRING
    # A text can be written as a string, and as an enum that has it.
    return {"type": "enum", "name": "text", "symbols": [node.said], "text": True}


def _operated(sign: str, one: Any, other: Any) -> Any:
    if BINDS[sign] <= 3:
        return BOOLEAN
    if sign == "+" and one is not ANY and other is not ANY:
        if _is_text(one) and _is_text(other):
            return _STRING
        arrays = branch(one, "array"), branch(other, "array")
        if all(arrays):
            return {"type": "array", "items": _either(*(array["items"] for array in arrays))}
    if sign == "-" and _is_time(one) and _is_time(other):
        return DURATION
    if sign in "+-" and DURATION in (one, other):
        return DURATION if one == other else ANY
    numbers = _number(one), _number(other)
    if ANY in numbers:
        return ANY
    return _WHOLE if numbers == (_WHOLE, _WHOLE) else _BROKEN


def _number(type_: Any) -> Any:
    """The number that reckoning with it gives; ``ANY`` of what is none, or is reckoned with as something else."""
    if not isinstance(type_, dict) or "logicalType" in type_:
        return ANY
    kind = type_["type"]
    return _WHOLE if kind in ("int", "long") else _BROKEN if kind in ("float", "double") else ANY


def _is_time(type_: Any) -> bool:
    return isinstance(type_, dict) and str(type_.get("logicalType")).startswith("timestamp")


#: What is wrong with a list that may hold null.
NULL_INSIDE = "may hold null"
#: What is read as something else than the number that it is written as.
_NO_NUMBERS = {"date", "time-millis", "time-micros"} | {
    f"{local}timestamp-{unit}" for local in ("", "local-") for unit in ("millis", "micros", "nanos")
}


def unsummable(type_: Any) -> str:
    """What is wrong with summing what is of this type; empty: nothing, as far as can be told. That the list itself may be null
    is another matter."""
    lists = [one for one in (type_ if isinstance(type_, list) else [type_]) if one != _NULL]
    if ANY in lists:
        return ""
    if any(one["type"] != "array" for one in lists):
        return "is no list"
    found = set()
    for one in lists:
        items = one["items"] if isinstance(one["items"], list) else [one["items"]]
        found |= {_summed(item) for item in items}
    if "null" in found:
        return NULL_INSIDE
    if "" in found:
        return "may hold what is no number"
    return "may hold decimals and other numbers" if {"decimal", "number"} <= found else ""


def _summed(item: Any) -> str:
    """As what ``sum`` takes it; empty: as nothing."""
    if item is ANY:
        return "any"
    if item == _NULL or item.get("logicalType") == "decimal":
        return "null" if item == _NULL else "decimal"
    is_number = item["type"] in ("int", "long", "float", "double")
    return "number" if is_number and item.get("logicalType") not in _NO_NUMBERS else ""


def holds_duration(type_: Any) -> bool:
    """Whether a type is a duration, or a list that may hold one."""
    branches = type_ if isinstance(type_, list) else [type_]
    return any(
        one is not ANY
        and (one["type"] == "duration" or (one["type"] == "array" and holds_duration(one["items"])))
        for one in branches
    )


def _is_text(type_: Any) -> bool:
    return isinstance(type_, dict) and type_["type"] in ("string", "enum") and "logicalType" not in type_


def _either(*types: Any) -> Any:
    """One of these; ``ANY`` if one of them is."""
    found: list[Any] = []
    for type_ in types:
        for one in type_ if isinstance(type_, list) else [type_]:
            if one is ANY:
                return ANY
            text = next((other for other in found if other.get("text")), None)
            if text is not None and one.get("text"):
                found[found.index(text)] = {**text, "symbols": [*text["symbols"], *one["symbols"]]}
            elif one not in found:
                found.append(one)
    return found[0] if len(found) == 1 else found


def _present(type_: Any) -> Any:
    """Without null, unless it is nothing else."""
    rest = [one for one in type_ if one is ANY or one["type"] != "null"] if isinstance(type_, list) else []
    return (rest[0] if len(rest) == 1 else rest) if rest else type_


def _picked(items: Any) -> Any:
    """Elements that passed a condition, which may have asked whether something in them is null."""
    return {**items, "picked": True} if isinstance(items, dict) else _present(items)


def _is_picked(items: Any) -> bool:
    return isinstance(items, dict) and "picked" in items
