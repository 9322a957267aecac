"""Reading one message where it lies, on a real Kafka: found, gone, of another life, nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.errors import NotFoundError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.api import payloads as module
from kantor_orchestrator.api.payloads import GoneError, Payloads
from waiting import PATIENCE

SCHEMA = {
    "type": "record",
    "name": "Note",
    "namespace": "test",
    "fields": [{"name": "text", "type": "string"}, {"name": "raw", "type": "bytes"}],
}


@pytest.fixture(scope="module")
def topic(kafka: str) -> str:
    """Five records: Avro, JSON, a tombstone, bytes without meaning, one of 900 kB; in one Kafka transaction."""
    settings = KafkaSettings(kafka)
    name = f"payloads.{uuid4().hex[:8]}"
    settings.admin().create_topics([TopicSpec(name, 1)])
    encode = Codec(SCHEMAS).encoder(SCHEMA, name)
    producer = settings.producer("payloads", transactional_id=name)
    producer.init_transactions()
    producer.begin()
    values = [encode({"text": "hello", "raw": b"\xff"}), b'{"a": [1]}', None, b"\x07\x08", b"x" * 900_000]
    for number, value in enumerate(values):
        producer.produce(name, value, b"key", [("ce_id", f"id-{number}".encode()), ("bin", b"\xff")], 0)
    producer.commit()
    return name


SCHEMAS = MemorySchemas()


@pytest.fixture(scope="module")
def payloads(kafka: str) -> Iterator[Payloads]:
    """With more patience than a person has: a machine under load is no broker that does not answer."""
    found = Payloads(KafkaSettings(kafka), SCHEMAS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PATIENCE", PATIENCE)
        yield found
    found.close()


def test_a_message_is_decoded_with_its_own_schema(payloads: Payloads, topic: str) -> None:
    """With what JSON lacks told as such, its headers, key and time."""
    found = payloads.read(f"{topic}/0/0", "id-0")
    assert found.decoded == {"text": "hello", "raw": {"$bytes": "/w=="}}
    assert found.schema is not None
    assert (found.schema["name"], found.key, found.header("ce_id"), found.trouble) == (
        "Note",
        b"key",
        "id-0",
        "",
    )


def test_other_values_are_told_as_what_they_are(payloads: Payloads, topic: str) -> None:
    """JSON as JSON; what is neither says why, and its bytes are there."""
    assert payloads.read(f"{topic}/0/1").decoded == {"a": [1]}
    assert "tombstone" in payloads.read(f"{topic}/0/2").trouble
    unknown = payloads.read(f"{topic}/0/3")
    assert (unknown.value, unknown.decoded) == (b"\x07\x08", None)
    assert "wire format" in unknown.trouble
    assert len(payloads.read(f"{topic}/0/4").value or b"") == 900_000


def test_what_was_never_written_is_gone_at_once(payloads: Payloads, topic: str) -> None:
    """Beyond the end, and the mark of a Kafka transaction: no waiting until the time is up."""
    start = time.monotonic()
    for offset in (5, 6, 1_000):
        with pytest.raises(GoneError):
            payloads.read(f"{topic}/0/{offset}")
    assert time.monotonic() - start < PATIENCE


def test_another_message_at_the_same_place_is_not_this_one(payloads: Payloads, topic: str) -> None:
    """The topic was recreated, and has other messages there."""
    with pytest.raises(GoneError, match="recreated"):
        payloads.read(f"{topic}/0/0", "id-of-another-life")


@pytest.mark.parametrize(
    "place", ["", "topic", "topic/0", "topic/x/1", "topic/0/-1", "/0/1", "t/0/" + "9" * 30]
)
def test_what_is_no_place_is_not_found(payloads: Payloads, place: str) -> None:
    """With how to write one."""
    with pytest.raises(NotFoundError, match="topic/partition/offset"):
        payloads.read(place)


def test_what_the_topic_has_dropped_is_gone(payloads: Payloads, topic: str, kafka: str) -> None:
    """The log begins later now; the first that is left can be read."""
    admin = AdminClient({"bootstrap.servers": kafka})  # it must outlive its futures
    for future in admin.delete_records([TopicPartition(topic, 0, 3)]).values():
        future.result(PATIENCE)
    with pytest.raises(GoneError, match="no longer kept"):
        payloads.read(f"{topic}/0/0")
    assert payloads.read(f"{topic}/0/3").value == b"\x07\x08"
