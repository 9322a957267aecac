"""What the view counts: transactions by saga and status, and what intake says of what it can't journal."""

from __future__ import annotations

import pytest

from kantor_orchestrator.formats.marks import Uncorrelated
from kantor_orchestrator.view.database import Location, ViewWriter
from kantor_orchestrator.view.queries import View
from unit.view_kit import projector
from view_places import Places
from view_traffic import Traffic, project


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def test_transactions_are_counted_by_saga_and_status(traffic: Traffic, path: Location) -> None:
    """The counts are kept while transactions change."""
    traffic.completed("a")
    traffic.completed("b")
    traffic.compensated("c")
    traffic.order("d")
    traffic.event("e", "crm.LeadCreated")
    project(traffic, path, batch=3)
    with View(path) as view:
        assert view.counts() == {
            ("checkout", "completed"): 2,
            ("checkout", "compensated"): 1,
            ("checkout", "running"): 1,
            ("", "observed"): 1,
        }


def test_records_that_could_not_be_journaled_are_summed_over_intake_processes(
    traffic: Traffic, path: Location
) -> None:
    """By topic and reason; each process counts from its own start; the latest sample is shown."""
    traffic.watermark("intake-1", {"evt.x": {"no id": Uncorrelated(2, "evt.x/0/1")}})
    traffic.watermark(
        "intake-1",
        {"evt.x": {"no id": Uncorrelated(3, "evt.x/0/2"), "too large": Uncorrelated(1, "evt.x/0/5")}},
    )
    traffic.now += 1000
    traffic.watermark("intake-2", {"evt.x": {"no id": Uncorrelated(4, "evt.x/0/9")}})
    project(traffic, path)
    with View(path) as view:
        assert [(u.topic, u.count, u.reason, u.sample) for u in view.uncorrelated()] == [
            ("evt.x", 7, "no id", "evt.x/0/9"),
            ("evt.x", 1, "too large", "evt.x/0/5"),
        ]


def test_a_topic_that_intake_may_not_read_is_shown_as_long_as_it_says_so(
    traffic: Traffic, path: Location
) -> None:
    """Half a minute after it said so last, it is over."""
    traffic.watermark("intake-1", {}, {"evt.secret.v1": "not allowed", "evt.other.v1": "not allowed"})
    traffic.now += 20_000
    traffic.watermark("intake-1", {}, {"evt.secret.v1": "not allowed"})
    traffic.now += 20_000
    traffic.watermark("intake-1", {})
    project(traffic, path)
    writer = ViewWriter(path)
    writer.alive(traffic.now)
    writer.close()
    with View(path) as view:
        assert [(one.topic, one.reason) for one in view.refused()] == [("evt.secret.v1", "not allowed")]


def test_watermarks_without_news_are_not_stored(traffic: Traffic) -> None:
    """They come several times a second, for ever; that intake lives is all they say."""
    traffic.watermark("intake-1", {})
    changes = projector(traffic).project(traffic.records)
    assert (changes.is_news, changes.seen_intake) == (False, traffic.now)
