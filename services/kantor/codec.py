"""Avro in Confluent wire format, the only module that imports fastavro.

Written: ``0x00``, the schema id (4 bytes, big-endian), the body. Read: that, and the header form (header
``__value_schema_id`` = ``0x00`` + 4-byte id or ``0x01`` + 16-byte GUID, the value is the bare body), as Confluent's
serializers write since Platform 8.1. Where ids come from is the business of a :class:`SchemaStore`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Protocol
from uuid import UUID

import fastavro
from fastavro._schema_common import SchemaParseException, UnknownType

from kantor.compiled import UNEXPECTED, Read, compile_reader, compile_writer
from kantor.errors import CodecError, EncodingError, UndecodableError, UnknownSchemaError
from kantor_schemas import Schema, canonical_json, full_name, schema_id

SCHEMA_ID_HEADER = "__value_schema_id"


class SchemaStore(Protocol):
    """Gives ids for schemas and schemas for ids."""

    def id_of(self, schema: Schema, topic: str) -> int:
        """The id to write ``schema`` with on ``topic``; makes it known to readers first.

        Raises ``RegistryUnavailableError`` (wait, try again) or ``CodecError`` (refused: incompatible, collision).
        """

    def schema_of(self, id_: int | UUID) -> Schema:
        """The schema with this id (or GUID). Raises ``UnknownSchemaError`` or ``RegistryUnavailableError``."""


class MemorySchemas:
    """Fingerprint ids, known to this process only: for tests, and the base of what shares them by Kafka."""

    def __init__(self) -> None:
        self._by_id: dict[int, Schema] = {}

    def id_of(self, schema: Schema, topic: str) -> int:  # noqa: ARG002 - a registry needs it
        id_ = schema_id(schema)
        self.add(id_, schema)
        return id_

    def add(self, id_: int, schema: Schema) -> None:
        """Learn a schema. Raises ``CodecError`` if another one has this id already: two schemas, one fingerprint."""
        known = self._by_id.setdefault(id_, schema)
        if known is not schema and canonical_json(known) != canonical_json(schema):
            raise CodecError(
                f"schemas {full_name(known)} and {full_name(schema)} have the same fingerprint id {id_}; "
                f"change the doc of one of them"
            )

    def schema_of(self, id_: int | UUID) -> Schema:
        schema = self._by_id.get(id_) if isinstance(id_, int) else None
        if schema is None:
            raise UnknownSchemaError(id_ if isinstance(id_, int) else id_.int, "this process")
        return schema


Encoder = Callable[[Mapping[str, Any]], bytes]
_Check = Callable[[Any], None]


class Codec:
    """Encodes and decodes payloads; caches parsed schemas. Not thread-safe: one per thread."""

    def __init__(self, schemas: SchemaStore) -> None:
        self._schemas = schemas
        self._writers: dict[int, Any] = {}
        #: By the first five bytes of a value, which name its schema.
        self._readers: dict[bytes, Read] = {}

    def encoder(self, schema: Schema, topic: str) -> Encoder:
        """A function from a value to bytes in wire format. Make it once per type and topic, then call it often.

        The function raises ``EncodingError`` naming the type when a value does not fit. Making it may raise what
        ``SchemaStore.id_of`` raises.
        """
        name = full_name(schema)
        parsed = _parse(schema)
        prefix = b"\0" + self._schemas.id_of(schema, topic).to_bytes(4, "big")
        write = fastavro.schemaless_writer
        check = _int_check(schema)
        fast = compile_writer(schema, prefix)

        def encode(value: Mapping[str, Any]) -> bytes:
            if fast is not None:
                try:
                    return fast(value)
                except UNEXPECTED:
                    pass  # fastavro knows whether it fits, and says why not
            buffer = BytesIO()
            buffer.write(prefix)
            try:
                if check is not None:
                    check(value)
                write(buffer, parsed, value)
            except (ValueError, TypeError, KeyError, OverflowError, AttributeError, EOFError) as error:
                raise EncodingError(f"{name}: {_shorten(error)}") from error
            return buffer.getvalue()

        return encode

    def decode(self, value: bytes | None, headers: Mapping[str, bytes] | None = None) -> dict[str, Any]:
        """The payload. Raises ``UndecodableError`` (bytes that will never be readable), ``UnknownSchemaError`` or
        ``RegistryUnavailableError``."""
        read = None if value is None else self._readers.get(value[:5])
        if value is not None and read is not None and not (headers and SCHEMA_ID_HEADER in headers):
            try:
                return read(value, 5)
            except UNEXPECTED:
                pass  # fastavro says what is wrong
        return self._decode(value, headers)

    def _decode(self, value: bytes | None, headers: Mapping[str, bytes] | None) -> dict[str, Any]:
        if value is None:
            raise UndecodableError("the value is null (a tombstone), not an Avro record")
        id_: int | UUID
        header = headers.get(SCHEMA_ID_HEADER) if headers else None
        if header is not None:
            id_, start = _id_in_header(header), 0
        elif len(value) >= 5 and value[0] == 0:  # exactly 5: a record without fields has an empty body
            id_, start = int.from_bytes(value[1:5], "big"), 5
        else:
            raise UndecodableError(
                f"no Avro in Confluent wire format: {len(value)} bytes that start with {value[:5].hex() or 'nothing'}, "
                f"expected 00 and a 4-byte schema id"
            )
        parsed = self._writers.get(id_) if type(id_) is int else None
        if parsed is None:
            schema = self._schemas.schema_of(id_)
            parsed = _parse(schema)
            if type(id_) is int:
                self._writers[id_] = parsed
                read = compile_reader(schema)
                if read is not None:
                    self._readers[b"\0" + id_.to_bytes(4, "big")] = read
        buffer = BytesIO(value)
        buffer.seek(start)
        try:
            payload = fastavro.schemaless_reader(buffer, parsed, None)
        except (ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, MemoryError) as error:
            raise UndecodableError(f"bytes do not fit schema id {id_}: {_shorten(error)}") from error
        if not isinstance(payload, dict):
            raise UndecodableError(f"schema id {id_} is no record")
        if buffer.tell() != len(value):
            raise UndecodableError(
                f"{len(value) - buffer.tell()} bytes are left after a record of schema id {id_}"
            )
        return payload


def parse_schema(text: str) -> Schema:
    """JSON text as a schema. Raises ``CodecError`` if it is none."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise CodecError(f"a schema that is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise CodecError("a message's schema must be an Avro record")
    return schema


