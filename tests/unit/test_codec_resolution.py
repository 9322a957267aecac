"""What was written by one schema and is read by another: names, defaults, aliases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor.errors import UndecodableError
from kantor_schemas import Schema

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
ID: dict[str, Any] = {"name": "id", "type": "string"}


def record(*fields: dict[str, Any], name: str = "pay.Charge", **more: Any) -> Schema:
    return {"type": "record", "name": name, "fields": list(fields), **more}


OLD = record(ID)
NEW = record(
    ID,
    {"name": "fee", "type": DECIMAL, "default": "\0\1"},
    {"name": "mark", "type": {"type": "fixed", "name": "pay.Mark", "size": 2}, "default": "a\u00ff"},
    {"name": "either", "type": ["bytes", "null"], "default": "x"},
    {"name": "parts", "type": {"type": "array", "items": "bytes"}, "default": ["y"]},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
    {
        "name": "inner",
        "type": record({"name": "raw", "type": "bytes", "default": "z"}, name="pay.Inner"),
        "default": {},
    },
)
DEFAULTS = {
    "id": "1",
    "fee": Decimal("0.01"),
    "mark": b"a\xff",
    "either": b"x",
    "parts": [b"y"],
    "at": datetime(1970, 1, 1, tzinfo=UTC),
    "inner": {"raw": b"z"},
}


@pytest.fixture
def codec() -> Codec:
    return Codec(MemorySchemas())


def test_defaults_are_written(codec: Codec) -> None:
    """A field that nothing fills is written with its default, also where Avro writes bytes as text."""
    assert codec.decode(codec.encoder(NEW, "t")({"id": "1"})) == DEFAULTS


def test_defaults_of_the_readers_schema_are_read(codec: Codec) -> None:
    """A writer that does not know a field yet leaves it to its default, as a value of its type."""
    old = codec.encoder(OLD, "t")({"id": "1"})
    for _ in range(2):
        assert codec.decode(old, reader=NEW) == DEFAULTS
        assert codec.decode(old) == {"id": "1"}


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (record({"name": "number", "type": "string", "aliases": ["id"]}), {"number": "1"}),
        (record({"name": "id", "type": "bytes"}), {"id": b"1"}),
        (record(ID, name="pay.Debit", aliases=["pay.Charge"]), {"id": "1"}),
        (record(ID, name="pay.Debit", aliases=["Charge"]), {"id": "1"}),
        (record(ID, doc="another text"), {"id": "1"}),
    ],
    ids=["alias of a field", "promotion", "alias of a type", "short alias", "only documentation"],
)
def test_what_was_written_is_resolved(codec: Codec, reader: Schema, value: dict[str, Any]) -> None:
    """Avro's rules of schema resolution hold."""
    assert codec.decode(codec.encoder(OLD, "t")({"id": "1"}), reader=reader) == value


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"expected": "pay.Refund"}, "is a pay.Charge .*, not a pay.Refund as its ce_type says"),
        (
            {"reader": record(ID, name="pay.Refund")},
            "is a pay.Charge .*, not a pay.Refund as its ce_type says",
        ),
        ({"reader": record(ID, {"name": "more", "type": "int"})}, "No default value for field more"),
    ],
    ids=["another type", "another reader", "no default"],
)
def test_what_cannot_be_resolved_is_refused(codec: Codec, options: dict[str, Any], reason: str) -> None:
    """The type is what the message says that it is, or nothing is read."""
    value = codec.encoder(OLD, "t")({"id": "1"})
    for _ in range(2):
        with pytest.raises(UndecodableError, match=reason):
            codec.decode(value, **options)
    assert codec.decode(value, expected="pay.Charge") == {"id": "1"}
