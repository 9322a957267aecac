"""What hostile bytes and schemas can't do: nest without end, grow without end, take time without end (wire-10)."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kantor.bounds import MAX_DEPTH
from kantor.codec import Codec, MemorySchemas, parse_schema
from kantor.compiled import compile_reader
from kantor.errors import CodecError, UndecodableError
from kantor_schemas import Schema


def record(name: str = "x.R", **fields: Any) -> Schema:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}


NODE = record("x.Node", next=["null", "x.Node"])
TREE = record(
    "x.Tree", leaves={"type": "array", "items": "x.Tree"}, named={"type": "map", "values": "x.Tree"}
)
NULLS = record(a={"type": "array", "items": "null"})
HOLLOW = record(a={"type": "array", "items": record("x.A", b=record("x.B", c=record("x.C")))})
FIXED = record(a={"type": "array", "items": {"type": "fixed", "name": "x.F", "size": 0}})
WIDE = record(a={"type": "map", "values": record("x.Wide", **{f"f{n}": "null" for n in range(50)})})
DECIMAL = record(d={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2})
FIXED_DECIMAL = record(
    d={"type": "fixed", "name": "x.D", "size": 100_000, "logicalType": "decimal", "precision": 9}
)


def doubling(levels: int) -> Schema:
    """Each level has the one below it twice: 2^levels values in no byte at all."""
    below: Any = record("x.L0", a="null")
    for level in range(1, levels):
        below = record(f"x.L{level}", a=below, b=f"x.L{level - 1}")
    return {**below, "name": "x.R"}


def chain(levels: int) -> Schema:
    """Named types that contain each other, none itself: deep values by a flat schema."""
    types: dict[str, Any] = {"t0": record("x.T0")}
    for level in range(1, levels):
        types[f"t{level}"] = record(f"x.T{level}", a=f"x.T{level - 1}")
    return record(**types)


def varint(number: int) -> bytes:
    found, left = b"", number << 1 if number >= 0 else ~(number << 1)
    while left > 127:
        found += bytes([left & 127 | 128])
        left >>= 7
    return found + bytes([left])


def read(schema: Schema, body: bytes) -> dict[str, Any]:
    schemas = MemorySchemas()
    return Codec(schemas).decode(b"\0" + schemas.id_of(schema, "t").to_bytes(4, "big") + body)


@pytest.mark.parametrize(
    ("schema", "body", "reason"),
    [
        pytest.param(NODE, b"\2" * 5_000 + b"\0", "nest deeper than 100", id="a list in a list"),
        pytest.param(NODE, b"\2" * 200_000 + b"\0", "nest deeper than 100", id="very deep"),
        pytest.param(TREE, b"\2" * 3_000, "nest deeper than 100", id="trees in arrays"),
        pytest.param(TREE, b"\0\2\2a" * 3_000, "nest deeper than 100", id="trees in maps"),
        pytest.param(chain(4_000), b"", "nest deeper than 100", id="a chain of types"),
        pytest.param(doubling(40), b"", "more than 10020 values in 5 bytes", id="doubling"),
        pytest.param(NULLS, varint(2**62) + b"\0", "more than .* values", id="nulls"),
        pytest.param(NULLS, varint(-(2**62)) + b"\0\0", "more than .* values", id="a block with its size"),
        pytest.param(HOLLOW, varint(2**62) + b"\0", "more than .* values", id="empty records"),
        pytest.param(FIXED, varint(2**62) + b"\0", "more than .* values", id="empty fixed"),
        pytest.param(WIDE, varint(5_000) + b"\0" * 5_001, "more than .* values", id="wide records"),
        pytest.param(DECIMAL, varint(100_000) + b"\7" * 100_000, "a decimal of 100000 bytes", id="decimal"),
        pytest.param(FIXED_DECIMAL, b"\7" * 100_000, "a decimal of 100000 bytes", id="fixed decimal"),
        pytest.param(record(n="long"), b"\xff" * 1_000_000, "bytes do not fit", id="an endless number"),
        pytest.param(NODE, b"\7", "a union of 2 types", id="no branch"),
        pytest.param(
            record(a={"type": "array", "items": NODE}, s="string"), b"\0\1", "a string of -1", id="-1"
        ),
    ],
)
def test_a_bomb_is_refused_at_once(schema: Schema, body: bytes, reason: str) -> None:
    """Depth, number of values and what a number costs are known before anything is made of the bytes."""
    before = time.process_time()
    with pytest.raises(UndecodableError, match=reason):
        read(schema, body)
    assert time.process_time() - before < 2  # without the bound: minutes, or the end of the process


@pytest.mark.parametrize(
    ("schema", "body", "value"),
    [
        pytest.param(NODE, b"\2\2\0", {"next": {"next": {"next": None}}}, id="recursive"),
        pytest.param(TREE, b"\2\0\0\0\0", {"leaves": [{"leaves": [], "named": {}}], "named": {}}, id="tree"),
        pytest.param(NULLS, varint(3) + b"\0", {"a": [None] * 3}, id="some nulls"),
        pytest.param(NULLS, varint(-3) + b"\0\0", {"a": [None] * 3}, id="some nulls with their size"),
        pytest.param(HOLLOW, b"\2\0", {"a": [{"b": {"c": {}}}]}, id="empty records"),
    ],
)
def test_what_is_no_bomb_is_read(schema: Schema, body: bytes, value: dict[str, Any]) -> None:
    """Recursive types and items without bytes are Avro: in reasonable numbers they are values as any others."""
    assert read(schema, body) == value


def test_the_deepest_value_that_is_read() -> None:
    """Each record of this chain is a record and a union, the last one has a null in it, too."""
    deepest = MAX_DEPTH // 2 - 2
    read(NODE, b"\2" * deepest + b"\0")
    with pytest.raises(UndecodableError):
        read(NODE, b"\2" * (deepest + 1) + b"\0")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":' * 100_000,
        '{"type":' * 500 + '"int"' + "}" * 500,
        "[" * 200 + "]" * 200,
        json.dumps({"type": "record", "name": "R", "doc": "x" * 1_100_000, "fields": []}),
        "nothing",
        "[]",
    ],
    ids=["endless", "deep", "brackets", "long", "no JSON", "no record"],
)
def test_a_schema_that_nobody_should_parse_is_refused(text: str) -> None:
    """A schema comes from outside, too."""
    with pytest.raises(CodecError):
        parse_schema(text)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "R", "fields": 7},
        {"type": "record", "name": None, "fields": []},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array"}}]},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": "nowhere.Type"}]},
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": "a", "type": {"type": "fixed", "name": "F", "size": "x"}}],
        },
        {"type": {"type": {"type": "int"}}},
    ],
)
def test_a_schema_that_is_no_avro_is_refused(schema: Schema) -> None:
    """Whatever is in it, there is one error."""
    schemas = MemorySchemas()
    schemas.add(1, schema)
    with pytest.raises(CodecError):
        Codec(schemas).decode(b"\0\0\0\0\1\0\0\0")


def test_nested_options_beyond_what_python_compiles() -> None:
    """A schema whose reader would nest too many blocks is read without one."""
    type_: Any = "int"
    for _ in range(30):
        type_ = {"type": "array", "items": type_}
    schema = record(a=type_)
    assert compile_reader(schema) is None
    assert read(schema, b"\0") == {"a": []}


def types() -> st.SearchStrategy[Any]:
    plain = st.sampled_from(
        [
            *("null", "boolean", "int", "long", "float", "double", "string", "bytes", "x.R"),
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 1},
            {"type": "long", "logicalType": "timestamp-millis"},
            {"type": "string", "logicalType": "uuid"},
            {"type": "int", "logicalType": "date"},
            {"type": "int", "logicalType": "time-millis"},
        ]
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.builds(lambda t: {"type": "array", "items": t}, inner),
            st.builds(lambda t: {"type": "map", "values": t}, inner),
            st.builds(lambda t: ["null", t], inner.filter(lambda t: t != "null" and not isinstance(t, list))),
        ),
        max_leaves=5,
    )


@settings(max_examples=300, deadline=2_000)
@given(st.lists(types(), max_size=4), st.binary(max_size=200))
def test_any_bytes_by_any_schema_are_read_or_refused(fields: list[Any], body: bytes) -> None:
    """A payload, or one of our errors."""
    with suppress(CodecError):
        read(record(**{f"f{n}": type_ for n, type_ in enumerate(fields)}), body)


@settings(max_examples=200, deadline=2_000)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from(["record", "array", "int", "R", "fields", ""]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "name", "fields", "items", "values", "size", "symbols"]), inner
            )
        ),
        max_leaves=12,
    ),
    st.binary(max_size=20),
)
def test_any_json_as_a_schema_is_used_or_refused(schema: Any, body: bytes) -> None:
    """Whoever may write schemas may write anything."""
    with suppress(CodecError):
        read(parse_schema(json.dumps(schema)), body)
