"""What only a real broker does to intake: batches that are compressed, header names as bytes, topics made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from contract.raw import produce
from kantor.clients import BEGINNING, TopicSpec
from kantor.kafka import KafkaSettings
from kantor_orchestrator import journal, topics, watermarks
from kantor_orchestrator.intake import Intake
from kantor_orchestrator.metrics import IntakeMetrics
from waiting import PATIENCE, until

EVENT, OTHER = "evt.shop.order.v1", "evt.shop.parcel.v1"


class Running:
    """Intake on a broker of its own, and what it has journaled."""

    def __init__(self, servers: str) -> None:
        self.settings = KafkaSettings(servers)
        self.admin = self.settings.admin()
        topics.ensure(self.admin, 1, 1)
        self.admin.create_topics([TopicSpec(EVENT, 1), TopicSpec(OTHER, 1)])
        self.reader = self.settings.consumer("test", ends=True)
        self.reader.assign({(topics.JOURNAL, 0): BEGINNING})
        self.seen: list[tuple[str, str]] = []

    def send(self, id_: str, topic: str = EVENT, value: bytes = b"x") -> None:
        """A record of the transaction ``id_``."""
        headers: list[tuple[str, str | bytes | None]] = [("ce_id", id_.encode()), ("ce_source", b"shop")]
        headers += [("ce_type", b"shop.Ordered"), ("ce_correlationid", id_.encode())]
        options = {"compression.type": "zstd", "message.max.bytes": 20_000_000}
        producer = ck.Producer({"bootstrap.servers": self.settings.bootstrap_servers, **options})
        producer.produce(topic, value, b"key", headers=headers)
        assert producer.flush(PATIENCE) == 0

    def journaled(self) -> list[tuple[str, str]]:
        """(transaction, topic id) of each entry so far."""
        for record in self.reader.poll(0.1).records:
            id_ = dict(record.headers() or ())[journal.TOPIC_ID] or b""
            self.seen.append(((record.key() or b"").decode(), id_.decode()))
        return self.seen

    def await_journaled(self, *ids: str) -> None:
        until(lambda: {id_ for id_, _ in self.journaled()} >= set(ids), f"{ids} are journaled", self._tell)

    def _tell(self) -> str:
        return str(self.seen)

    def reasons(self) -> dict[str, str]:
        """Of what could not be journaled: sample and reason."""
        told = watermarks.read(self.settings, "test")
        return {one.sample: why for found in told.uncorrelated.values() for why, one in found.items()}

    def make_again(self, topic: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap_servers})
        admin.delete_topics([topic])[topic].result(PATIENCE)
        until(lambda: topic not in self.admin.topics(), f"{topic} is gone")
        self.admin.create_topics([TopicSpec(topic, 1)])


@pytest.fixture
def running(empty_kafka: str) -> Iterator[Running]:
    running = Running(empty_kafka)
    stop = Event()
    intake = Intake(running.settings, 1, IntakeMetrics(CollectorRegistry()))
    with ThreadPoolExecutor(1) as thread:
        work = thread.submit(intake.run, stop, lambda: None)
        try:
            yield running
        finally:
            stop.set()
            running.reader.close()
            work.result(PATIENCE)


def test_a_record_that_fits_its_topic_compressed_only(running: Running) -> None:
    """The journal is made to take it; what is too large for that is refused, and nothing waits for it."""
    lines = json.dumps([{"line": n, "sku": "laptop", "note": "as agreed"} for n in range(80_000)]).encode()
    assert len(lines) > int(running.admin.config(topics.JOURNAL)["max.message.bytes"])
    running.send("before")
    running.send("large", value=lines)
    running.send("huge", value=b"x" * 19_000_000)
    running.send("elsewhere", OTHER)
    running.send("after")
    running.await_journaled("before", "large", "huge", "elsewhere", "after")
    assert int(running.admin.config(topics.JOURNAL)["max.message.bytes"]) == 32 << 20
    assert [id_ for id_, _ in running.seen if id_ != "elsewhere"] == ["before", "large", "huge", "after"]


def test_a_header_whose_name_is_no_utf_8(running: Running) -> None:
    """The client can't give it: the record is refused by name, the next one journaled."""
    running.send("good-1")
    running.await_journaled("good-1")
    headers = [(b"ce_id", b"bad"), (b"ce_correlationid", b"bad"), (b"\xff\xfe", b"x")]
    produce(running.settings.bootstrap_servers, EVENT, headers, b"x")
    running.send("good-2")
    running.await_journaled("good-1", "good-2")
    until(lambda: f"{EVENT}/0/1" in running.reasons(), "it is told", lambda: str(running.reasons()))
    assert "headers can't be read" in running.reasons()[f"{EVENT}/0/1"]
    assert "bad" not in {id_ for id_, _ in running.seen}


@pytest.mark.parametrize("count", [2, 12])
def test_a_topic_that_is_deleted_and_made_again_at_once(running: Running, count: int) -> None:
    """All of its records are journaled under its new id, whether it has fewer than the old one had, or more."""
    old = [f"old-{n}" for n in range(6)]
    for id_ in old:
        running.send(id_)
    running.await_journaled(*old)
    before = running.admin.topic_ids([EVENT])[EVENT]
    running.make_again(EVENT)
    after = running.admin.topic_ids([EVENT])[EVENT]
    new = [f"new-{n}" for n in range(count)]
    for id_ in new:
        running.send(id_)
    wanted = {(id_, after) for id_ in new}
    until(lambda: wanted <= set(running.journaled()), "all are journaled", lambda: str(running.seen))
    assert before != after
