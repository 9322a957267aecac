"""Searching the view: every criterion, pages, and that an index answers."""

from __future__ import annotations

import pytest

from kantor_orchestrator.view.columns import Beside, FoundBy, Kept
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.search import Criteria, PageTokenError, asked
from view_places import Places, execute, plans
from view_traffic import Traffic, project

#: Every column but a transaction's number and id.
COPIED = ", ".join((*FoundBy._fields, *Beside._fields, *Kept._fields))
ALL = ["tx-observed", "tx-running", "tx-stuck", "tx-compensated-2", "tx-compensated", "tx-completed"]


@pytest.fixture
def path(places: Places) -> Location:
    """One completed, two compensated, one that waits for payment and shipping, one for stock, one observed."""
    traffic = Traffic()
    traffic.completed("tx-completed", 1)
    traffic.compensated("tx-compensated", 2)
    traffic.compensated("tx-compensated-2", 2)
    traffic.stuck("tx-stuck", 3)
    traffic.order("tx-running", 4)
    traffic.event("tx-observed", "crm.LeadCreated")
    path = places("view")
    project(traffic, path)
    return path


def ids(view: View, wanted: Criteria) -> list[str]:
    return [one.transaction_id for one in view.search(wanted).transactions]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Criteria(), ALL),
        (Criteria(text="tx-stuck"), ["tx-stuck"]),
        (Criteria(text="order_id=2"), ["tx-compensated-2", "tx-compensated"]),
        (Criteria(text="2"), ["tx-compensated-2", "tx-compensated"]),
        (Criteria(text="tx-comp"), ["tx-compensated-2", "tx-compensated", "tx-completed"]),
        (Criteria(text="order_id=2", status=("running",)), []),
        (Criteria(status=("running", "compensated")), ["tx-running", "tx-compensated-2", "tx-compensated"]),
        (Criteria(status=("completed", "observed")), ["tx-observed", "tx-completed"]),
        (Criteria(saga="checkout", version=1, status=("running",)), ["tx-running"]),
        (Criteria(saga="checkout", version=2), []),
        (Criteria(step="shipping"), ["tx-stuck", "tx-compensated-2", "tx-compensated"]),
        (Criteria(step="stock"), ["tx-running"]),
        (Criteria(service="payment"), ["tx-stuck"]),
        (Criteria(service="inventory"), ["tx-running"]),
        (Criteria(error="NO TRUCK"), ["tx-compensated-2", "tx-compensated"]),
        (Criteria(error="shipmentUNavailable"), ["tx-compensated-2", "tx-compensated"]),
        (Criteria(error="100%"), []),
        (Criteria(is_open=True), ["tx-running", "tx-stuck"]),
        (Criteria(unchanged_since=1_000), []),
    ],
)
def test_every_criterion_finds_what_it_says_the_newest_first(
    path: Location, wanted: Criteria, found: list[str]
) -> None:
    """Alone and together."""
    with View(path) as view:
        assert ids(view, wanted) == found


def test_transactions_are_found_by_when_they_started(path: Location) -> None:
    """From an instant on, up to and without another."""
    with View(path) as view:
        started = {one.transaction_id: one.started_at for one in view.search(Criteria()).transactions}
        wanted = Criteria(started_after=started["tx-compensated-2"], started_before=started["tx-running"])
        assert ids(view, wanted) == ["tx-stuck", "tx-compensated-2"]
        assert ids(view, Criteria(started_after=started["tx-observed"] + 1)) == []
        assert ids(view, Criteria(started_before=started["tx-completed"])) == []


def test_what_is_stuck_is_open_and_has_not_changed_for_long(path: Location) -> None:
    """Ended ones do not change either, and are not stuck."""
    with View(path) as view:
        changed = {one.transaction_id: one.updated_at for one in view.search(Criteria()).transactions}
        assert ids(view, Criteria(unchanged_since=changed["tx-running"])) == ["tx-stuck"]
        assert ids(view, Criteria(unchanged_since=changed["tx-running"] + 1)) == ["tx-running", "tx-stuck"]


