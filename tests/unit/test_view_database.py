"""The view's database: who may open it, what is found in it (view-7, view-8)."""

from __future__ import annotations

import pytest

from kantor.errors import ConfigError, KantorError, NotFoundError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.database import Location, ViewWriter
from kantor_orchestrator.view.queries import View
from view_places import Places, execute, plans
from view_traffic import Traffic, project


@pytest.fixture
def path(places: Places) -> Location:
    """A view of six checkouts: three completed, two compensated, one running."""
    traffic = Traffic()
    traffic.completed("tx-1001", 1)
    traffic.completed("tx-1002", 2)
    traffic.completed("tx-2001", 2)
    traffic.compensated("tx-3001", 4)
    traffic.compensated("tx-3002", 5)
    traffic.order("tx-4001", 6)
    path = places("view")
    project(traffic, path)
    return path


def test_a_transaction_is_found_by_its_id(path: Location) -> None:
    """The whole id names one transaction."""
    with View(path) as view:
        assert view.find("tx-1001") == ["tx-1001"]


def test_transactions_are_found_by_key_and_value_the_newest_first(path: Location) -> None:
    """Several may have the same key."""
    with View(path) as view:
        assert view.find("order_id=2") == ["tx-2001", "tx-1002"]


def test_a_keys_value_alone_finds_transactions(path: Location) -> None:
    """Who has an order number need not know what the saga calls it."""
    with View(path) as view:
        assert view.find("c-4") == ["tx-3001"]


def test_the_beginning_of_an_id_finds_transactions(path: Location) -> None:
    """Six characters are enough."""
    with View(path) as view:
        assert view.find("tx-300") == ["tx-3002", "tx-3001"]
        assert view.find("tx-30") == []


@pytest.mark.parametrize(
    "what", ["", "=", "order_id=", "order_id=99", "other=2", "nothing-like-it", "%", "tx-_001"]
)
def test_what_is_not_there_is_not_found(path: Location, what: str) -> None:
    """Nothing is guessed, and no character means anything special."""
    with View(path) as view:
        assert view.find(what) == []


def test_an_unknown_transaction_can_not_be_traced(path: Location) -> None:
    """The command line makes exit code 4 of it."""
    with View(path) as view, pytest.raises(NotFoundError):
        view.trace("nope")


def test_a_list_is_filtered_by_status_and_saga(path: Location) -> None:
    """Both, one or none."""
    with View(path) as view:
        assert [t.transaction_id for t in view.transactions(status="compensated").transactions] == [
            "tx-3002",
            "tx-3001",
        ]
        assert [
            t.transaction_id for t in view.transactions(status="running", saga="checkout").transactions
        ] == ["tx-4001"]
        assert len(view.transactions(status="completed").transactions) == 3
        assert view.transactions(saga="other").transactions == []


def test_a_list_is_filtered_by_version(path: Location) -> None:
    """Those of another version are not shown."""
    with View(path) as view:
        (every, one, other) = (
            view.transactions(saga="checkout", version=version).transactions for version in (None, 1, 2)
        )
        assert {t.version for t in every} == {1}
        assert (len(one), other) == (len(every), [])


def test_pages_follow_each_other_without_gap_or_repetition(path: Location) -> None:
    """The last page names no next one."""
    with View(path) as view:
        first = view.transactions(limit=4)
        second = view.transactions(limit=4, page=first.next_page)
        ids = [t.transaction_id for t in first.transactions + second.transactions]
        assert ids == ["tx-4001", "tx-3002", "tx-3001", "tx-2001", "tx-1002", "tx-1001"]
        assert second.next_page == ""


def test_open_transactions_past_their_timer_are_overdue(path: Location) -> None:
    """A step that should have timed out long ago shows that timers do not go off."""
    with View(path) as view:
        (running,) = view.transactions(status="running").transactions
        assert view.overdue(running.due) == []
        assert [t.transaction_id for t in view.overdue(running.due + 1)] == ["tx-4001"]


def test_rare_statuses_are_found_by_an_index(path: Location) -> None:
    """Among millions that completed, the few others are listed at once."""
    found = plans(path, lambda view: (view.transactions(status="compensating"), view.overdue(1)))
    assert len(found) == 2
    assert all("transactions_by_status" in plan for plan in found), found


def test_only_one_process_may_write(path: Location) -> None:
    """A second view of the same file would do everything twice."""
    writer = ViewWriter(path)
    with pytest.raises(ConfigError, match="another process"):
        ViewWriter(path)
    writer.close()
    ViewWriter(path).close()


def test_a_wiped_database_starts_over(path: Location) -> None:
    """Of another cluster's transactions nothing is left."""
    writer = ViewWriter(path)
    writer.wipe()
    assert (writer.positions(), writer.next_no()) == ({}, 1)
    writer.close()
    with View(path) as view:
        assert (view.transactions().transactions, view.counts()) == ([], {})


def test_what_fails_halfway_is_not_stored(path: Location) -> None:
    """Rows and positions are stored together or not at all."""
    execute(path, "ALTER TABLE positions RENAME TO positions_full")  # the last table that is written to
    execute(path, "CREATE VIEW positions AS SELECT * FROM positions_full WHERE position > 0 LIMIT 99")
    writer = ViewWriter(path)
    before = writer.positions()
    traffic = Traffic()
    traffic.order("tx-new")
    with pytest.raises(KantorError, match="positions"):
        project_with(writer, traffic)
    assert (writer.positions(), writer.find("tx-new")) == (before, None)
    writer.close()


def project_with(writer: ViewWriter, traffic: Traffic) -> None:
    from kantor_orchestrator.view.projector import Projector
    from view_traffic import KnownSagas

    projector = Projector(traffic.codec, traffic.schemas, KnownSagas(), writer.find, writer.next_no(), {})
    writer.store(projector.project(traffic.records), {})


def test_positions_are_kept_by_topic_id(path: Location) -> None:
    """A topic that was recreated is another one; its old positions can be forgotten."""
    writer = ViewWriter(path)
    assert {topic for topic, _ in writer.positions()} >= {topics.JOURNAL, topics.HISTORY, "cmd.shipping.v1"}
    writer.forget_positions("cmd.shipping.v1")
    assert ("cmd.shipping.v1", 0) not in writer.positions()
    writer.close()
