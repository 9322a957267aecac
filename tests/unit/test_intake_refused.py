"""A topic that intake may see but not read: timeouts wait, and it is told (journal-14)."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kantor_orchestrator.formats import watermarks
from kantor_orchestrator.formats.watermarks import Statements
from unit.intake_kit import Running

SECRET, OPEN = "evt.secret.v1", "evt.open.v1"


def told(running: Running) -> Statements:
    """What everybody knows, after some seconds."""
    running.turn(500)
    return watermarks.read(running.broker.clients(), "test", running.broker.clock)


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Running:
    caplog.set_level(logging.INFO, "kantor.intake")
    running = Running({SECRET: 2, OPEN: 1})
    for topic in (SECRET, OPEN):
        running.send(topic)
    return running


def actions(caplog: pytest.LogCaptureFixture) -> list[Any]:
    found = [getattr(record, "action", None) for record in caplog.records]
    return [action for action in found if action in ("source_refused", "source_accepted")]


def test_it_is_told_and_what_can_be_read_is_read(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """By watermark, metric and, once for the topic, log; nobody says that its partitions are in the journal."""
    running.broker.refused.add(SECRET)
    found = told(running)
    assert list(found.refused()) == [SECRET]
    assert "authorization failed" in found.refused()[SECRET]
    (member,) = found.members.values()
    assert member.about is not None
    assert (member.about.counts[SECRET], SECRET in member.about.covers) == (2, False)
    assert found.low() == 0  # so no timeout goes off
    assert running.value("refused", topic=SECRET) == 1
    assert actions(caplog) == ["source_refused"]
    assert f"intake may not read {SECRET}" in caplog.text


def test_it_is_over_when_it_may_be_read(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Everybody hears of that, too."""
    running.broker.refused.add(SECRET)
    told(running)
    running.broker.refused.clear()
    found = told(running)
    assert found.refused() == {}
    assert found.low() > 0
    assert running.value("refused", topic=SECRET) is None
    assert actions(caplog) == ["source_refused", "source_accepted"]


def test_nothing_is_told_of_topics_that_can_be_read(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual case."""
    assert told(running).refused() == {}
    assert (running.value("refused", topic=SECRET), actions(caplog)) == (None, [])
