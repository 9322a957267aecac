"""Avro writers and readers made from schemas: three times as fast as fastavro's general ones, where they can be made.

Encoding and decoding are the largest part of what a message costs in Python (docs/performance.md). So the schema of a
record becomes the source of one function, made once. It handles what messages are mostly made of; a schema with
anything else gets none, and what it does not expect (a missing field, another type, a number out of range, bytes that
do not fit) makes it raise: the caller then asks fastavro, which knows everything and says what is wrong. Where it does
not raise, its result is fastavro's (``tests/unit/test_compiled.py``).

Avro 1.12, "Binary encoding": ints and longs are zigzag varints, strings and bytes a length and their bytes, records
their fields one after the other, arrays blocks of a count and that many items, ended by a count of 0, unions the number
of their branch and then its value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from kantor_schemas import Schema

#: From a value to its bytes; raises one of ``UNEXPECTED`` for a value that it was not made for.
Write = Callable[[Mapping[str, Any]], bytes]
#: From bytes, and where the record starts in them, to the value; the record must end where they end.
Read = Callable[[bytes, int], dict[str, Any]]
UNEXPECTED = (AttributeError, KeyError, IndexError, OverflowError, TypeError, ValueError, struct.error)

#: Texts that are remembered, encoded, by field: types, names and states come again and again, ids do not.
_REMEMBERED = 64

#: Two varint bytes for each 14 bits: those that others follow, and those that are the last.
_MORE = [bytes((n & 127 | 128, n >> 7 | 128)) for n in range(1 << 14)]
_LAST = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(1 << 14)]


def _zigzag(number: int, bits: int) -> bytes:
    n = number << 1 if number >= 0 else ~(number << 1)
    if n >> bits:
        raise OverflowError(f"{number} has more than {bits} bits")
    found = b""
    while n >> 14:
        found += _MORE[n & 0x3FFF]
        n >>= 14
    return found + _LAST[n]


def _int(number: int) -> bytes:
    return _zigzag(number, 32)


def _long(number: int) -> bytes:
    if 1 << 27 <= number < 1 << 41:  # times in milliseconds are: six bytes
        n = number << 1
        return _MORE[n & 0x3FFF] + _MORE[n >> 14 & 0x3FFF] + _LAST[n >> 28]
    if 1 << 13 <= number < 1 << 27:  # offsets are
        n = number << 1
        return _MORE[n & 0x3FFF] + _LAST[n >> 14]
    return _zigzag(number, 64)


#: The varints of small numbers: lengths, counts, versions.
_SMALL = [_long(n) for n in range(1024)]


def _text_writer() -> tuple[Callable[[str], bytes | None], Callable[[str], bytes]]:
    """For one field: looks a text up among those that are remembered; encodes another one."""
    remembered: dict[str, bytes] = {}

    def encode(text: str) -> bytes:
        value = text.encode()
        size = len(value)
        found = (_SMALL[size] if size < 1024 else _long(size)) + value
        if len(remembered) < _REMEMBERED:
            remembered[text] = found
        return found

    return remembered.get, encode


def _bytes(value: bytes) -> bytes:
    if type(value) is not bytes:
        raise TypeError(value)
    return _long(len(value)) + value


def _unlong(b: bytes, i: int) -> tuple[int, int]:
    """The varint at ``i``, and where the next value starts."""
    n = b[i + 1] if b[i] > 127 else 0
    if n < 128:
        found = b[i] & 127 | n << 7
        return (found >> 1) ^ -(found & 1), i + (2 if b[i] > 127 else 1)
    n = int.from_bytes(b[i : i + 6], "little")
    if n & 0x8080_8080_8080 == 0x0080_8080_8080:  # times in milliseconds are: six bytes
        found = (
            n & 0x7F | n >> 1 & 0x3F80 | n >> 2 & 0x1F_C000 | n >> 3 & 0xFE0_0000
            | n >> 4 & 0x7_F000_0000 | n >> 5 & 0x3F8_0000_0000
        )  # fmt: skip
        return (found >> 1) ^ -(found & 1), i + 6
    n = b[i]
    i += 1
    found, shift = n & 127, 7
    while n > 127:
        n = b[i]
        i += 1
        found |= (n & 127) << shift
        shift += 7
        if shift > 70:  # or a megabyte of them makes a number of a megabyte, bit by bit
            break
    if found >> 64 or n > 127:
        raise OverflowError("a varint of more than 64 bits")
    return (found >> 1) ^ -(found & 1), i


def compile_writer(schema: Schema, prefix: bytes = b"") -> Write | None:
    """A function that writes this record after ``prefix``; None if something in the schema is not handled here."""
    source = _WriterSource()
    try:
        parts = source.record(schema, "value", " ")
    except _NotHandledError:
        return None
    lines = ["def write(value):", *source.lines, f" return join(({prefix!r}, {', '.join(parts)}))"]
    code = _code("\n".join(lines))
    if code is None:
        return None
    exec(code, source.names)  # noqa: S102 - our own text: what the schema gives it are field names, as literals
    write: Write = source.names["write"]
    return write


def compile_reader(schema: Schema, only: Collection[str] | None = None) -> Read | None:
    """A function that reads this record; None if something in the schema is not handled here. ``only``: of its fields these;
    texts and bytes of others are passed over, whatever they hold."""
    source = _ReaderSource()
    try:
        value = source.record(schema, " ", only)
    except (_NotHandledError, KeyError, TypeError):  # no record, or no Avro at all: fastavro says so
        return None
    lines = ["def read(b, i):", *source.lines, " if i != len(b): raise IndexError(i)", f" return {value}"]
    code = _code("\n".join(lines))
    if code is None:
        return None
    exec(code, source.names)  # noqa: S102 - as above
    read: Read = source.names["read"]
    return read


@lru_cache(1024)  # a codec is made for each life of a role, the schemas stay the same
def _code(text: str) -> CodeType | None:
    """None if it nests deeper than Python's compiler likes (20 blocks, 100 indents)."""
    try:
        return compile(text, "<schema>", "exec")
    except (SyntaxError, RecursionError, MemoryError):
        return None


