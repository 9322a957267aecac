"""Avro in Confluent wire format (wire-8), the only module that imports fastavro.

Written: ``0x00``, the schema id (4 bytes, big-endian), the body. Read: that, and the header form (header
``__value_schema_id`` = ``0x00`` + 4-byte id or ``0x01`` + 16-byte GUID, the value is the bare body), as Confluent's
serializers write since Platform 8.1. Where ids come from is the business of a :class:`SchemaStore`.

Bytes and schemas come from outside: whatever they are, :meth:`Codec.decode` returns, or raises one of ours, within bounds of
time, memory and depth (``kantor.bounds``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import fastavro

from kantor.bounds import Walk, check_nesting, check_text, walker
from kantor.compiled import UNEXPECTED, Read, compile_reader, compile_writer
from kantor.defaults import raw_defaults, same_shape
from kantor.errors import CodecError, EncodingError, UndecodableError, UnknownSchemaError
from kantor.ints import Check, int_check
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
            raise UnknownSchemaError(id_, "this process")
        return schema


#: Schemas of which a process keeps what was made of them.
_MOST_MADE = 1_000

Thing = TypeVar("Thing")
Encoder = Callable[[Mapping[str, Any]], bytes]


@dataclass(frozen=True, slots=True)
class _Written:
    """A writer's schema, ready to read with."""

    schema: Schema
    parsed: Any
    name: str
    walk: Walk | None


class Codec:
    """Encodes and decodes payloads; caches parsed schemas. Not thread-safe: one per thread."""

    def __init__(self, schemas: SchemaStore) -> None:
        self._schemas = schemas
        self._writers: dict[int | UUID, _Written] = {}
        #: By the first five bytes of a value, which name its schema, the type that is expected and the reader's schema.
        self._fast: dict[tuple[bytes, str, int], Read] = {}
        #: By the reader's schema's identity: that schema (so that nothing else gets its identity), and parsed.
        self._readers: dict[int, tuple[Schema, Any]] = {}

    def encoder(self, schema: Schema, topic: str) -> Encoder:
        """A function from a value to bytes in wire format. Make it once per type and topic, then call it often.

        The function raises ``EncodingError`` naming the type when a value does not fit. Making it may raise what
        ``SchemaStore.id_of`` raises.
        """
        name = full_name(schema)
        parsed, check = _to_write.of(schema)
        prefix = self.prefix(schema, topic)
        write = fastavro.schemaless_writer
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
            except Exception as error:  # what fastavro raises for a value that does not fit is not documented
                raise EncodingError(f"{name}: {_shorten(error)}") from error
            return buffer.getvalue()

        return encode

    def prefix(self, schema: Schema, topic: str) -> bytes:
        """With what its values begin in wire format. Raises what ``SchemaStore.id_of`` raises."""
        return b"\0" + self._schemas.id_of(schema, topic).to_bytes(4, "big")

    def decode(
        self,
        value: bytes | None,
        headers: Mapping[str, bytes | None] | None = None,
        *,
        expected: str = "",
        reader: Schema | None = None,
        resolves: bool = True,
    ) -> dict[str, Any]:
        """The payload.

        ``expected``: the full name of the type that it should be (``ce_type``). ``reader``: the reader's own schema, by which
        what was written is resolved (Avro 1.12, "Schema resolution": defaults of fields that the writer does not know,
        aliases, promotions); the writer's name must then be its own or one of its aliases. Keep that object: it is told by its identity. ``resolves``: False if nothing is
        wanted but to know that it is such a record, as its writer wrote it.

        Raises ``UndecodableError`` (bytes that will never be readable), ``UnknownSchemaError`` or
        ``RegistryUnavailableError``; ``CodecError`` if the schema itself is of no use.
        """
        if value is not None:
            read = self._fast.get((value[:5], expected, id(reader)))
            if read is not None and not (headers and SCHEMA_ID_HEADER in headers):
                try:
                    return read(value, 5)
                except UNEXPECTED:
                    pass  # fastavro says what is wrong
        return self._decode(value, headers, expected, reader, resolves)

    def _decode(
        self,
        value: bytes | None,
        headers: Mapping[str, bytes | None] | None,
        expected: str,
        reader: Schema | None,
        resolves: bool,
    ) -> dict[str, Any]:
        if value is None:
            raise UndecodableError("the value is null (a tombstone), not an Avro record")
        id_, start = _schema_of(value, headers)
        written = self._writers.get(id_)
        if written is None:
            written = self._writers[id_] = _to_read.of(self._schemas.schema_of(id_))
        _check_name(written, id_, expected, reader)
        is_same = reader is None or same_shape(written.schema, reader)
        target = self._reader(reader) if resolves and not is_same else None
        if is_same and start and written.walk is None:
            fast = compile_reader(written.schema)
            if fast is not None:
                self._fast[value[:5], expected, id(reader)] = fast
                if reader is not None:
                    self._reader(reader)  # keeps it
        if written.walk is not None:
            written.walk(value, start)
        buffer = BytesIO(value)
        buffer.seek(start)
        try:
            payload = fastavro.schemaless_reader(buffer, written.parsed, target)
        except Exception as error:  # bytes from outside: what fastavro raises for them is not documented
            raise UndecodableError(f"bytes do not fit schema id {id_}: {_shorten(error)}") from error
        if not isinstance(payload, dict):
            raise UndecodableError(f"schema id {id_} is not a record")
        if buffer.tell() != len(value):
            raise UndecodableError(
                f"{len(value) - buffer.tell()} bytes are left after a record of schema id {id_}"
            )
        return payload

    def _reader(self, schema: Schema | None) -> Any:
        if schema is None:
            return None
        known = self._readers.get(id(schema))
        if known is None:
            parsed = _parse(schema)
            _read_defaults(parsed)
            known = self._readers[id(schema)] = schema, parsed
        return known[1]


