"""Avro in Confluent wire format: what is written, what is read, what is refused (wire-8)."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import pytest

from kantor.codec import SCHEMA_ID_HEADER, Codec, MemorySchemas, parse_schema
from kantor.errors import CodecError, EncodingError, UndecodableError, UnknownSchemaError
from kantor_schemas import Schema, schema_id

POINT: Schema = {
    "type": "record",
    "name": "Point",
    "namespace": "geo",
    "fields": [{"name": "x", "type": "int"}, {"name": "name", "type": ["null", "string"], "default": None}],
}
EMPTY: Schema = {"type": "record", "name": "Empty", "namespace": "geo", "fields": []}
GUID = UUID("a3e8f5c2-0f0b-4b58-9f0c-6f5f0a0e9d11")
#: x = 1, name = "A", as Avro 1.12 encodes it (zigzag 2; branch 1, length 1, "A").
BODY = bytes.fromhex("02020241")


class Guids(MemorySchemas):
    """Knows one schema by GUID, as a registry does."""

    def schema_of(self, id_: int | UUID) -> Schema:
        return POINT if id_ == GUID else super().schema_of(id_)


@pytest.fixture
def codec() -> Codec:
    schemas = Guids()
    schemas.add(7, POINT)
    schemas.add(8, EMPTY)
    return Codec(schemas)


def test_written_bytes(codec: Codec) -> None:
    """A value is 0x00, the 4-byte schema id and the Avro body."""
    expected = b"\0" + struct.pack(">I", schema_id(POINT)) + BODY
    assert codec.encoder(POINT, "evt.geo.v1")({"x": 1, "name": "A"}) == expected


def test_round_trip(codec: Codec) -> None:
    """What is written is read back."""
    value = codec.encoder(POINT, "evt.geo.v1")({"x": 1, "name": None})
    assert codec.decode(value) == {"x": 1, "name": None}


def test_header_form_with_id(codec: Codec) -> None:
    """Bytes as Confluent's serializers write since 8.1: the id in a header, the value is the bare body."""
    assert codec.decode(BODY, {SCHEMA_ID_HEADER: bytes.fromhex("0000000007")}) == {"x": 1, "name": "A"}


def test_header_form_with_guid(codec: Codec) -> None:
    """The header form may name the schema by GUID."""
    assert codec.decode(BODY, {SCHEMA_ID_HEADER: b"\1" + GUID.bytes}) == {"x": 1, "name": "A"}


def test_record_without_fields(codec: Codec) -> None:
    """A record without fields has an empty body: five bytes are a whole value."""
    assert codec.decode(bytes.fromhex("0000000008")) == {}


@pytest.mark.parametrize(
    ("value", "headers", "message"),
    [
        (None, {}, "null"),
        (b"", {}, "not Avro"),
        (b'{"x": 1}', {}, "not Avro"),
        (bytes.fromhex("00000000"), {}, "not Avro"),
        (bytes.fromhex("0000000007"), {}, "do not fit"),
        (bytes.fromhex("000000000702"), {}, "do not fit"),
        (bytes.fromhex("0000000007020802"), {}, "do not fit"),
        (bytes.fromhex("0000000007") + BODY + b"!", {}, "1 bytes are left"),
        (BODY, {SCHEMA_ID_HEADER: b"\2"}, "holds no schema id"),
        (BODY, {SCHEMA_ID_HEADER: b"\0\0\0\7"}, "holds no schema id"),
    ],
)
def test_undecodable(codec: Codec, value: bytes | None, headers: dict[str, bytes], message: str) -> None:
    """Bytes that are no such record are refused, with what is wrong."""
    with pytest.raises(UndecodableError, match=message):
        codec.decode(value, headers)


def test_unknown_schema(codec: Codec) -> None:
    """An unknown id is another error than bad bytes: the schema may come later."""
    with pytest.raises(UnknownSchemaError, match="99"):
        codec.decode(bytes.fromhex("0000000063") + BODY)


@pytest.mark.parametrize(
    "value", [{"x": "one", "name": None}, {"name": "A"}, {"x": 1, "name": 3}, {"x": 2**31}]
)
def test_encoding_error_names_the_type(codec: Codec, value: dict[str, Any]) -> None:
    """A value that does not fit its schema is refused, and the type is named."""
    with pytest.raises(EncodingError, match=r"geo\.Point"):
        codec.encoder(POINT, "evt.geo.v1")(value)


def test_collision_is_refused() -> None:
    """Two different schemas with one id would make data unreadable."""
    schemas = MemorySchemas()
    schemas.add(7, POINT)
    with pytest.raises(CodecError, match="same fingerprint"):
        schemas.add(7, EMPTY)


@pytest.mark.parametrize("text", ["", "[]", '"string"', "{"])
def test_schema_text_that_is_none(text: str) -> None:
    """What is not a record schema is refused."""
    with pytest.raises(CodecError):
        parse_schema(text)


def test_invalid_schema(codec: Codec) -> None:
    """A schema that is not valid Avro is refused when it is first used."""
    broken = {"type": "record", "name": "Broken", "fields": [{"name": "x", "type": "nonsense"}]}
    with pytest.raises(CodecError, match="Broken"):
        codec.encoder(broken, "evt.geo.v1")
