"""What the view shows of sagas that a person holds, and of the transactions that stand still."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.act_kinds import HOLD, RELEASE
from kantor_orchestrator.formats.holds import ALL
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.queries import View
from view_places import Places
from view_traffic import Traffic, project

HELD = "held by ann: payments are down"


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.mark.parametrize("saga", ["checkout", ALL])
def test_a_hold_is_listed_once_until_its_release(traffic: Traffic, path: Location, saga: str) -> None:
    """However many shards have carried it out."""
    traffic.hold(HOLD, saga)
    project(traffic, path)
    with View(path) as view:
        assert [(hold.saga, hold.reason) for hold in view.holds()] == [(saga, HELD)]
    traffic.hold(RELEASE, saga)
    project(traffic, path)
    with View(path) as view:
        assert view.holds() == []
        assert view.counts() == {}, "a hold is no transaction"


def test_releasing_what_is_not_held_shows_nothing(traffic: Traffic, path: Location) -> None:
    """The operator action is ignored, and so it is no hold."""
    traffic.hold(RELEASE)
    project(traffic, path)
    with View(path) as view:
        assert view.holds() == []


def test_a_transaction_that_stands_still(traffic: Traffic, path: Location) -> None:
    """It says who holds it and why, a person has the ball; after the release the next service has it."""
    cause = traffic.order("tx")
    traffic.hold(HOLD)
    traffic.event("tx", "inventory.StockReserved", cause=cause)
    project(traffic, path)
    with View(path) as view:
        trace = view.trace("tx")
        (row,) = view.transactions().transactions
        assert (trace.held, trace.waiting_on, row.held, row.due) == (HELD, ["a person"], HELD, 0)
        assert {step.name: step.status for step in trace.steps}["stock"] == "active"
    traffic.hold(RELEASE)
    project(traffic, path)
    with View(path) as view:
        trace = view.trace("tx")
        assert (trace.status, trace.held, trace.waiting_on) == ("running", "", ["payment"])
        assert {step.name: step.status for step in trace.steps}["stock"] == "succeeded"


@pytest.mark.parametrize("saga", ["checkout", ALL])
def test_of_a_held_saga_nothing_but_the_release_is_proposed(
    traffic: Traffic, path: Location, saga: str
) -> None:
    """Also for a transaction for which nothing has come since: any other operator action is refused (view-15)."""
    traffic.given_up("tx")
    traffic.hold(HOLD, "another")
    project(traffic, path)
    with View(path) as view:
        assert [remedy.act for remedy in view.trace("tx").remedies] == ["retry", "skip", "close"]
    traffic.hold(HOLD, saga)
    project(traffic, path)
    with View(path) as view:
        trace = view.trace("tx")
        assert [remedy.act for remedy in trace.remedies] == ["release", "close"]
        assert trace.held == ""
