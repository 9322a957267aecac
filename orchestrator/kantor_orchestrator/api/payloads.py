"""The bytes of messages, read from Kafka when a person looks (view-9): the view keeps only where they lie.

One record at a time, at its offset, within a few seconds; a record that is no longer there is told apart from a broker that
does not answer. Decoded values are JSON; fields that their schema tags as personal data can be masked (``definitions/personal.py``).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kantor.clients import Consumer, Record
from kantor.codec import SCHEMA_ID_HEADER, Codec, SchemaStore
from kantor.errors import CodecError, KafkaUnavailableError, KantorError, NotFoundError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.core import values
from kantor_orchestrator.definitions.personal import masked
from kantor_schemas import Schema

#: Seconds that one record may take.
PATIENCE = 5.0
#: Seconds that are asked for at once, so that a closing program does not wait.
_POLL = 0.2
#: Seconds after which what a Kafka transaction has committed can be seen by every reader.
_SETTLING = 1.0
#: One record is wanted: nothing is fetched ahead, and an empty partition answers at once.
_FETCH = {"queued.min.messages": 1, "fetch.wait.max.ms": 10, "max.partition.fetch.bytes": 65_536}
#: Readers that are kept: each is one connection to every broker.
_READERS = 4

Headers = list[tuple[str, bytes | None]]


class GoneError(NotFoundError):
    """The record was there; its topic has dropped it."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One record. ``schema`` is that it was written with, None if ``value`` is no Avro; ``decoded`` is JSON; ``trouble`` says
    why there is neither."""

    place: str
    at: int
    key: bytes | None
    headers: Headers
    value: bytes | None
    decoded: Any = None
    schema: Schema | None = None
    trouble: str = ""

    def header(self, name: str) -> str:
        return next(
            (value.decode("utf-8", "replace") for key, value in self.headers if key == name and value), ""
        )


class Payloads:
    """Thread-safe."""

    def __init__(self, kafka: KafkaSettings, schemas: SchemaStore) -> None:
        self._kafka = kafka
        self._schemas = schemas
        self._idle: list[Consumer] = []
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._codec = Codec(schemas)

    def close(self) -> None:
        with self._lock:
            for reader in self._idle:
                reader.close()
            self._idle = []

    def read(self, place: str, id_: str = "") -> Payload:
        """The record at ``topic/partition/offset``. ``id_``: its ``ce_id``, if known; a topic that was recreated has
        others. Raises ``GoneError``, ``NotFoundError`` (no such place), ``KafkaUnavailableError``."""
        topic, partition, offset = parsed(place)
        with self._reader() as reader:
            record = _record_at(reader, topic, partition, offset)
        payload = self._decoded(place, record)
        found = payload.header("ce_id")
        if id_ and found and found != id_:
            raise GoneError(f"{place} holds another message now: the topic was recreated")
        return payload

    def _decoded(self, place: str, record: Record) -> Payload:
        headers = record.headers() or []
        value = record.value()
        facts = (place, record.timestamp()[1], record.key(), headers, value)
        if value is None:
            return Payload(*facts, trouble="the value is null (a tombstone)")
        try:
            with self._decoding:
                known = {name: data for name, data in headers if data is not None}
                decoded = self._codec.decode(value, known)
                schema = self._schemas.schema_of(_schema_id(value, known))
            return Payload(*facts, decoded=as_json(decoded), schema=schema)
        except (CodecError, KantorError) as error:
            found = _as_text(value)
            return Payload(*facts, decoded=found, trouble="" if found is not None else str(error))

    @contextmanager
    def _reader(self) -> Iterator[Consumer]:
        with self._lock:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = self._kafka.consumer("kantor-api-reader", ends=True, extra=_FETCH)
        try:
            yield reader
            reader.assign({})  # it must not fetch on
        except BaseException:
            reader.close()
            raise
        with self._lock:
            if len(self._idle) < _READERS:
                self._idle.append(reader)
                return
        reader.close()


def parsed(place: str) -> tuple[str, int, int]:
    """Topic, partition and offset. Raises ``NotFoundError`` for what is no place."""
    topic, _, rest = place.partition("/")
    partition, _, offset = rest.partition("/")
    offset = offset.partition("/")[0]  # an index may follow: of several messages made of one record
    numbers = (partition, offset)
    if not topic or not all(n.isascii() and n.isdecimal() and len(n) < 19 for n in numbers):
        raise NotFoundError(f"{place!r} is not a place: write topic/partition/offset")
    return topic, int(partition), int(offset)


def _record_at(reader: Consumer, topic: str, partition: int, offset: int) -> Record:
    reader.assign({(topic, partition): offset})
    deadline = time.monotonic() + PATIENCE
    visible_by = time.monotonic() + _SETTLING
    ended = False
    while time.monotonic() < deadline:
        batch = reader.poll(_POLL, 1)
        if batch.records:
            # A record that is gone: the reader begins where the log begins now.
            if batch.records[0].offset() == offset:
                return batch.records[0]
            raise GoneError(f"{topic}/{partition}/{offset} is no longer kept: the topic begins later now")
        end = batch.ends.get((topic, partition))
        ended = ended or end is not None
        # What was just committed may lie behind the end that readers see, for moments.
        if (end is not None and end > offset) or (ended and time.monotonic() > visible_by):
            raise GoneError(f"{topic}/{partition}/{offset} is no longer kept, or was never committed")
    raise KafkaUnavailableError(f"{topic}/{partition}/{offset} could not be read within {PATIENCE:.0f} s")


def _schema_id(value: bytes, headers: dict[str, bytes]) -> int | UUID:
    """Of a value that has been decoded."""
    header = headers.get(SCHEMA_ID_HEADER)
    if header is None:
        return int.from_bytes(value[1:5], "big")
    return int.from_bytes(header[1:], "big") if header[0] == 0 else UUID(bytes=header[1:])


def as_json(value: Any) -> Any:
    """A decoded value as JSON: what JSON lacks as ``{"$kind": text}``, as captured fields are written."""
    try:
        return json.loads(values.dump(value), parse_constant=str)
    except (TypeError, ValueError):
        return json.loads(json.dumps(value, default=repr), parse_constant=str)


def _as_text(value: bytes) -> Any:
    """JSON, of operator actions, timers and foreign messages; None if it is neither."""
    if value[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def without_personal_data(payload: Payload) -> tuple[Any, bool]:
    """The decoded value for those who may not see personal data, and whether the bytes may be shown: without a schema
    nobody knows what is in them."""
    if payload.schema is None:
        return None, False
    return masked(payload.decoded, payload.schema)