def _parse(schema: Schema) -> Any:
    try:
        return fastavro.parse_schema(schema, named_schemas={})
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError) as error:
        raise CodecError(f"schema {schema.get('name', '?')} is no valid Avro: {_shorten(error)}") from error


def _int_check(schema: Any) -> _Check | None:
    """What raises ``OverflowError`` for an Avro ``int`` beyond 32 bits; None if the schema has none.

    fastavro writes any Python int there, and readers in other languages then fail. Looked into: records, arrays, maps and
    optional ones of these; not: unions of several, and named types by name.
    """
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        check = _int_check(branches[0]) if len(branches) == 1 else None
        return _optional(check) if check else None
    kind = schema.get("type") if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return _int_check(kind)
    if kind == "int":
        return None if isinstance(schema, dict) and "logicalType" in schema else _check_int
    if kind == "record":
        checks = [(f["name"], check) for f in schema["fields"] if (check := _int_check(f["type"]))]
        return _each_field(checks) if checks else None
    if kind in ("array", "map"):
        check = _int_check(schema["items" if kind == "array" else "values"])
        return _each_item(check, kind == "map") if check else None
    return None


def _optional(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _each_field(checks: list[tuple[str, _Check]]) -> _Check:
    def check_fields(value: Any) -> None:
        for name, check in checks:
            if name in value:
                check(value[name])

    return check_fields


def _each_item(check: _Check, is_map: bool) -> _Check:
    def check_items(value: Any) -> None:
        for item in value.values() if is_map else value:
            check(item)

    return check_items


def _check_int(value: Any) -> None:
    if type(value) is int and not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        raise OverflowError(f"{value} does not fit an int, which has 32 bits; make the field a long")


def _id_in_header(header: bytes) -> int | UUID:
    if len(header) == 5 and header[0] == 0:
        return int.from_bytes(header[1:], "big")
    if len(header) == 17 and header[0] == 1:
        return UUID(bytes=header[1:])
    raise UndecodableError(f"the header {SCHEMA_ID_HEADER} holds no schema id: {header[:20].hex()}")


def _shorten(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 300 else text[:297] + "..."
