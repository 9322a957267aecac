"""A topic that intake may see but not read: timeouts wait, and it is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import BEGINNING, TopicSpec
from kantor.testing import MemoryBroker
from kantor_orchestrator import journal, topics
from kantor_orchestrator.intake import Intake
from kantor_orchestrator.metrics import IntakeMetrics
from unit.intake_kit import AtOnce

SECRET, OPEN = "evt.secret.v1", "evt.open.v1"


class Running:
    """An intake in memory, whose broker has two source topics with a record each."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        own = [spec for spec in topics.specs(1, 1 << 20) if spec.name == topics.JOURNAL]
        self.broker.clients().admin().create_topics([*own, TopicSpec(SECRET, 2), TopicSpec(OPEN, 1)])
        producer = self.broker.clients().producer("test")
        for topic in (SECRET, OPEN):
            producer.produce(topic, b"x", b"t1", [("ce_correlationid", b"t1")], 0)
        producer.flush()
        self.registry = CollectorRegistry()
        clients, clock = self.broker.clients(), self.broker.clock
        self.intake = Intake(clients, 1, IntakeMetrics(self.registry), clock=clock, sampler=AtOnce())
        self.intake.start(lambda: None)

    def watermark(self) -> journal.Watermark:
        """The latest, after some seconds."""
        for _ in range(100):
            self.intake.turn()
        reader = self.broker.clients().consumer("test", ends=True)
        reader.assign({(topics.JOURNAL, 0): BEGINNING})
        marks = [record for record in reader.poll(0, 10_000).records if record.key() is None]
        return journal.Watermark.load(marks[-1].value() or b"")

    def told(self, topic: str) -> float | None:
        return self.registry.get_sample_value("kantor_intake_refused", {"topic": topic})


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Running:
    caplog.set_level(logging.INFO, "kantor.intake")
    return Running()


def actions(caplog: pytest.LogCaptureFixture) -> list[Any]:
    found = [getattr(record, "action", None) for record in caplog.records]
    return [action for action in found if action in ("source_refused", "source_accepted")]


def test_it_is_told_and_what_can_be_read_is_read(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """By watermark, metric and, once for the topic, log; nobody says that its partitions are in the journal."""
    running.broker.refused.add(SECRET)
    mark = running.watermark()
    assert list(mark.refused) == [SECRET]
    assert "authorization failed" in mark.refused[SECRET]
    assert mark.partitions == [f"{OPEN}/0"]
    assert (
        mark.sources == 3
    )  # so a shard knows that it has not heard of two of them, and lets no timeout fire
    assert running.told(SECRET) == 1
    assert actions(caplog) == ["source_refused"]
    assert f"intake may not read {SECRET}" in caplog.text


def test_it_is_over_when_it_may_be_read(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Everybody hears of that, too."""
    running.broker.refused.add(SECRET)
    running.watermark()
    running.broker.refused.clear()
    mark = running.watermark()
    assert (mark.refused, len(mark.partitions)) == ({}, 3)
    assert running.told(SECRET) is None
    assert actions(caplog) == ["source_refused", "source_accepted"]


def test_nothing_is_told_of_topics_that_can_be_read(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual case."""
    assert running.watermark().refused == {}
    assert (running.told(SECRET), actions(caplog)) == (None, [])


def test_a_watermark_with_what_is_refused_can_be_read_back() -> None:
    """And one of an older intake, which says nothing of it."""
    mark = journal.Watermark("i", 1, ["a/0"], ["a", "b"], {}, 2, {"b": "no"})
    assert journal.Watermark.load(mark.dump()) == mark
    assert journal.Watermark.load(b'{"intake":"i","clock":1,"partitions":[],"topics":[]}').refused == {}
