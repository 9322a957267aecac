"""How deep and how large a value may become that is read from somebody else's bytes, looked at before it is read (wire-10).

Five kilobytes can nest 5,000 records, and reading them ends the process (fastavro recurses in C). A count of 2^62 items of
which each takes no bytes fills the memory. A decimal of 100 KB takes 20 s to become a number. So the bytes are walked
once, without recursion and without making anything, wherever their schema allows such a thing; most schemas don't, and
then this costs nothing.

What a schema allows is computed from it (:func:`walker`):

* *depth*: of values within values; infinite if a named type contains itself.
* *growth*: how many values more than ``4 x bytes`` come out at most, of all that can be encoded: +1 for each value, -4 for each byte
  that it takes at least. An array whose items grow has no bound.
* *decimals*: numbers whose digits nobody has limited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kantor.errors import CodecError, UndecodableError

#: Values within values. Python, JSON and fastavro recurse for each: a thread's stack has room for some 2,000.
MAX_DEPTH = 100
#: Brackets within brackets of a schema: three for a record within a record.
_MAX_NESTING = 200
#: Values that a payload may have whatever its size, and for each of its bytes.
_VALUES, _VALUES_PER_BYTE = 10_000, 4
#: Bytes of a decimal, whatever its precision says: 2,400 digits. To make a number of them takes the square of their count.
_MAX_DECIMAL = 1_000
#: Bytes below which no decimal can take long.
_SMALL = 2_000
#: Characters of a schema.
_MAX_SCHEMA = 1_000_000

#: Walks a value that begins at this offset of these bytes. Raises ``UndecodableError`` if it is too deep or too large. Bytes that
#: end too early are passed: reading them stops there, too.
Walk = Callable[[bytes, int], None]

_INFINITE = float("inf")
#: Of a type whose size does not vary: its bytes.
_FIXED_SIZE = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_VARINTS = ("int", "long", "enum")


def check_nesting(schema: Any) -> None:
    """Raises ``CodecError`` if this JSON nests deeper, or is larger, than any schema should: whoever parses it recurses."""
    level: list[Any] = [schema] if isinstance(schema, dict | list) else []
    depth = size = 0
    while level:
        depth += 1
        size += len(level)
        if depth > _MAX_NESTING or size > _MAX_SCHEMA:
            raise CodecError(f"a schema that nests deeper than {_MAX_NESTING} levels, or has a million parts")
        parts = (value.values() if isinstance(value, dict) else value for value in level)
        level = [part for some in parts for part in some if isinstance(part, dict | list)]


def check_text(text: str) -> None:
    """Raises ``CodecError`` for a schema's text that nobody should try to parse."""
    if len(text) > _MAX_SCHEMA:
        raise CodecError(f"a schema of {len(text)} characters; at most {_MAX_SCHEMA} are read")


def walker(schema: Any, named: Mapping[str, Any]) -> Walk | None:
    """What has to look at each value of this schema before it is read; None: none of its values can do harm.

    ``schema`` is parsed: its names are full, and ``named`` has the types that they name.
    """
    found = _Shape(named)
    depth, growth = found.of(schema)
    if depth <= MAX_DEPTH and growth <= _VALUES:
        if not found.has_decimals:
            return None
        walk = _walk_of(schema, named)
        return lambda data, start: walk(data, start) if len(data) > _SMALL else None
    return _walk_of(schema, named)


