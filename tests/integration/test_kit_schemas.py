"""Schemas that services and platform share by a topic of Kafka, without a registry."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kantor import KafkaSettings
from kantor.errors import CodecError, UnknownSchemaError
from kantor.schemas import SCHEMAS_TOPIC, KafkaSchemas
from kantor_schemas import Schema, canonical_json, schema_id
from waiting import until


def unique_schema() -> Schema:
    name = f"Thing{uuid.uuid4().hex[:8]}"
    return {"type": "record", "name": name, "namespace": "n", "fields": [{"name": "x", "type": "int"}]}


def test_schemas_are_shared(kafka: str) -> None:
    """A schema that one process writes with is known to another, whenever that one started."""
    settings, schema = KafkaSettings(kafka), unique_schema()
    reader = KafkaSchemas(settings)
    with pytest.raises(UnknownSchemaError):
        reader.schema_of(schema_id(schema))
    id_ = KafkaSchemas(settings).id_of(schema, "t")
    assert id_ == schema_id(schema)
    assert reader.schema_of(id_) == schema


def test_a_schema_is_published_once(kafka: str) -> None:
    """A schema that is in the topic already is not published again."""
    settings, schema = KafkaSettings(kafka), unique_schema()
    KafkaSchemas(settings).id_of(schema, "t")
    end = settings.admin().ends([(SCHEMAS_TOPIC, 0)])
    second = KafkaSchemas(settings)
    second.id_of(schema, "t")
    second.id_of(schema, "u")
    assert settings.admin().ends([(SCHEMAS_TOPIC, 0)]) == end


def test_the_topic_of_schemas(kafka: str) -> None:
    """The topic is compacted and has one partition, and its records are the schemas' canonical JSON by id."""
    settings, schema = KafkaSettings(kafka), unique_schema()
    id_ = KafkaSchemas(settings).id_of(schema, "t")
    assert settings.admin().topics()[SCHEMAS_TOPIC] == 1
    assert settings.admin().config(SCHEMAS_TOPIC)["cleanup.policy"] == "compact"
    consumer = settings.consumer("test")
    last = settings.admin().ends([(SCHEMAS_TOPIC, 0)])[SCHEMAS_TOPIC, 0] - 1
    consumer.assign({(SCHEMAS_TOPIC, 0): last})
    found: list[Any] = []

    def is_read() -> bool:
        found.extend(consumer.poll(0.1).records)
        return bool(found)

    until(is_read, "the last schema is read", pause=0)
    consumer.close()
    (record,) = found
    assert (record.key(), record.value()) == (str(id_).encode(), canonical_json(schema).encode())


def test_unusable_schemas_are_passed_over(kafka: str) -> None:
    """What others wrote into the topic by mistake stops nobody."""
    settings, schema = KafkaSettings(kafka), unique_schema()
    KafkaSchemas(settings).id_of(unique_schema(), "t")
    producer = settings.producer("test")
    for key, value in ((b"1", b"{"), (b"2", canonical_json(schema).encode()), (b"3", None)):
        producer.produce(SCHEMAS_TOPIC, value, key, [], 0)
    producer.flush()
    reader = KafkaSchemas(settings)
    with pytest.raises(CodecError):
        reader.schema_of(2)
    assert reader.id_of(schema, "t") == schema_id(schema)
