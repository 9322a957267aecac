"""Answers that their topic does not take: the handler fails, its service goes on (kit-22)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kantor import Service, SqliteStore
from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.metrics import Metrics
from kantor.records import StepFailed
from kantor.runner import Session
from kantor.testing import MemoryBroker
from kantor.topics import limits
from kantor.writing import Writer, failure_topic
from kantor_examples.checkout.messages import BookShipment, ShipmentBooked


@pytest.mark.parametrize("transactional", [False, True])
def test_an_answer_larger_than_its_topic_takes(transactional: bool, tmp_path: Path) -> None:
    """It is a failure of its handler, which says what to do; what comes after it is answered."""
    broker = MemoryBroker()
    clients, schemas = broker.clients(), MemorySchemas()
    broker.create_topic(TopicSpec(BookShipment.TOPIC, 1))
    broker.create_topic(TopicSpec(ShipmentBooked.TOPIC, 1, {"max.message.bytes": "10000"}))
    broker.create_topic(TopicSpec(failure_topic("shipping"), 1))
    producer = clients.producer("kantor")
    writer = Writer("kantor", Codec(schemas), [BookShipment])
    for name in ("a", "b" * 8_000, "c"):
        command = BookShipment(order_id=name, sku="s", quantity=1)
        out = writer.start(writer.encode(command, broker.clock.now()), f"t-{name[0]}", 0)
        producer.produce(out.topic, out.value, out.key, out.headers, 0)
    producer.flush()
    store = None if transactional else SqliteStore(str(tmp_path / "service.db"))
    service = Service("shipping", store=store, transactional=transactional)

    @service.handles(BookShipment)
    def book(command: BookShipment) -> ShipmentBooked:
        return ShipmentBooked(order_id=command.order_id, tracking="1")

    inbox = None if store is None else store.open()
    session = Session(
        service,
        clients,
        schemas,
        Metrics(),
        inbox,
        instance="0",
        stop=threading.Event(),
        clock=broker.clock,
    )
    session.start(lambda _: None)
    for _ in range(20):
        session.turn()
        broker.clock.sleep(0.1)
    session.close()
    if inbox is not None:
        inbox.close()

    assert _keys(broker, ShipmentBooked.TOPIC) == [b"t-a", b"t-c"]
    (failed,) = broker.log((failure_topic("shipping"), 0)).read(0, 10, 1e12, committed=True)[0]
    headers = dict(failed.headers() or ())
    said = Codec(schemas).decode(failed.value(), headers, expected=StepFailed.TYPE, reader=StepFailed.SCHEMA)
    assert failed.key() == b"t-b"
    assert f"fits {ShipmentBooked.TOPIC} up to 5904" in said["message"]


def test_a_kept_answer_that_its_topic_takes_no_longer(tmp_path: Path) -> None:
    """It was done when the topic took larger records; asked again, its service says so by name, and answers all others. Once the
    topic takes it again, whoever asks again gets it."""
    broker = MemoryBroker()
    clients, schemas = broker.clients(), MemorySchemas()
    for name in (BookShipment.TOPIC, ShipmentBooked.TOPIC, failure_topic("shipping")):
        broker.create_topic(TopicSpec(name, 1))
    producer = clients.producer("kantor")
    writer = Writer("kantor", Codec(schemas), [BookShipment])
    service = Service("shipping", store=SqliteStore(str(tmp_path / "service.db")))
    done: list[str] = []

    @service.handles(BookShipment)
    def book(command: BookShipment) -> ShipmentBooked:
        done.append(command.order_id[0])
        return ShipmentBooked(order_id=command.order_id, tracking="1")

    def asked(*names: str) -> list[bytes | None]:
        """What is answered to these, by a service that is started for it."""
        for name in names:
            command = BookShipment(order_id=name, sku="s", quantity=1)
            out = writer.start(writer.encode(command, broker.clock.now()), f"t-{name[0]}", 0)
            producer.produce(out.topic, out.value, out.key, out.headers, 0)
        producer.flush()
        before = len(_keys(broker, ShipmentBooked.TOPIC))
        assert service.store is not None
        inbox = service.store.open()
        stop = threading.Event()
        session = Session(
            service, clients, schemas, Metrics(), inbox, instance="0", stop=stop, clock=broker.clock
        )
        session.start(lambda _: None)
        for _ in range(20):
            session.turn()
            broker.clock.sleep(0.1)
        session.close()
        inbox.close()
        return _keys(broker, ShipmentBooked.TOPIC)[before:]

    large = "b" * 12_000
    assert asked("a", large) == [b"t-a", b"t-b"]
    broker.topics[ShipmentBooked.TOPIC].config["max.message.bytes"] = "10000"
    assert asked("a", large, "c") == [b"t-a", b"t-c"]
    (failed,) = broker.log((failure_topic("shipping"), 0)).read(0, 10, 1e12, committed=True)[0]
    headers = dict(failed.headers() or ())
    said = Codec(schemas).decode(failed.value(), headers, expected=StepFailed.TYPE, reader=StepFailed.SCHEMA)
    assert (failed.key(), said["code"], said["unsure"], said["retryable"]) == (
        b"t-b",
        "too_large",
        True,
        True,
    )
    assert f"fits {ShipmentBooked.TOPIC} up to 5904" in said["message"]
    broker.topics[ShipmentBooked.TOPIC].config["max.message.bytes"] = "1048588"
    assert asked(large) == [b"t-b"]
    assert done == ["a", "b", "c"]


def test_limits_are_of_topics_that_take_less() -> None:
    """A topic with the broker's default takes the kit's own limit; one that does not tell is not asked twice."""
    broker = MemoryBroker()
    for name, size in (("evt.small", "20000"), ("evt.usual", "1048588"), ("evt.hidden", "20000")):
        broker.create_topic(TopicSpec(name, 1, {"max.message.bytes": size}))
    broker.refused.add("evt.hidden")
    assert limits(broker.clients().admin(), ["evt.small", "evt.usual", "evt.hidden"]) == {"evt.small": 15904}


def _keys(broker: MemoryBroker, topic: str) -> list[bytes | None]:
    return [record.key() for record in broker.log((topic, 0)).read(0, 10, 1e12, committed=True)[0]]