class _Shape:
    """Depth and growth, of each named type once. No deeper recursion than the schema's own nesting: a name is defined before
    it is used."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: dict[str, tuple[float, float]] = {}
        self.has_decimals = False

    def of(self, type_: Any) -> tuple[float, float]:
        if isinstance(type_, list):
            parts = [self.of(branch) for branch in type_]
            return _deepest(parts), 1 - 4 + max((growth for _, growth in parts), default=0)
        if isinstance(type_, str) and type_ in self._named:
            return self._name(type_)
        kind = type_["type"] if isinstance(type_, dict) else type_
        if isinstance(kind, dict | list):
            return self.of(kind)
        if kind in ("record", "error"):
            return self._name(type_["name"])
        if kind in ("array", "map"):
            depth, growth = self.of(type_["items" if kind == "array" else "values"])
            grows = growth > 0 if kind == "array" else growth + 1 - 4 > 0
            return depth + 1, _INFINITE if grows else 1 - 4
        if kind in ("bytes", "fixed") and isinstance(type_, dict) and type_.get("logicalType") == "decimal":
            self.has_decimals = True
        if kind == "fixed":
            return 1, 1 - 4 * type_["size"]
        return 1, 1 - 4 * _FIXED_SIZE.get(kind, 1)

    def _name(self, name: str) -> tuple[float, float]:
        known = self._known.get(name)
        if known is None:
            type_ = self._named[name]
            self._known[name] = _INFINITE, _INFINITE  # while it is looked at: it contains itself
            if type_["type"] in ("record", "error"):
                parts = [self.of(field["type"]) for field in type_["fields"]]
                known = _deepest(parts), 1 + sum(growth for _, growth in parts)
            else:
                known = self.of({**type_, "name": ""})
            self._known[name] = known
        return known


def _deepest(parts: list[tuple[float, float]]) -> float:
    return 1 + max((depth for depth, _ in parts), default=0)


def _walk_of(schema: Any, named: Mapping[str, Any]) -> Walk:
    def walk(data: bytes, start: int) -> None:
        with suppress(IndexError):  # the bytes end there
            _walk(schema, named, data, start)

    return walk


def _walk(schema: Any, named: Mapping[str, Any], data: bytes, i: int) -> None:
    left = most = _VALUES + _VALUES_PER_BYTE * len(data)
    size = len(data)
    #: What comes next is last: a type, how deep it is, and how often it comes. A tuple stands for the blocks of what is in it.
    todo: list[tuple[Any, int, int]] = [(schema, 1, 1)]
    while todo:
        if i > size:
            return
        type_, depth, times = todo.pop()
        if times > 1:
            todo.append((type_, depth, times - 1))
        left -= 1
        if left < 0:
            raise UndecodableError(
                f"more than {most} values in {size} bytes: a bomb, or a schema of empty items"
            )
        if depth > MAX_DEPTH:
            raise UndecodableError(f"values nest deeper than {MAX_DEPTH} levels")
        if isinstance(type_, str):
            type_ = named.get(type_, type_)
        if isinstance(type_, tuple):  # the blocks of an array or a map
            count, i = _varint(data, i)
            if count < 0:
                count = -count
                _, i = _varint(data, i)
            if count:
                todo += [(type_, depth, 1), (type_[0], depth + 1, count)]
            continue
        if isinstance(type_, list):
            branch, i = _varint(data, i)
            if not 0 <= branch < len(type_):
                raise UndecodableError(f"a union of {len(type_)} types, of which number {branch} is chosen")
            todo.append((type_[branch], depth + 1, 1))
            continue
        kind = type_["type"] if isinstance(type_, dict) else type_
        if kind in ("record", "error"):
            todo += [(field["type"], depth + 1, 1) for field in reversed(type_["fields"])]
        elif kind == "array":
            todo.append(((type_["items"],), depth, 1))
        elif kind == "map":
            entry = {"type": "record", "fields": [{"type": "string"}, {"type": type_["values"]}]}
            todo.append(((entry,), depth - 1, 1))
        elif kind in ("string", "bytes"):
            length, i = _varint(data, i)
            if length < 0:
                raise UndecodableError(f"a {kind} of {length} bytes")
            _check_decimal(type_, length)
            i += length
        elif kind == "fixed":
            _check_decimal(type_, type_["size"])
            i += type_["size"]
        elif kind in _VARINTS:
            _, i = _varint(data, i)
        elif isinstance(kind, dict | list):
            todo.append((kind, depth, 1))
        else:
            i += _FIXED_SIZE[kind]


def _check_decimal(type_: Any, length: int) -> None:
    if length > _MAX_DECIMAL and isinstance(type_, dict) and type_.get("logicalType") == "decimal":
        raise UndecodableError(f"a decimal of {length} bytes; at most {_MAX_DECIMAL} are read")


def _varint(data: bytes, i: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = data[i]
        i += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return (found >> 1) ^ -(found & 1), i
        shift += 7
        if shift > 63:
            raise UndecodableError("a number of more than 64 bits")
