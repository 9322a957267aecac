"""Slow handlers on a real Kafka: a service stays a member of its group, whatever its handlers take."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from uuid import uuid4

from kantor import Service
from kantor.clients import TopicSpec
from kantor.codec import Codec
from kantor.kafka import KafkaSettings
from kantor.runner import Runner
from kantor.schemas import schema_store
from kantor.writing import Writer
from kantor_examples.checkout.messages import BookShipment
from unit.kit_services import BOOK
from waiting import PATIENCE


def test_a_handler_may_take_longer_than_the_poll_interval(kafka: str) -> None:
    """Its message, and those behind it, are handled once, and their positions committed: the group never takes them away."""
    name = f"slow-{uuid4().hex[:8]}"
    topic = f"cmd.{name}.v1"
    settings = KafkaSettings(kafka)
    settings.admin().create_topics([TopicSpec(topic, 1)])
    calls: Counter[str] = Counter()
    service = Service(name, publishes=[BookShipment])

    @service.handles(BookShipment, topic=topic)
    def book(command: BookShipment) -> None:
        calls[command.order_id] += 1
        time.sleep(9.0 if command.order_id == "slow" else 0.2)

    orders = ["slow", *(f"o-{number}" for number in range(20))]
    write(settings, topic, orders)
    runner = Runner(service, KafkaSettings(kafka, {"max.poll.interval.ms": "6000"}), http_port=0)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE + 30
        while settings.admin().group_offsets(name).get((topic, 0)) != len(orders):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        runner.stop()
        thread.join(30)
    assert calls == Counter(orders)


def write(settings: KafkaSettings, topic: str, orders: list[str]) -> None:
    writer = Writer("kantor", Codec(schema_store(settings)), [BookShipment])
    producer = settings.producer("slow")
    for order in orders:
        out = writer.start(writer.encode(replace(BOOK, order_id=order), 0), order, 0)
        producer.produce(topic, out.value, out.key, out.headers)
    producer.flush()
