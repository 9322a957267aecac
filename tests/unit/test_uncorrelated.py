"""What could not be journaled: counted by topic and reason, with a sample, and told with the watermarks."""

from __future__ import annotations

import json
import logging

import pytest

from kantor_orchestrator.formats import watermarks
from kantor_orchestrator.formats.marks import (
    Uncorrelated,
    dump_uncorrelated,
    load_uncorrelated,
)
from kantor_orchestrator.intake import marking
from kantor_orchestrator.intake.addressing import GONE
from kantor_orchestrator.intake.marking import MOST_REASONS, OTHERS, Refusals
from unit.intake_kit import EVENT, GOOD, OTHER, Running


def test_reasons_are_kept_apart_and_told_with_a_sample() -> None:
    """By topic and reason; a second later at most, whoever asks or not."""
    running = Running()
    running.turn(20)
    running.send(ce_type=b"")
    running.send(ce_type=b"")
    running.send(ce_specversion=b"0.3")
    running.send(OTHER, ce_type=b"")
    running.turn(40)
    found = watermarks.read(running.broker.clients(), "test", running.broker.clock).uncorrelated
    member = running.intake._marker.name
    assert [(one.count, one.sample) for one in found[member, EVENT].values()] == [
        (2, f"{EVENT}/0/1"),
        (1, f"{EVENT}/0/2"),
    ]
    assert [(one.count, one.sample) for one in found[member, OTHER].values()] == [(1, f"{OTHER}/0/0")]


def test_reasons_and_topics_are_bounded() -> None:
    """Whatever comes; what is beyond is counted together."""
    refusals = Refusals()
    for n in range(100):
        refusals.add("evt.x", f"reason {n}", f"evt.x/0/{n}")
    for n in range(1_000):
        refusals.add(f"evt.{n}", "why", f"evt.{n}/0/0")
    assert len(refusals.by_topic["evt.x"]) == MOST_REASONS + 1
    assert refusals.by_topic["evt.x"][OTHERS] == Uncorrelated(100 - MOST_REASONS, "evt.x/0/99")
    assert len(refusals.by_topic) == marking.MOST_TOPICS + 1
    assert sum(one.count for found in refusals.by_topic.values() for one in found.values()) == 1_100


def test_what_could_not_be_journaled_comes_back_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """With the time when it was written."""
    caplog.set_level(logging.INFO)
    found = {"no id; set it": Uncorrelated(3, "evt.x/0/7")}
    value = dump_uncorrelated(found)
    assert load_uncorrelated(value, 5) == {"no id; set it": Uncorrelated(3, "evt.x/0/7", 5)}
    assert json.loads(value) == {"no id; set it": [3, "evt.x/0/7"]}


def test_records_that_retention_took_before_intake_read_them_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Intake was down for longer than its source keeps records: they are counted and said, once, and it goes on behind them."""
    running = Running()
    running.send()
    running.turn()
    running.intake.close()
    for _ in range(5):
        running.send()
    running.broker.topics[EVENT].logs[0].trim(4)
    for _ in range(2):
        running.start()
        running.turn()
        assert running.value("uncorrelated_total", topic=EVENT) in (3, None)
        running.intake.close()
    assert [r.getMessage() for r in caplog.records if getattr(r, "action", "") == "source_lost"] == [
        f"{EVENT}/0 begins at 4, although it was read up to 1 only: Kafka has deleted the records between, so no saga receives them"
    ]
    assert running.journaled() == [f"{EVENT}/0/{n}" for n in (0, 4, 5)]
    told = watermarks.read(running.broker.clients(), "test", running.broker.clock).uncorrelated
    (found,) = [one for (_, topic), one in told.items() if topic == EVENT]
    assert found == {GONE: Uncorrelated(3, f"{EVENT}/0/3", found[GONE].at)}


def test_records_that_retention_takes_while_intake_reads_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """It is behind, and the client goes on where the partition begins."""
    running = Running()
    running.send()
    running.turn()
    for _ in range(5):
        running.send()
    log = running.broker.topics[EVENT].logs[0]
    log.trim(4)
    running.turn()
    assert running.value("uncorrelated_total", topic=EVENT) == 3
    log.trim(5)  # what was read
    running.send()
    running.turn()
    assert running.value("uncorrelated_total", topic=EVENT) == 3


def test_what_is_no_record_is_not_told_as_lost() -> None:
    """Kafka transactions end with marks, and compaction takes records: nothing before them was deleted."""
    running = Running()
    producer = running.broker.clients().producer("services", transactional_id="services")
    producer.init_transactions()
    for _ in range(3):
        producer.begin()
        producer.produce(EVENT, b"x", b"key", list(GOOD.items()), 0)
        producer.commit()
        running.turn()
    assert len(running.journaled()) == 3
    assert running.value("uncorrelated_total", topic=EVENT) is None


@pytest.mark.parametrize("position", [0, 3, 5])
def test_a_position_that_an_operator_has_set_skips_nothing(
    position: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With a tool, while intake was down: to the end, say. Everything is read, what came before too, which the engine knows."""
    running = Running()
    running.send()
    running.send()
    running.turn()
    running.intake.close()
    for _ in range(3):
        running.send()
    running.broker.group("kantor-intake").offsets[EVENT, 0] = position
    for _ in range(2):
        running.start()
        running.turn()
        running.intake.close()
    assert running.journaled() == [f"{EVENT}/0/{n}" for n in (0, 1, 0, 1, 2, 3, 4)]
    said = [r.getMessage() for r in caplog.records if getattr(r, "action", "") == "position_foreign"]
    assert len(said) == 1
    assert f"the position {position} of {EVENT}/0" in said[0]
