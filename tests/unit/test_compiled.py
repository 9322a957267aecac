"""Compiled writers and readers do what fastavro does, or raise."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kantor.compiled import UNEXPECTED, compile_reader, compile_writer
from kantor_schemas import EXAMPLES_FOLDER, SYSTEM_FOLDER, Catalog, Schema

#: Every type that is handled.
ALL: Schema = {
    "type": "record",
    "name": "All",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "annotated", "type": {"type": "string", "tag": "PII"}},
        {"name": "raw", "type": "bytes"},
        {"name": "number", "type": "int"},
        {"name": "large", "type": "long"},
        {"name": "yes", "type": "boolean"},
        {"name": "ratio", "type": "double"},
        {"name": "coarse", "type": "float"},
        {"name": "maybe", "type": ["null", "string"], "default": None},
        {"name": "either", "type": ["long", "null"], "default": 0},
        {"name": "list", "type": {"type": "array", "items": "long"}},
        {"name": "perhaps", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "sku", "type": "string"},
                        {"name": "tags", "type": {"type": "array", "items": "string"}},
                    ],
                },
            },
        },
        {
            "name": "inner",
            "type": {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "int"}]},
        },
    ],
}
#: Types that are not handled: such a schema is left to fastavro as a whole.
OTHER = [
    {"type": "map", "values": "long"},
    {"type": "enum", "name": "Color", "symbols": ["RED"]},
    {"type": "fixed", "name": "Four", "size": 4},
    {"type": "bytes", "logicalType": "decimal", "precision": 4},
    ["null", "int", "string"],
    "Named",
]
SCHEMAS = [ALL, *Catalog.load(SYSTEM_FOLDER).values(), *Catalog.load(EXAMPLES_FOLDER / "checkout").values()]
COMPILED = [schema for schema in SCHEMAS if compile_writer(schema)]


def record(*types: Any) -> Schema:
    fields = [{"name": f"f{number}", "type": type_} for number, type_ in enumerate(types)]
    return {"type": "record", "name": "Some", "fields": fields}


def general_write(schema: Schema, value: Any) -> bytes:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema, named_schemas={}), value)
    return buffer.getvalue()


def general_read(schema: Schema, value: bytes) -> Any:
    buffer = BytesIO(value)
    found = fastavro.schemaless_reader(buffer, fastavro.parse_schema(schema, named_schemas={}), None)
    return found if buffer.tell() == len(value) else "something is left"


PLAIN = {
    "string": st.text() | st.sampled_from(["", "stock", "running"]),
    "bytes": st.binary(),
    "int": st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 2000),
    "long": st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 2000),
    "boolean": st.booleans(),
    "double": st.floats(allow_nan=False),
    "float": st.floats(allow_nan=False, width=32),
}


def values(type_: Any) -> st.SearchStrategy[Any]:
    if isinstance(type_, list):
        return st.one_of(*map(values, type_))
    if isinstance(type_, dict) and type_["type"] == "record":
        return st.fixed_dictionaries({f["name"]: values(f["type"]) for f in type_["fields"]})
    if isinstance(type_, dict) and type_["type"] == "array":
        return st.lists(values(type_["items"]), max_size=4)
    if isinstance(type_, dict):
        return values(type_["type"])
    return st.none() if type_ == "null" else PLAIN[type_]


@given(st.data())
def test_written_bytes_are_those_of_fastavro(data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(COMPILED))
    write = compile_writer(schema, b"prefix")
    assert write
    for value in data.draw(st.lists(values(schema), min_size=1, max_size=3)):
        assert write(value) == b"prefix" + general_write(schema, value)


@given(st.data())
def test_what_is_read_is_what_was_written(data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(COMPILED))
    value = data.draw(values(schema))
    read = compile_reader(schema)
    assert read
    assert read(b"prefix" + general_write(schema, value), 6) == value


@given(st.data())
def test_bytes_that_do_not_fit_raise_or_read_as_fastavro_reads_them(data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(COMPILED))
    damaged = bytearray(general_write(schema, data.draw(values(schema))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    read = compile_reader(schema)
    assert read
    try:
        found = read(bytes(damaged), 0)
    except UNEXPECTED:
        return
    # Compared as text: damaged bytes may hold a NaN.
    assert repr(found) == repr(general_read(schema, bytes(damaged)))


@pytest.mark.parametrize("schema", COMPILED, ids=lambda schema: schema["name"])
def test_bytes_that_end_too_early_or_too_late_raise(schema: Schema) -> None:
    read = compile_reader(schema)
    assert read
    for wrong in (b"", b"\0" * 200, b"\xff" * 200):
        with pytest.raises(UNEXPECTED):
            read(wrong, 0)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("string", None),
        ("string", b"bytes"),
        ("string", 1),
        ("string", "\ud800"),
        ("bytes", "text"),
        ("int", 2**31),
        ("int", -(2**31) - 1),
        ("int", 1.5),
        ("long", 2**63),
        ("long", -(2**63) - 1),
        ("long", "1"),
        ("boolean", "yes"),
        ("double", "1"),
        ("float", 1e300),
        (["null", "string"], 1),
        ({"type": "array", "items": "long"}, "text"),
        ({"type": "array", "items": "long"}, [1, None]),
    ],
)
def test_unexpected_values_raise(type_: Any, value: Any) -> None:
    write = compile_writer(record(type_))
    assert write
    with pytest.raises(UNEXPECTED):
        write({"f0": value})


def test_a_missing_field_raises() -> None:
    write = compile_writer(record("string"))
    assert write
    with pytest.raises(KeyError):
        write({})


@pytest.mark.parametrize("type_", OTHER, ids=str)
def test_other_types_are_not_handled(type_: Any) -> None:
    schema = record("string", type_)
    assert compile_writer(schema) is None
    assert compile_reader(schema) is None


def test_an_array_of_empty_records_is_not_read() -> None:
    """Its count could say anything, in no bytes at all."""
    assert (
        compile_reader(record({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}))
        is None
    )


def test_field_names_are_only_literals() -> None:
    schema = record("string")
    schema["fields"][0]["name"] = "'] + __import__('os').getcwd() + v['"
    write, read = compile_writer(schema), compile_reader(schema)
    assert write
    assert read
    value = {schema["fields"][0]["name"]: "x"}
    assert write(value) == b"\x02x"
    assert read(b"\x02x", 0) == value
