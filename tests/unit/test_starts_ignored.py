"""Starts that started nothing: said in ``kantor status`` for a day, with one of them and what to do."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.decide import IGNORED_STARTS, OLD_START_CODE
from kantor_orchestrator.formats import topics, watermarks
from kantor_orchestrator.formats.marks import IgnoredStarts
from kantor_orchestrator.intake.marking import LONG_GONE
from kantor_orchestrator.operations import standing
from unit.intake_kit import Running

OWNERS = {"e": [(topics.JOURNAL, 0)]}


def said(told: watermarks.Statements, now: int) -> list[tuple[str, str]]:
    found = standing.problems(standing.stand(told, 1, OWNERS, now))
    return [(what, remedy) for what, remedy in found if "started nothing" in what]


@pytest.mark.parametrize("code", IGNORED_STARTS)
def test_starts_that_started_nothing_are_told_for_a_day(code: str) -> None:
    """What all engines ignored, with the latest of them, and how it is started; a day after the latest: nothing."""
    told = watermarks.Statements()
    for engine, one, at in [
        ("gone", IgnoredStarts(2, "t-1", "evt.x.v1/0/1", 11), 5_000),
        ("here", IgnoredStarts(1, "t-2", "evt.x.v1/0/7", 12), 6_000),
    ]:
        told.take(f"ignored/{engine}/{code}".encode(), one.dump(), at)
    ((what, remedy),) = said(told, 66_000)
    assert what.startswith("3 start events ")
    assert what.endswith("the latest is of transaction t-2 (evt.x.v1/0/7), 1 min ago")
    assert "`kantor start t-2 --offset 12 --why ...`" in remedy
    assert ("24 h" in what) == (code == OLD_START_CODE)
    assert standing.as_json(standing.stand(told, 1, OWNERS, 66_000))["ignored_starts"] == [
        {
            "kind": code,
            "count": 3,
            "transaction": "t-2",
            "place": "evt.x.v1/0/7",
            "journal_offset": 12,
            "age_ms": 60_000,
        }
    ]
    assert said(told, 6_000 + standing.RECENT) == []


def test_a_record_of_ignored_starts_is_taken_back_after_a_day() -> None:
    """By intake, whoever wrote it: its engine may be gone."""
    running = Running()
    record = IgnoredStarts(1, "t", "evt.x.v1/0/1", 0)
    producer = running.broker.clients().producer("test")
    producer.produce(topics.WATERMARKS, record.dump(), f"ignored/e/{OLD_START_CODE}".encode(), None, 0)
    producer.flush()

    def told() -> int:
        return len(watermarks.read(running.broker.clients(), "test", running.broker.clock).ignored_starts)

    running.turn(40)
    assert told() == 1
    running.broker.clock.sleep(LONG_GONE / 1000)
    running.turn(200)
    assert told() == 0