def _schema_of(value: bytes, headers: Mapping[str, bytes | None] | None) -> tuple[int | UUID, int]:
    """The id of the writer's schema, and where the record starts."""
    header = headers.get(SCHEMA_ID_HEADER) if headers else None
    if header is not None:
        return _id_in_header(header), 0
    if len(value) >= 5 and value[0] == 0:  # exactly 5: a record without fields has an empty body
        return int.from_bytes(value[1:5], "big"), 5
    raise UndecodableError(
        f"not Avro in Confluent wire format: {len(value)} bytes that start with {value[:5].hex() or 'nothing'}, "
        f"expected 00 and a 4-byte schema id"
    )


def _written(schema: Schema) -> _Written:
    parsed = _parse(schema)
    name = parsed.get("name", "") if isinstance(parsed, dict) else ""
    try:
        return _Written(schema, parsed, name, walker(parsed, _named(parsed)))
    except Exception as error:  # fastavro does not look at everything: a size may be a text
        raise CodecError(f"schema {name or '?'} is not valid Avro: {_shorten(error)}") from error


class _Made(Generic[Thing]):
    """What is made of a schema, once: a codec is made for each life of a role, the schemas stay the same."""

    def __init__(self, make: Callable[[Schema], Thing]) -> None:
        self._make = make
        #: By a schema's identity; with the schema, so that nothing else gets its identity.
        self._known: dict[int, tuple[Schema, Thing]] = {}

    def of(self, schema: Schema) -> Thing:
        """Raises ``CodecError``."""
        known = self._known.get(id(schema))
        if known is None:
            known = schema, self._make(schema)
            if len(self._known) >= _MOST_MADE:
                self._known.clear()
            self._known[id(schema)] = known
        return known[1]


def _written_with(schema: Schema) -> tuple[Any, Check | None]:
    parsed = _parse(schema)
    raw_defaults(parsed)
    return parsed, int_check(schema)


_to_write, _to_read = _Made(_written_with), _Made(_written)


def _named(parsed: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = parsed.get("__named_schemas", {}) if isinstance(parsed, dict) else {}
    return found


def _check_name(written: _Written, id_: int | UUID, expected: str, reader: Schema | None) -> None:
    if expected and reader is None:
        names = {expected}
    elif reader is not None:
        own = full_name(reader)
        names = {
            own,
            *(
                alias if "." in alias else f"{own.rpartition('.')[0]}.{alias}"
                for alias in reader.get("aliases", ())
            ),
        }
        if expected and expected not in names:
            names = {expected}
    else:
        return
    if written.name not in names:
        if not written.name:
            raise UndecodableError(f"schema id {id_} is not a record")
        raise UndecodableError(
            f"the value is a {written.name} (schema id {id_}), not a {expected or full_name(reader or {})} as its ce_type says; "
            "write the type that the message has, or give the reader's schema an alias"
        )


def _read_defaults(parsed: Any) -> None:
    """Make the defaults of a reader's parsed schema what reading them would give: fastavro takes them as they are, and JSON has
    neither bytes nor times."""
    raw_defaults(parsed)
    named = _named(parsed)
    for record in named.values():
        for field in record.get("fields", ()):
            if "default" in field:
                field["default"] = _through(field["type"], field["default"], named)


def _through(type_: Any, value: Any, named: Mapping[str, Any]) -> Any:
    """A value, written and read."""
    schema = {
        "type": "record",
        "name": "Default",
        "fields": [{"name": "it", "type": type_}],
        "__fastavro_parsed": True,
        "__named_schemas": named,
    }
    buffer = BytesIO()
    try:
        fastavro.schemaless_writer(buffer, schema, {"it": value})
    except Exception as error:  # what fastavro raises for a value that does not fit is not documented
        raise CodecError(f"the default {value!r} does not fit its type: {_shorten(error)}") from error
    buffer.seek(0)
    found: Any = fastavro.schemaless_reader(buffer, schema, None)
    return found["it"]


def parse_schema(text: str) -> Schema:
    """JSON text as a schema. Raises ``CodecError`` if it is none, or larger or deeper than any should be."""
    check_text(text)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"a schema that is not JSON: {_shorten(error)}") from error
    check_nesting(schema)
    if not isinstance(schema, dict):
        raise CodecError("a message's schema must be an Avro record")
    return schema


def _parse(schema: Schema) -> Any:
    check_nesting(schema)
    try:
        return fastavro.parse_schema(schema, named_schemas={})
    except Exception as error:  # from outside: what fastavro raises for it is not documented
        raise CodecError(f"schema {schema.get('name', '?')} is not valid Avro: {_shorten(error)}") from error


def _id_in_header(header: bytes) -> int | UUID:
    if len(header) == 5 and header[0] == 0:
        return int.from_bytes(header[1:], "big")
    if len(header) == 17 and header[0] == 1:
        return UUID(bytes=header[1:])
    raise UndecodableError(f"the header {SCHEMA_ID_HEADER} holds no schema id: {header[:20].hex()}")


def _shorten(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 300 else text[:297] + "..."
