"""Which values fit which fields."""

from __future__ import annotations

from typing import Any

import pytest

from kantor_orchestrator.definitions.avro import expand, field_type, fits, literal_fits, shown

ENUM = {"type": "enum", "name": "Size", "symbols": ["S", "M"]}
WIDER = {"type": "enum", "name": "Size", "symbols": ["S", "M", "L"]}
DATE = {"type": "int", "logicalType": "date"}
TREE: dict[str, Any] = {
    "type": "record",
    "name": "Tree",
    "namespace": "shop",
    "fields": [
        {"name": "leaf", "type": "int"},
        {"name": "branches", "type": {"type": "array", "items": "Tree"}},
        {"name": "owner", "type": ["null", {"type": "record", "name": "Owner", "fields": [{"name": "name", "type": "string"}]}]},
        {"name": "heir", "type": "Owner"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("int", "int"),
        ("int", "long"),
        ("int", "double"),
        ("long", "double"),
        ("float", "double"),
        (ENUM, ENUM),
        (ENUM, WIDER),
        (ENUM, "string"),
        (DATE, DATE),
        ("string", ["null", "string"]),
        (["null", "int"], ["null", "long"]),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}),
        ({"type": "map", "values": "string"}, {"type": "map", "values": "string"}),
        ({"type": "fixed", "name": "A", "size": 4}, {"type": "fixed", "name": "B", "size": 4}),
        (TREE, TREE),
    ],
)
def test_fits(source: Any, target: Any) -> None:
    """What every value of the source can be written as."""
    assert fits(expand(source), expand(target))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("long", "int"),
        ("double", "long"),
        ("string", "bytes"),
        ("string", ENUM),
        ("boolean", "int"),
        (WIDER, ENUM),
        (DATE, "int"),
        ("int", DATE),
        (["null", "string"], "string"),
        ("int", ["null", "string"]),
        ({"type": "array", "items": "string"}, {"type": "array", "items": "int"}),
        ({"type": "array", "items": "string"}, "string"),
        ({"type": "fixed", "name": "A", "size": 4}, {"type": "fixed", "name": "A", "size": 8}),
    ],
)
def test_does_not_fit(source: Any, target: Any) -> None:
    """What some value of the source can't be written as."""
    assert not fits(expand(source), expand(target))


def test_record_with_fewer_fields() -> None:
    """A record fits another one if it has every field that the other needs."""
    small = {"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}]}
    more = {**small, "fields": [*small["fields"], {"name": "y", "type": "int"}]}
    defaulted = {**small, "fields": [*small["fields"], {"name": "y", "type": "int", "default": 0}]}
    assert fits(expand(more), expand(small))
    assert fits(expand(small), expand(defaulted))
    assert not fits(expand(small), expand(more))


def test_names_are_followed() -> None:
    """A field's type may be the name of a type that an earlier field defined."""
    assert shown(field_type(TREE, "heir")) == "record Owner"


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, "boolean"),
        (1, "int"),
        (2**40, "long"),
        (1, "double"),
        (1.5, "float"),
        ("a", "string"),
        ("S", ENUM),
        (None, "null"),
        (None, ["null", "string"]),
        ("a", ["null", "string"]),
    ],
)
def test_literal_fits(value: object, type_: Any) -> None:
    """A literal fits a type that can hold it."""
    assert literal_fits(value, expand(type_))


@pytest.mark.parametrize(
    ("value", "type_"),
    [(True, "int"), (1, "boolean"), (2**40, "int"), (1.5, "long"), ("XL", ENUM), (None, "string"), (1, DATE)],
)
def test_literal_does_not_fit(value: object, type_: Any) -> None:
    """A literal does not fit a type that would change or refuse it."""
    assert not literal_fits(value, expand(type_))
