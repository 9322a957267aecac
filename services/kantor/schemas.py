"""Schemas shared by Kafka itself, where there is no registry: the compacted topic ``sys.kantor.schemas`` (wire-9).

Whoever writes with a schema publishes it first and waits until the broker has it. So a reader that meets an unknown id
and has then read the topic to its end knows for certain: nobody published it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from kantor.clients import BEGINNING, Admin, Clients, TopicSpec
from kantor.codec import MemorySchemas, SchemaStore, parse_schema
from kantor.errors import CodecError, KafkaUnavailableError, RegistryUnavailableError, UnknownSchemaError
from kantor.registry import RegistrySchemas
from kantor_schemas import Schema, canonical_json, full_name, schema_id

log = logging.getLogger("kantor.schemas")

SCHEMAS_TOPIC = "sys.kantor.schemas"
ENV_REGISTRY = "KANTOR_SCHEMA_REGISTRY_URL"
_PARTITION = (SCHEMAS_TOPIC, 0)
#: Seconds to wait for the end of the topic: it is small.
_READ_TIMEOUT = 15.0
#: An empty fetch, which brings the end, would wait 500 ms.
_CONSUMER = {"fetch.wait.max.ms": 10}
#: A schema that is there twice does no harm, and an idempotent producer's first record takes 500 ms.
_PRODUCER = {"enable.idempotence": False, "acks": "all"}


def schema_store(clients: Clients, url: str | None = None) -> SchemaStore:
    """A registry if one is named (``url`` or KANTOR_SCHEMA_REGISTRY_URL), else the topic. Does no I/O yet.

    Raises ``ConfigError`` for a malformed URL.
    """
    url = url or os.environ.get(ENV_REGISTRY)
    return RegistrySchemas(url) if url else KafkaSchemas(clients)


class KafkaSchemas:
    """Fingerprint ids, published to ``sys.kantor.schemas``. Thread-safe."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._known = MemorySchemas()
        #: Ids that are in the topic for certain.
        self._published: set[int] = set()
        self._position = BEGINNING
        self._lock = threading.Lock()
        self._admin: Admin | None = None

    def id_of(self, schema: Schema, topic: str) -> int:
        """See ``SchemaStore``. Raises ``RegistryUnavailableError`` while the broker does not answer."""
        id_ = schema_id(schema)
        with self._lock, _as_registry():
            self._known.add(id_, schema)
            if id_ not in self._published:
                self._read_to_end()
            if id_ not in self._published:
                self._publish(id_, schema)
        return self._known.id_of(schema, topic)

    def schema_of(self, id_: int | UUID) -> Schema:
        """See ``SchemaStore``. An unknown id makes it read the topic to its end first."""
        try:
            return self._known.schema_of(id_)
        except UnknownSchemaError:
            if not isinstance(id_, int):
                raise
        with self._lock, _as_registry():
            self._read_to_end()
        try:
            return self._known.schema_of(id_)
        except UnknownSchemaError:
            raise UnknownSchemaError(id_, f"topic {SCHEMAS_TOPIC}") from None

    def _publish(self, id_: int, schema: Schema) -> None:
        producer = self._clients.producer("kantor-schemas", linger_ms=0, extra=_PRODUCER)
        producer.produce(
            SCHEMAS_TOPIC,
            canonical_json(schema).encode(),
            str(id_).encode(),
            [("ce_type", full_name(schema).encode())],
            0,
        )
        producer.flush()
        self._published.add(id_)
        log.info("published schema %s as %d", full_name(schema), id_, extra={"action": "schema_published"})

    def _read_to_end(self) -> None:
        admin = self._admin
        if admin is None:
            admin = self._clients.admin("kantor-schemas")
            admin.create_topics([TopicSpec(SCHEMAS_TOPIC, 1, {"cleanup.policy": "compact"})])
            self._admin = admin
        end = admin.ends([_PARTITION])[_PARTITION]
        if end <= max(self._position, 0):
            return
        consumer = self._clients.consumer("kantor-schemas", ends=True, extra=_CONSUMER)
        try:
            # Asking for the end first makes it find the leader at once: 10 ms instead of 500.
            consumer.end(_PARTITION)
            consumer.assign({_PARTITION: self._position})
            for _ in range(int(_READ_TIMEOUT / 0.1)):
                batch = consumer.poll(0.1)
                for record in batch.records:
                    self._learn(record.key(), record.value())
                    self._position = record.offset() + 1
                self._position = max(self._position, batch.ends.get(_PARTITION, BEGINNING))
                if self._position >= end:
                    return
        finally:
            consumer.close()
        raise KafkaUnavailableError(
            f"the end of {SCHEMAS_TOPIC} was not reached within {_READ_TIMEOUT:.0f} s"
        )

    def _learn(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            return
        try:
            schema = parse_schema(value.decode())
            id_ = schema_id(schema)
            if key != str(id_).encode():
                raise CodecError(f"its key is {key!r}, its fingerprint {id_}")
            self._known.add(id_, schema)
        except (
            CodecError,
            UnicodeError,
            RecursionError,
        ) as error:  # not UTF-8, or JSON with half a surrogate pair
            log.error(
                "unusable schema: %s", error, extra={"action": "schema_unusable", "schema_key": str(key)}
            )
            return
        self._published.add(id_)


@contextmanager
def _as_registry() -> Iterator[None]:
    try:
        yield
    except KafkaUnavailableError as error:
        raise RegistryUnavailableError(f"{SCHEMAS_TOPIC}: {error}") from error
