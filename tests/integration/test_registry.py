"""What Kantor writes with a registry, Confluent's own deserializer reads; and the other way round."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry import topic_record_subject_name_strategy as topic_record
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from kantor.codec import Codec
from kantor.errors import CodecError, RegistryUnavailableError, UnknownSchemaError
from kantor.registry import RegistrySchemas
from kantor_schemas import Schema, canonical_json, full_name

VALUE = {"x": 1, "name": "A"}


@pytest.fixture
def schema() -> Schema:
    """A record type that no other test uses."""
    return {
        "type": "record",
        "name": f"Point{uuid.uuid4().hex[:8]}",
        "namespace": "geo",
        "fields": [
            {"name": "x", "type": "int"},
            {"name": "name", "type": ["null", "string"], "default": None, "confluent:tags": ["PII"]},
        ],
    }


@pytest.fixture
def stock(registry: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's client."""
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


def context(topic: str) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE)


def serializer(stock: SchemaRegistryClient, schema: Schema, **more: Any) -> AvroSerializer:
    settings = {"subject.name.strategy": topic_record, **more}
    made: AvroSerializer = AvroSerializer(stock, canonical_json(schema), conf=settings)
    return made


def test_confluent_reads_what_kantor_writes(
    registry: str, stock: SchemaRegistryClient, schema: Schema
) -> None:
    """The standard deserializer reads Kantor's bytes."""
    written = Codec(RegistrySchemas(registry)).encoder(schema, "evt.geo.v1")(VALUE)
    assert AvroDeserializer(stock)(written, context("evt.geo.v1")) == VALUE


def test_kantor_reads_what_confluent_writes(
    registry: str, stock: SchemaRegistryClient, schema: Schema
) -> None:
    """Kantor reads the standard serializer's bytes."""
    written = serializer(stock, schema)(VALUE, context("evt.geo.v1"))
    assert Codec(RegistrySchemas(registry)).decode(written) == VALUE


def test_both_register_the_same_subject(registry: str, stock: SchemaRegistryClient, schema: Schema) -> None:
    """Kantor and the standard serializer share subject (TopicRecordName) and id."""
    written = serializer(stock, schema)(VALUE, context("evt.geo.v1"))
    assert written is not None
    id_ = RegistrySchemas(registry).id_of(schema, "evt.geo.v1")
    assert int.from_bytes(written[1:5], "big") == id_
    subject = f"evt.geo.v1-{full_name(schema)}"
    assert stock.get_versions(subject) == [1]


def test_properties_survive(registry: str, schema: Schema) -> None:
    """Tags and ``kantor.*`` properties come back from the registry as they were."""
    schemas = RegistrySchemas(registry)
    id_ = schemas.id_of(schema, "evt.geo.v1")
    assert RegistrySchemas(registry).schema_of(id_) == schema


def test_an_incompatible_schema_is_refused(
    registry: str, stock: SchemaRegistryClient, schema: Schema
) -> None:
    """The registry's compatibility rule binds Kantor too."""
    schemas = RegistrySchemas(registry)
    schemas.id_of(schema, "evt.geo.v1")
    stock.set_compatibility(f"evt.geo.v1-{full_name(schema)}", "BACKWARD_TRANSITIVE")
    fields = [*schema["fields"], {"name": "required", "type": "string"}]
    with pytest.raises(CodecError, match="refused"):
        schemas.id_of({**schema, "fields": fields}, "evt.geo.v1")


def test_an_unknown_id(registry: str) -> None:
    """An id that the registry does not know is unknown, not an outage."""
    with pytest.raises(UnknownSchemaError):
        RegistrySchemas(registry).schema_of(2_000_000_000)


def test_no_registry() -> None:
    """A registry that is not there is an outage."""
    with pytest.raises(RegistryUnavailableError):
        RegistrySchemas("http://127.0.0.1:9", sleep=lambda _: None).schema_of(1)
