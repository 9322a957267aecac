"""What the view shows of records that come again, and of transactions that begin again: each once, as what it is."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.saga import Saga, Step
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.queries import View
from unit.view_kit import said, traced
from view_places import Places
from view_records import Written
from view_traffic import Traffic, project


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def again(traffic: Traffic, **others: bytes) -> None:
    """The last entry lies in the journal once more, with these headers in place of its own."""
    last = [record for record in traffic.records if record.topic() == topics.JOURNAL][-1]
    headers = [*((n, v) for n, v in last.headers() or [] if n not in others), *others.items()]
    offset = last.offset() + 1
    traffic.records.append(
        Written(topics.JOURNAL, last.partition(), offset, last.key(), last.value(), headers, traffic.now + 10)
    )


def test_what_intake_journals_again_is_one_message(traffic: Traffic, path: Location) -> None:
    """It says how often it was journaled, and the message that it repeats is no other one."""
    traffic.order("tx")
    again(traffic)
    (message,) = traced(traffic, path).timeline
    assert (message.type, message.seen, message.is_repeat) == ("shop.OrderPlaced", 2, False)


def test_a_copy_of_what_was_put_off_is_not_seen_again(traffic: Traffic, path: Location) -> None:
    """Intake has journaled it once; the engine has copied it, to read it again."""
    traffic.order("tx")
    again(traffic, **{journal.AGAIN: b"0"})
    (message,) = traced(traffic, path).timeline
    assert (message.type, message.seen) == ("shop.OrderPlaced", 1)


def test_a_record_of_a_topic_that_was_recreated_is_another_message(traffic: Traffic, path: Location) -> None:
    """Though it lies at the same place of a topic of the same name; a repetition, if its id is that of the first one."""
    traffic.order("tx")
    again(traffic, **{journal.TOPIC_ID: b"BBBBBBBBBBBBBBBBBBBBBB"})
    again(traffic, **{journal.TOPIC_ID: b"CCCCCCCCCCCCCCCCCCCCCC", "ce_id": b"another"})
    trace = traced(traffic, path)
    assert said(trace.timeline) == [("event", "shop.OrderPlaced")] * 3
    assert [(message.seen, message.is_repeat) for message in trace.timeline] == [
        (1, False),
        (1, True),
        (1, False),
    ]


def test_what_is_ignored_changes_no_error(path: Location) -> None:
    """A step that is tried again still says why, though somebody has told of an older attempt of it."""
    traffic = Traffic()
    traffic.booking("tx")
    first = traffic.command_id("tx", "shipping")
    for timer in ("timeout", "retry"):
        traffic.timer("tx", timer, "shipping")
    failed = {"code": "busy", "message": "later", "retryable": True}
    traffic.event("tx", "kantor.StepFailed", failed, cause=first)
    trace = traced(traffic, path)
    assert [move.kind for move in trace.timeline[-1].moves] == ["ignored"]
    assert trace.last_error == "shipping: timed_out: no answer in time"


@pytest.mark.parametrize("batch", [1, 1_000])
def test_a_key_has_its_first_value(path: Location, batch: int) -> None:
    """Also if the view was started again before another one came."""
    steps = {"one": Step(path="one", succeeds_on="x.One"), "two": Step(path="two", succeeds_on="x.Two")}
    captures = {"x.One": frozenset(("city",)), "x.Two": frozenset(("city",))}
    traffic = Traffic(Saga("s", 1, "x.Begun", steps, captures, keys=("city",)))
    traffic.event("tx", "x.Begun")
    traffic.event("tx", "x.One", {"city": "Bern"})
    traffic.event("tx", "x.Two", {"city": "Rome"})
    project(traffic, path, batch=batch)
    with View(path) as view:
        (row,) = view.transactions().transactions
        assert row.keys == view.trace("tx").keys == [("city", "Bern")]
        assert (view.find("city=Bern"), view.find("city=Rome")) == (["tx"], [])


def test_keys_are_in_the_order_of_their_saga(path: Location) -> None:
    """On the page as in lists, whichever was told first."""
    steps = {"one": Step(path="one", succeeds_on="x.One"), "two": Step(path="two", succeeds_on="x.Two")}
    captures = {"x.One": frozenset(("city",)), "x.Two": frozenset(("name",))}
    traffic = Traffic(Saga("s", 1, "x.Begun", steps, captures, keys=("name", "city")))
    traffic.event("tx", "x.Begun")
    traffic.event("tx", "x.One", {"city": "Bern"})
    traffic.event("tx", "x.Two", {"name": "Ann"})
    trace = traced(traffic, path)
    with View(path) as view:
        (row,) = view.transactions().transactions
    assert row.keys == trace.keys == [("name", "Ann"), ("city", "Bern")]


def test_another_life_has_its_own_tries(traffic: Traffic, path: Location) -> None:
    """The engine has forgotten the first one, long after its end; steps count what this one has tried."""
    traffic.completed("tx")
    traffic.forget("tx")
    traffic.booking("tx")
    trace = traced(traffic, path)
    assert (trace.status, trace.ended_at) == ("running", 0)
    assert [step.attempts for step in trace.steps] == [1, 1, 1]


def test_what_begins_after_it_was_closed_and_forgotten_has_not_ended(
    traffic: Traffic, path: Location
) -> None:
    """A person had closed it before any saga began; much later its start comes."""
    traffic.event("tx", "inventory.StockReserved")
    traffic.act("tx", "close")
    assert traced(traffic, path).status == "closed"
    traffic.forget("tx")
    traffic.order("tx")
    trace = traced(traffic, path)
    assert (trace.status, trace.ended_at, trace.reason) == ("running", 0, "")
