"""What only a real broker does to intake: batches that are compressed, header names as bytes, topics recreated."""

from __future__ import annotations

import json
import logging
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
from kantor_orchestrator.formats import journal, topics, watermarks
from kantor_orchestrator.intake.loop import Intake
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


def test_a_batch_that_is_larger_unpacked_than_the_client_takes(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Six kilobytes have 135 MB in them: its partition stands still, which is told by name with the remedy; the others go on. A
    client that takes more reads it."""
    caplog.set_level(logging.ERROR, "kantor.kafka")  # `kantor status` makes it silent
    options = {"compression.type": "zstd", "batch.size": 300_000_000, "message.max.bytes": 500_000_000}
    producer = ck.Producer(
        {"bootstrap.servers": running.settings.bootstrap_servers, "linger.ms": 100_000, **options}
    )
    for _ in range(150):
        producer.produce(EVENT, b"\0" * 900_000, b"key", partition=0)
    assert producer.flush(PATIENCE) == 0
    running.send("behind")
    running.send("elsewhere", OTHER)
    running.await_journaled("elsewhere")

    def refused() -> str:
        return watermarks.read(running.settings, "test").refused().get(EVENT, "")

    until(lambda: bool(refused()), "it is told", refused)
    assert "Decompression" in refused()
    assert "raise receive.message.max.bytes" in refused()
    said = [r.getMessage() for r in caplog.records if getattr(r, "action", "") == "batch_unreadable"]
    assert said
    assert said[0].startswith(f"{EVENT}/0 stands still: a batch can't be unpacked")
    assert "behind" not in {id_ for id_, _ in running.journaled()}
    able = running.settings.consumer("able", extra={"receive.message.max.bytes": 1_000_000_000})
    able.assign({(EVENT, 0): BEGINNING})
    read: list[bytes | None] = []

    def all_is_read() -> bool:
        read.extend(record.value() for record in able.poll(0.1).records)
        return len(read) == 151

    until(all_is_read, "a client that takes more has read it", lambda: str(len(read)))
    able.close()


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
def test_a_topic_that_is_deleted_and_recreated_at_once(running: Running, count: int) -> None:
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
