"""The Avro type of what an expression gives, as far as it can be told; ``ANY`` where it can't.

CEL's library gives no types, so the text is gone through once more, by CEL's precedence; its syntax is right, CEL has
accepted it. A field keeps the type that its schema says. What is computed is taken for the narrowest type that it could be
written as: whether a sum fits an ``int`` shows only when it is there, and nothing is refused that may be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kantor_orchestrator.definitions.references import Token, tokens

#: Any value: of a type that is not known before the transaction runs.
ANY: Any = None
BOOLEAN: Any = {"type": "boolean"}
_STRING, _BYTES, _NULL = {"type": "string"}, {"type": "bytes"}, {"type": "null"}
#: Numbers that are computed. ``int`` may be written as ``long`` and as both others, ``float`` as ``double``.
_WHOLE, _BROKEN = {"type": "int"}, {"type": "float"}

#: CEL's own, which Avro lacks: no field takes it, and JSON has none.
DURATION: Any = {"type": "duration"}

#: How strongly operators bind; all from left to right.
_BINDS = {"||": 1, "&&": 2}
_BINDS |= dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3)
_BINDS |= {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_LITERALS = {"true": BOOLEAN, "false": BOOLEAN, "null": _NULL}
#: What functions and methods give, whatever they are called with.
_GIVES = dict.fromkeys(("all", "exists", "exists_one", "has", "bool"), BOOLEAN)
_GIVES |= dict.fromkeys(("contains", "startsWith", "endsWith", "matches"), BOOLEAN)
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
        return _Reader(text, known, typed).whole()
    except (_Unknown, LookupError, RecursionError):  # types that hold themselves can't be compared
        return ANY


def summed(text: str, known: Mapping[str, Any], typed: Typed) -> list[Any]:
    """The types of what an expression gives to ``sum``, in the order of writing, as far as they can be told."""
    reader = _Reader(text, known, typed)
    with suppress(_Unknown, LookupError, RecursionError):
        reader.whole()
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
    """Goes through the tokens once. Each method takes what it is about, and gives its type."""

    def __init__(self, text: str, known: Mapping[str, Any], typed: Typed) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._known = known
        self._typed = typed
        self._bound: dict[str, Any] = {}  # variables of the macros around
        self.summed: list[Any] = []

    def whole(self) -> Any:
        found = self._choice()
        return found if self._at == len(self._tokens) else ANY

    # -- tokens

    def _next(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, *signs: str) -> bool:
        token = self._next()
        return token is not None and token.kind != "text" and token.text in signs

    def _take(self, *signs: str) -> Token:
        token = self._next()
        if token is None or (signs and not self._is(*signs)):
            raise _Unknown
        self._at += 1
        return token

    # -- operators

    def _choice(self) -> Any:
        found = self._operation(1)
        if not self._is("?"):
            return found
        self._take()
        one = self._choice()
        self._take(":")
        # Mostly the condition asks whether something is null: what is chosen then is not.
        return _either(_present(one), _present(self._choice()))

    def _operation(self, least: int) -> Any:
        found = self._sign()
        while (token := self._next()) is not None and token.kind != "text":
            strength = _BINDS.get(token.text, 0)
            if strength < least:
                break
            self._take()
            found = _operated(token.text, found, self._operation(strength + 1))
        return found

    def _sign(self) -> Any:
        if self._is("!"):
            self._take()
            self._sign()
            return BOOLEAN
        if self._is("-"):
            self._take()
            return _operated("-", _WHOLE, self._sign())
        return self._chain()

    # -- names, and what follows them

    def _chain(self) -> Any:
        token = self._take()
        found = self._begin(token)
        root = token.text if token.kind == "name" and token.text not in self._bound else ""
        while self._is(".", "["):
            if self._take().text == "[":
                found = self._element(found)
            else:
                name = self._take().text
                if self._is("("):
                    found = self._method(found, name)
                elif root in self._known:
                    found = self._typed((root, name))
                else:
                    found = _member(found, name)
            root = ""
        return found

    def _begin(self, token: Token) -> Any:
        if token.kind == "text":
            return _text(token.text)
        if token.kind == "number":
            return _BROKEN if set(token.text) & set(".eE") and token.text[:2].lower() != "0x" else _WHOLE
        if token.kind == "name":
            if self._is("("):
                return self._function(token.text)
            if token.text in _LITERALS:
                return _LITERALS[token.text]
            return self._bound[token.text] if token.text in self._bound else self._known.get(token.text, ANY)
        if token.text == "(":
            found = self._choice()
            self._take(")")
            return found
        if token.text == "[":
            return self._list()
        raise _Unknown  # a map: a record, or a map, by its target

    def _list(self) -> Any:
        items = []
        while not self._is("]"):
            items.append(self._choice())
            if not self._is("]"):
                self._take(",")
        self._take("]")
        return {"type": "array", "items": _either(*items) if items else ANY}

    def _function(self, name: str) -> Any:
        self._take("(")
        if name == "sum":
            given = self._choice()
            self._take(")")
            self.summed.append(given)
            return _number(branch(given, "array").get("items", ANY))
        self._argument()
        return _GIVES.get(name, ANY)

    def _method(self, of: Any, name: str) -> Any:
        self._take("(")
        if name not in ("map", "filter"):
            self._skip()
            return _WHOLE if name.startswith("get") else _GIVES.get(name, ANY)
        items = branch(of, "array").get("items", ANY)
        variable = self._take().text
        self._take(",")
        before = self._bound
        self._bound = {**before, variable: items}
        found = self._choice()
        picked = name == "filter"
        if self._is(","):  # map(variable, condition, what)
            self._take()
            found, picked = self._choice(), True
        self._bound = before
        self._take(")")
        if name == "filter":
            return {"type": "array", "items": _picked(items)} if branch(of, "array") else ANY
        return {"type": "array", "items": _present(found) if picked or _is_picked(items) else found}

    def _element(self, of: Any) -> Any:
        token, index = self._next(), self._choice()
        self._take("]")
        if map_ := branch(of, "map"):
            return map_["values"]
        if array := branch(of, "array"):
            return array["items"]
        named = token is not None and token.kind == "text" and index is not ANY and index.get("text")
        return _member(of, index["symbols"][0]) if named else ANY

    def _argument(self) -> None:
        """The only argument of a function, for what is in it; to behind the bracket that closes."""
        before = self._at
        try:
            self._choice()
            self._take(")")
        except (_Unknown, LookupError):
            self._at = before
            self._skip()

    def _skip(self) -> None:
        """To behind the bracket that closes what is open."""
        depth = 1
        while depth:
            token = self._take()
            if token.kind == "sign":
                depth += (token.text in "([{") - (token.text in ")]}")


def _member(type_: Any, name: str) -> Any:
    if map_ := branch(type_, "map"):
        return map_["values"]
    fields = {field["name"]: field["type"] for field in branch(type_, "record").get("fields", ())}
    return fields.get(name, ANY)


def _text(written: str) -> Any:
    """A text can be written as a string, and as an enum that has it."""
    if written[0] in "bB":
        return _BYTES
    quotes = written.lstrip("rR")
    width = 3 if quotes[:3] in ("'''", '"""') else 1
    if "\\" in written:
        return _STRING
    return {"type": "enum", "name": "text", "symbols": [quotes[width:-width]], "text": True}


def _operated(sign: str, one: Any, other: Any) -> Any:
    if _BINDS[sign] <= 3:
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