class _NotHandledError(Exception):
    pass


class _WriterSource:
    """Collects statements; the methods return expressions for the bytes of a value, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "join": b"".join,
            "small": _SMALL,
            "int_": _int,
            "long": _long,
            "bytes_": _bytes,
            "boolean": {False: b"\0", True: b"\1"},
            "float_": struct.Struct("<f").pack,
            "double": struct.Struct("<d").pack,
        }
        self._count = 0

    def record(self, schema: Schema, value: str, indent: str) -> list[str]:
        parts = []
        for field in schema["fields"]:
            variable = self._new("v")
            self.lines.append(f"{indent}{variable} = {value}[{field['name']!r}]")
            parts += self.value(field["type"], variable, indent)
        return parts

    def value(self, type_: Any, v: str, indent: str) -> list[str]:
        """``v`` is a variable."""
        if isinstance(type_, list):
            return [self._optional(type_, v, indent)]
        if isinstance(type_, dict):
            if "logicalType" in type_:
                raise _NotHandledError
            if type_["type"] == "record":
                return self.record(type_, v, indent)
            if type_["type"] == "array":
                return [self._array(type_["items"], v, indent)]
            type_ = type_["type"]
        if type_ == "string":
            known, encode = self._new("known"), self._new("encode")
            self.names[known], self.names[encode] = _text_writer()
            return [f"{known}({v}) or {encode}({v})"]
        if type_ in ("int", "long"):
            return [f"small[{v}] if 0 <= {v} < 1024 else {'int_' if type_ == 'int' else 'long'}({v})"]
        if type_ == "boolean":
            return [f"boolean[{v}]"]
        if type_ in ("bytes", "float", "double"):
            return [f"{'double' if type_ == 'double' else type_ + '_'}({v})"]
        raise _NotHandledError

    def _optional(self, branches: list[Any], v: str, indent: str) -> str:
        if len(branches) != 2 or "null" not in branches:
            raise _NotHandledError
        null = branches.index("null")
        result = self._new("b")
        self.lines += [f"{indent}if {v} is None: {result} = small[{null}]", f"{indent}else:"]
        parts = self.value(branches[1 - null], v, indent + " ")
        self.lines.append(f"{indent} {result} = join((small[{1 - null}], {', '.join(parts)}))")
        return result

    def _array(self, items: Any, v: str, indent: str) -> str:
        item, found, result = self._new("i"), self._new("f"), self._new("b")
        self.lines += [
            f"{indent}if type({v}) is not list: raise TypeError",
            f"{indent}{found} = []",
            f"{indent}for {item} in {v}:",
        ]
        parts = self.value(items, item, indent + " ")
        self.lines.append(f"{indent} {found} += ({', '.join(parts)},)")
        self.lines.append(
            f"{indent}{result} = long(len({v})) + join({found}) + small[0] if {v} else small[0]"
        )
        return result

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


class _ReaderSource:
    """Collects statements that read values from the bytes ``b`` at ``i``; the methods return expressions for them.

    Nobody looks whether a length leads beyond the end: then ``i`` is not the end when all is read.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "long": _unlong,
            "boolean": {0: False, 1: True},
            "float_": struct.Struct("<f").unpack_from,
            "double": struct.Struct("<d").unpack_from,
        }
        self._count = 0

    def record(self, schema: Schema, indent: str, only: Collection[str] | None = None) -> str:
        fields = []
        for field in schema["fields"]:
            if only is None or field["name"] in only:
                fields.append((field["name"], self.value(field["type"], indent)))
            elif field["type"] in ("string", "bytes"):
                self._add(indent, *_LENGTH, "i = j")
            else:
                self.value(field["type"], indent)
        return "{" + ", ".join(f"{name!r}: {value}" for name, value in fields) + "}"

    def value(self, type_: Any, indent: str) -> str:
        if isinstance(type_, list):
            return self._optional(type_, indent)
        if isinstance(type_, dict):
            if "logicalType" in type_:
                raise _NotHandledError
            if type_["type"] == "record":
                return self.record(type_, indent)
            if type_["type"] == "array":
                return self._array(type_["items"], indent)
            type_ = type_["type"]
        v = self._new("v")
        if type_ in ("string", "bytes"):
            self._add(indent, *_LENGTH, f"{v} = b[i:j]{'.decode()' if type_ == 'string' else ''}", "i = j")
        elif type_ in ("int", "long"):
            self._add(
                indent,
                "n = b[i]",
                f"if n < 128: i += 1; {v} = (n >> 1) ^ -(n & 1)",
                f"else: {v}, i = long(b, i)",
            )
        elif type_ == "boolean":
            self._add(indent, f"{v} = boolean[b[i]]", "i += 1")
        elif type_ in ("float", "double"):
            name, size = ("float_", 4) if type_ == "float" else ("double", 8)
            self._add(indent, f"({v},) = {name}(b, i)", f"i += {size}")
        else:
            raise _NotHandledError
        return v

    def _optional(self, branches: list[Any], indent: str) -> str:
        if len(branches) != 2 or "null" not in branches:
            raise _NotHandledError
        null = branches.index("null")
        v = self._new("v")
        self._add(
            indent, "n = b[i]", "i += 1", f"if n == {2 * null}: {v} = None", f"elif n == {2 - 2 * null}:"
        )
        value = self.value(branches[1 - null], indent + " ")
        self._add(indent, f" {v} = {value}", "else: raise ValueError(n)")
        return v

    def _array(self, items: Any, indent: str) -> str:
        if isinstance(items, dict) and items.get("fields") == []:
            raise _NotHandledError  # a count could be anything: its items take no bytes
        v = self._new("v")
        count = self._new("n")
        self._add(
            indent,
            f"{v} = []",
            "while b[i]:",
            f" {count}, i = long(b, i)",
            f" if {count} < 0: raise ValueError",
        )
        self._add(indent, f" while {count}:", f"  {count} -= 1", "  if i > len(b): raise IndexError")
        value = self.value(items, indent + "  ")
        self._add(indent, f"  {v}.append({value})", "i += 1")
        return v

    def _add(self, indent: str, *lines: str) -> None:
        self.lines += [indent + line for line in lines]

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


#: Where a text or bytes end (``j``): a negative length is not handled.
_LENGTH = (
    "n = b[i]",
    "if n < 128: i += 1",
    "elif b[i + 1] < 128: n = n & 127 | b[i + 1] << 7; i += 2",
    "else: n, i = long(b, i); n += n",
    "if n & 1 or n < 0: raise ValueError",
    "j = i + (n >> 1)",
)
