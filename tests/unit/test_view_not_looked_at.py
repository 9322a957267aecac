"""What only the journal reports: nobody knows yet whether a saga starts with it (view-13)."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kantor_orchestrator.cli.main import main
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.database import Location, ViewWriter
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.search import Criteria
from kantor_orchestrator.view.status import ShownStatus
from view_places import Places
from view_traffic import Traffic, project

BEHIND = "not looked at yet (engine behind)"


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    """An order that no engine has looked at; the journal alone reports it."""
    traffic = Traffic()
    traffic.order("tx")
    traffic.records = [record for record in traffic.records if record.topic() == topics.JOURNAL]
    return traffic


def shown(path: Location, id_: str = "tx") -> tuple[str, str, list[str]]:
    with View(path) as view:
        (found,) = view.summaries([id_])
        return found.status, view.trace(id_).status, found.waiting_on


def looked_at(path: Location, shard: int, position: int) -> None:
    writer = ViewWriter(path)
    writer.looked_at({shard: position})
    writer.close()


def test_a_start_that_no_engine_has_looked_at_is_not_called_observed(
    traffic: Traffic, path: Location
) -> None:
    """It waits for Kantor, in lists and on its own page."""
    project(traffic, path, looked_at=False)
    assert shown(path) == ("not_looked_at", "not_looked_at", ["kantor"])


def test_it_is_observed_once_the_engine_is_past_it(traffic: Traffic, path: Location) -> None:
    """An entry without consequences leaves no record in the history: the engine's position tells."""
    project(traffic, path, looked_at=False)
    entry = traffic.records[0]
    looked_at(path, entry.partition(), entry.offset())
    assert shown(path)[0] == "not_looked_at"
    looked_at(path, entry.partition(), entry.offset() + 1)
    assert shown(path) == ("observed", "observed", [])


def test_a_decision_about_a_later_entry_tells_it_at_once(traffic: Traffic, path: Location) -> None:
    """The engine goes in the order of the journal."""
    (entry,) = traffic.records
    for number in range(50):
        traffic.order(f"other-{number}")
    project(traffic, path, looked_at=False)
    assert any(r.topic() == topics.HISTORY and r.partition() == entry.partition() for r in traffic.records)
    assert shown(path)[0] == "observed"


@pytest.mark.parametrize("batch", [1, 1_000])
def test_who_takes_the_shard_makes_nothing_unlooked_at(traffic: Traffic, path: Location, batch: int) -> None:
    """What the engine before it had looked at stays observed, though the new one has decided on nothing yet."""
    (entry,) = traffic.records
    for number in range(50):
        traffic.order(f"other-{number}")
    traffic.take(entry.partition())
    project(traffic, path, looked_at=False, batch=batch)
    assert shown(path)[0] == "observed"


def test_positions_of_the_engine_never_go_back(traffic: Traffic, path: Location) -> None:
    """They are committed late, and may be those of an older look."""
    project(traffic, path, looked_at=False)
    shard = traffic.records[0].partition()
    looked_at(path, shard, 10)
    looked_at(path, shard, 0)
    assert shown(path)[0] == "observed"


def test_each_change_of_it_is_another_stamp(traffic: Traffic, path: Location) -> None:
    """A page that is open is refreshed."""
    project(traffic, path, looked_at=False)
    with View(path) as view:
        before = view.stamp("tx")
        looked_at(path, traffic.records[0].partition(), 1)
        assert view.stamp("tx") != before


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (("not_looked_at",), ["tx"]),
        (("observed",), ["old"]),
        (("observed", "not_looked_at"), ["tx", "old"]),
        (("not_looked_at", "completed"), ["tx", "done"]),
        (("completed",), ["done"]),
    ],
)
def test_lists_are_filtered_by_what_they_show(
    path: Location, status: tuple[str, ...], found: list[str]
) -> None:
    """As by any other status."""
    traffic = Traffic()
    traffic.completed("done")
    traffic.event("old", "crm.LeadCreated")
    traffic.order("tx")
    kept = [r for r in traffic.records if r.topic() == topics.JOURNAL or r.key() in (None, b"done")]
    project(traffic, path, kept, looked_at=False)
    old, new = (r for r in kept if r.key() in (b"old", b"tx"))
    looked_at(path, old.partition(), old.offset() + 1)
    assert new.partition() != old.partition() or new.offset() > old.offset()
    with View(path) as view:
        assert [one.transaction_id for one in view.search(Criteria(status=status)).transactions] == found


@pytest.mark.parametrize("command", [["list"], ["trace", "tx"]])
def test_people_are_told_that_the_engine_is_behind(
    traffic: Traffic, path: Location, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """In words, and as JSON in one."""
    project(traffic, path, looked_at=False)
    monkeypatch.setenv("KANTOR_VIEW_URL", str(path) if isinstance(path, str) else f"sqlite:///{path}")
    monkeypatch.setenv("COLUMNS", "200")
    assert BEHIND in CliRunner().invoke(main, command).stdout
    said = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    one = said["transactions"][0] if "transactions" in said else said
    assert one["status"] == "not_looked_at"


def test_every_status_can_be_shown() -> None:
    """A new one of the core has its word here, too."""
    assert {status.value for status in ShownStatus} == {status.value for status in Status} | {"not_looked_at"}