def test_pages_of_a_search_follow_each_other(path: Location) -> None:
    """Without gap or repetition, whatever the limit, and the last one names no next one."""
    with View(path) as view:
        for limit in range(1, 8):
            found, token = [], ""
            while True:
                page = view.search(Criteria(), limit=limit, page=token)
                assert not page.is_partial
                assert len(page.transactions) <= limit
                found += [one.transaction_id for one in page.transactions]
                token = page.next_page
                if not token:
                    break
            assert found == ALL


def test_new_transactions_do_not_move_the_pages(path: Location) -> None:
    """What comes while somebody turns pages is on none of the later ones."""
    with View(path) as view:
        first = view.search(Criteria(), limit=2)
        execute(
            path,
            f"INSERT INTO transactions (no, id, {COPIED}) SELECT no + 1, 'tx-new', {COPIED} FROM transactions"
            " ORDER BY no DESC LIMIT 1",
        )
        second = view.search(Criteria(), limit=10, page=first.next_page)
        assert [one.transaction_id for one in second.transactions] == ALL[2:]


def test_a_search_that_takes_too_long_says_so_and_goes_on(path: Location) -> None:
    """Its page is partial; the next ones bring the rest, once each."""
    execute(
        path,
        "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 2000)"
        f" INSERT INTO transactions (no, id, {COPIED}) SELECT no + n, 'tx-more-' || n, {COPIED} FROM many, (SELECT * FROM"
        " transactions ORDER BY no DESC LIMIT 1) AS last",
    )
    with View(path) as view:
        found, token, partial = [], "", 0
        while True:
            page = view.search(Criteria(version=1), page=token, budget=0.0)
            found += [one.transaction_id for one in page.transactions]
            partial += page.is_partial
            token = page.next_page
            if not token:
                break
        assert found == ALL[1:]
        assert partial > 1


def test_pages_go_on_though_time_does(path: Location) -> None:
    """ "Stuck for ten minutes" and "since an hour" mean another time with each page, and are the same search; another saga
    is another one."""
    with View(path) as view:
        everything = asked(2_000_000_000_000, stuck_for=600_000, started_after=1)
        first = view.search(everything, limit=1)
        assert first.next_page
        later = asked(2_000_000_060_001, stuck_for=600_000, started_after=2)
        second = view.search(later, limit=1, page=first.next_page)
        assert second.transactions
        assert second.transactions[0] != first.transactions[0]
        for other in (
            asked(2_000_000_060_001, stuck_for=600_000),
            asked(2_000_000_060_001, stuck_for=600_000, started_after=2, saga="another"),
        ):
            with pytest.raises(PageTokenError):
                view.search(other, limit=1, page=first.next_page)


@pytest.mark.parametrize("token", ["x", "MTIz", "é", "MTIzLjAwMDAwMDAw", "-1", "9" * 5_000])
def test_a_token_that_is_none_is_refused(path: Location, token: str) -> None:
    """With what to do instead."""
    with View(path) as view, pytest.raises(PageTokenError, match="begin without one"):
        view.search(Criteria(), page=token)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Criteria(saga="checkout"), "transactions_by_saga"),
        (Criteria(status=("running",)), "transactions_by_status"),
        (Criteria(is_open=True), "transactions_with_incidents"),
        (Criteria(error="no truck"), "transactions_with_why"),
        (Criteria(started_after=1), "transactions_by_start"),
        (Criteria(text="order_id=2"), "keys"),
    ],
)
def test_an_index_gives_the_candidates(path: Location, wanted: Criteria, index: str) -> None:
    """Of a million transactions only a few are looked at; what a page then shows are its rows, their keys and the sagas'
    facts."""
    found = plans(path, lambda view: view.search(wanted))
    candidates, shown = found[:-3], found[-3:]
    assert any(index in plan for plan in candidates), found
    assert not any("TEMP B-TREE" in plan or "Sort" in plan for plan in candidates), found
    assert "keys_of" in shown[1], found
