"""What the view makes of records: status, steps, timeline, who has the ball."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kantor.errors import UnknownSchemaError
from kantor_orchestrator.core.saga import Command, Saga, Step
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.marks import Uncorrelated
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.queries import View
from unit.view_kit import projector, said, statuses, traced
from view_places import Places
from view_records import Written
from view_saga import CHECKOUT
from view_traffic import T0, Traffic, project


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def test_a_completed_transaction_shows_all_that_was_said(traffic: Traffic, path: Location) -> None:
    """Events and commands are in the timeline in their order, and nobody has the ball."""
    traffic.completed("tx")
    trace = traced(traffic, path)
    assert (trace.saga, trace.version, trace.status) == ("checkout", 1, "completed")
    assert said(trace.timeline) == [
        ("event", "shop.OrderPlaced"),
        ("event", "inventory.StockReserved"),
        ("event", "payment.PaymentCaptured"),
        ("command", "shipping.BookShipment"),
        ("event", "shipping.ShipmentBooked"),
    ]
    assert trace.waiting_on == []
    assert trace.ended_at - trace.started_at == 30


def test_steps_have_their_times_attempts_and_owners(traffic: Traffic, path: Location) -> None:
    """Each step says when it began and ended, how often it was tried and who answers for it."""
    traffic.completed("tx")
    steps = traced(traffic, path).steps
    assert [(s.name, s.kind, s.owner, s.status, s.attempts) for s in steps] == [
        ("stock", "event", "inventory", "succeeded", 1),
        ("payment", "event", "payment", "succeeded", 1),
        ("shipping", "command", "shipping", "succeeded", 1),
    ]
    assert [(s.started_at - T0, s.ended_at - T0) for s in steps] == [(10, 20), (20, 30), (30, 40)]


def test_a_compensated_transaction_says_why_and_what_was_reversed(traffic: Traffic, path: Location) -> None:
    """The reason, the compensations in reverse order and their confirmations are there."""
    traffic.compensated("tx")
    trace = traced(traffic, path)
    assert trace.status == "compensated"
    assert trace.reason == "shipping: shipping.ShipmentUnavailable (no truck)"
    assert statuses(trace) == {"stock": "compensated", "payment": "compensated", "shipping": "failed"}
    assert said(trace.timeline)[5:] == [
        ("compensation", "payment.RefundPayment"),
        ("event", "payment.PaymentRefunded"),
        ("compensation", "inventory.ReleaseStock"),
        ("event", "inventory.StockReleased"),
    ]
    payment = trace.steps[1]
    assert (payment.compensator, payment.compensation_attempts) == ("payment", 1)
    assert payment.compensation_ended_at - payment.compensation_started_at == 10


def test_every_message_says_where_it_lies(traffic: Traffic, path: Location) -> None:
    """Events have the place of their source record and of their journal entry, commands that on their topic."""
    traffic.completed("tx")
    trace = traced(traffic, path)
    placed, _, _, book, _ = trace.timeline
    assert placed.origin == "evt.shop.shop.v1/0/0"
    assert placed.journal == f"sys.kantor.journal/{trace.shard}/0"
    assert placed.sent_at == placed.at - 2
    assert (book.origin, book.step, book.attempt) == ("cmd.shipping.v1/0/0", "shipping", 1)


def test_messages_name_their_causes(traffic: Traffic, path: Location) -> None:
    """The causal chain can be followed from message to message."""
    traffic.completed("tx")
    timeline = traced(traffic, path).timeline
    assert [m.causation_id for m in timeline] == ["", *(m.id for m in timeline[:-1])]


def test_moves_hang_on_the_message_that_caused_them(traffic: Traffic, path: Location) -> None:
    """What the engine concluded is told with its cause."""
    traffic.completed("tx")
    timeline = traced(traffic, path).timeline
    assert [[move.kind for move in message.moves] for message in timeline] == [
        ["started", "activated"],
        ["succeeded", "activated"],
        ["succeeded", "activated", "command_sent"],
        [],
        ["succeeded", "ended"],
    ]


def test_the_service_of_an_open_step_has_the_ball(traffic: Traffic, path: Location) -> None:
    """While a step is open, the service that must answer is waited for."""
    traffic.order("tx")
    trace = traced(traffic, path)
    assert trace.waiting_on == ["inventory"]
    assert statuses(trace) == {"stock": "active", "payment": "pending", "shipping": "pending"}


def test_kantor_has_the_ball_during_a_backoff(traffic: Traffic, path: Location) -> None:
    """Between two attempts nobody else can do anything."""
    traffic.booking("tx")
    traffic.timer("tx", "timeout", "shipping")
    trace = traced(traffic, path)
    assert trace.waiting_on == ["kantor"]
    assert trace.last_error == "shipping: timed_out: no answer in time"
    shipping = trace.steps[2]
    assert (shipping.attempts, shipping.timer, shipping.due) == (1, "retry", traffic.now + 200)


def test_the_compensating_service_has_the_ball_until_it_confirms(traffic: Traffic, path: Location) -> None:
    """While a compensation is under way, the service that it was sent to is waited for."""
    traffic.declined("tx")
    assert traced(traffic, path).waiting_on == ["inventory"]


def test_a_person_has_the_ball_when_a_compensation_is_given_up(traffic: Traffic, path: Location) -> None:
    """An incident is listed, open, and waits for a person."""
    traffic.given_up("tx")
    trace = traced(traffic, path)
    assert trace.waiting_on == ["a person"]
    assert [(i.kind, i.step, i.reason, i.closed_at) for i in trace.incidents] == [
        ("compensation_failed", "stock", "warehouse closed", 0)
    ]
    with View(path) as view:
        assert view.incident_count() == 1
        assert [i.transaction_id for i in view.incidents()] == ["tx"]


def test_a_late_confirmation_closes_the_incident(traffic: Traffic, path: Location) -> None:
    """What was reversed after all needs no person any more."""
    traffic.given_up("tx")
    traffic.event("tx", "inventory.StockReleased", cause=traffic.compensation_id("tx", "stock"))
    trace = traced(traffic, path)
    assert (trace.status, trace.waiting_on) == ("compensated", [])
    assert [incident.closed_at for incident in trace.incidents] == [traffic.now]
    with View(path) as view:
        assert view.incident_count() == 0


def test_retries_are_told_with_their_timers(traffic: Traffic, path: Location) -> None:
    """Timers that went off and further attempts are part of the story."""
    traffic.booking("tx")
    traffic.timer("tx", "timeout", "shipping")
    traffic.timer("tx", "retry", "shipping")
    trace = traced(traffic, path)
    assert [(m.kind, m.type, m.step, m.attempt) for m in trace.timeline[3:]] == [
        ("command", "shipping.BookShipment", "shipping", 1),
        ("timer", "timeout", "shipping", 1),
        ("timer", "retry", "shipping", 1),
        ("command", "shipping.BookShipment", "shipping", 2),
    ]
    assert trace.steps[2].attempts == 2


def test_what_no_saga_describes_is_observed(traffic: Traffic, path: Location) -> None:
    """A transaction that nobody modelled has its full timeline, from the journal alone."""
    cause = traffic.event("tx", "crm.LeadCreated")
    traffic.event("tx", "crm.LeadCalled", cause=cause)
    traffic.records = [r for r in traffic.records if r.topic() == topics.JOURNAL]
    trace = traced(traffic, path)
    assert (trace.saga, trace.status, trace.waiting_on, trace.steps) == ("", "observed", [], [])
    assert said(trace.timeline) == [("event", "crm.LeadCreated"), ("event", "crm.LeadCalled")]


def test_a_start_from_before_the_deployment_stays_observed(path: Location) -> None:
    """It was ignored, and the timeline says why."""
    traffic = Traffic(replace(CHECKOUT, deployed_at=T0))
    traffic.event("tx", "shop.OrderPlaced", {"order_id": "1"}, sent_at=T0 - 1)
    trace = traced(traffic, path)
    assert trace.status == "observed"
    assert [move.code for move in trace.timeline[0].moves] == ["before_deployment"]


def test_an_event_before_its_start_is_in_the_timeline_once(traffic: Traffic, path: Location) -> None:
    """What was kept until the start is shown where it came, and counts from the start on."""
    traffic.event("tx", "inventory.StockReserved")
    traffic.order("tx")
    trace = traced(traffic, path)
    assert said(trace.timeline) == [("event", "inventory.StockReserved"), ("event", "shop.OrderPlaced")]
    assert [move.kind for move in trace.timeline[0].moves] == ["kept"]
    assert (trace.status, trace.waiting_on) == ("running", ["payment"])


def test_what_intake_journals_again_is_shown_once(traffic: Traffic, path: Location) -> None:
    """A replay is the same message: it is counted, not repeated."""
    traffic.order("tx")
    traffic.replay("tx")
    trace = traced(traffic, path)
    assert [(message.type, message.seen) for message in trace.timeline] == [("shop.OrderPlaced", 2)]


def test_a_message_that_its_service_sent_twice_is_marked(traffic: Traffic, path: Location) -> None:
    """The second record of one message id changes nothing, and says so."""
    traffic.order("tx")
    traffic.event("tx", "inventory.StockReserved", id_="m-1")
    traffic.event("tx", "inventory.StockReserved", id_="m-1")
    assert [message.is_repeat for message in traced(traffic, path).timeline] == [False, False, True]


def test_a_command_that_was_not_seen_on_its_topic_yet_has_no_place(traffic: Traffic, path: Location) -> None:
    """The history tells that it went out; where it lies comes later."""
    traffic.booking("tx")
    traffic.records = [r for r in traffic.records if not r.topic().startswith("cmd.")]
    book = traced(traffic, path).timeline[-1]
    assert (book.kind, book.type, book.origin) == ("command", "shipping.BookShipment", "")


def test_what_the_journal_has_forgotten_is_told_by_the_history(traffic: Traffic, path: Location) -> None:
    """The history is kept longer: each message is still named, with its place."""
    traffic.completed("tx")
    traffic.records = [r for r in traffic.records if r.topic() != topics.JOURNAL]
    trace = traced(traffic, path)
    assert said(trace.timeline[:1]) == [("event", "shop.OrderPlaced")]
    assert trace.timeline[0].origin == "evt.shop.shop.v1/0/0"
    assert trace.status == "completed"


def test_records_that_are_read_again_change_nothing(traffic: Traffic, path: Location) -> None:
    """After a restart that reads everything again, the picture is the same."""
    traffic.compensated("tx")
    traffic.watermark("intake-1", {"evt.x": {"why": Uncorrelated(3, "evt.x/0/1")}})
    before = traced(traffic, path)
    project(traffic, path)
    with View(path) as view:
        assert view.trace("tx") == before
        assert view.counts() == {("checkout", "compensated"): 1}


def test_commands_of_others_come_from_the_journal_alone(traffic: Traffic) -> None:
    """Intake journals them; their records on the topic would show them twice."""
    headers: list[tuple[str, bytes | None]] = [("ce_source", b"shop"), ("ce_correlationid", b"tx")]
    changes = projector(traffic).project([Written("cmd.payment.v1", 0, 0, b"tx", b"", headers, T0)])
    assert changes.transactions == []
    assert changes.positions == {("cmd.payment.v1", 0): 1}


def test_history_that_can_never_be_read_is_skipped_and_counted(traffic: Traffic) -> None:
    """Bytes that are no Avro do not stop the view."""
    changes = projector(traffic).project([Written(topics.HISTORY, 0, 0, b"tx", b"rubbish", [], T0)])
    assert (changes.unreadable, changes.transactions) == (1, [])
    assert changes.positions == {(topics.HISTORY, 0): 1}


def test_history_of_an_unknown_schema_is_waited_for_until_it_is_given_up(traffic: Traffic) -> None:
    """The schema may be published yet; when nobody does, the view goes on and counts what it skipped."""
    record = Written(topics.HISTORY, 0, 0, b"tx", b"\0\0\0\0\x07rubbish", [], T0)
    with pytest.raises(UnknownSchemaError):
        projector(traffic).project([record])
    assert projector(traffic, frozenset({7})).project([record]).unreadable == 1


def test_without_a_definition_steps_are_shown_by_their_names(path: Location) -> None:
    """A definition that can't be found costs owners and keys, not the trace."""
    traffic = Traffic()
    traffic.order("tx")
    traffic.sagas = ()
    trace = traced(traffic, path)
    assert (trace.status, trace.waiting_on, trace.keys) == ("running", ["stock"], [])


def test_items_of_a_composite_are_listed_with_their_steps(path: Location) -> None:
    """Each item comes with its own steps, in the definition's order; what has not begun is pending."""
    book = Step(
        path="all.book",
        parent="all",
        kind="command",
        command=Command("x.Book", "cmd.x.v1"),
        succeeds_on="x.Booked",
    )
    whole = Step(path="all", kind="composite", steps=("all.book",), each=lambda scope: [1, 2])
    after = Step(path="after", after=("all",), succeeds_on="x.Done")
    saga = Saga("s", 1, "x.Begun", {"all": whole, "all.book": book, "after": after})
    traffic = Traffic(saga)
    traffic.event("tx", "x.Begun")
    found = traced(traffic, path).steps
    assert [(s.name, s.kind, s.owner, s.status) for s in found] == [
        ("all", "composite", "", "active"),
        ("all[0]", "composite", "", "active"),
        ("all[0].book", "command", "x", "active"),
        ("all[1]", "composite", "", "active"),
        ("all[1].book", "command", "x", "active"),
        ("after", "event", "x", "pending"),
    ]


def test_a_step_that_a_person_retries_is_as_new(path: Location) -> None:
    """Its error and its end are gone, and it was asked for twice."""
    traffic = Traffic(AFTER_PIVOT_SAGA)
    traffic.event("tx", "x.Begun")
    traffic.event("tx", "x.Paid", cause=traffic.command_id("tx", "pay"))
    traffic.event("tx", "x.Refused", {"reason": "shop is closed"}, cause=traffic.command_id("tx", "ship"))
    before = traced(traffic, path)
    assert (before.waiting_on, before.last_error) == (["a person"], "ship: x.Refused: shop is closed")
    traffic.act("tx", "retry", "ship")
    trace = traced(traffic, path)
    ship = trace.steps[1]
    assert (ship.status, ship.code, ship.reason, ship.ended_at, ship.attempts) == ("active", "", "", 0, 2)
    assert (trace.last_error, trace.waiting_on) == ("", ["x"])
    assert [incident.closed_at for incident in trace.incidents] == [traffic.now]


AFTER_PIVOT_SAGA = Saga(
    "s",
    1,
    "x.Begun",
    {
        "pay": Step(
            path="pay", kind="command", command=Command("x.Pay", "cmd.x.v1"), succeeds_on="x.Paid", pivot=True
        ),
        "ship": Step(
            path="ship",
            after=("pay",),
            kind="command",
            command=Command("x.Ship", "cmd.x.v1"),
            succeeds_on="x.Shipped",
            fails_on=("x.Refused",),
        ),
    },
)


def test_what_was_asked_for_once_was_tried_once(path: Location) -> None:
    """Whatever kind of step asks: a task, a call, a child, a command."""
    kinds = ("command", "task", "call", "saga")
    steps = {
        kind: Step(
            path=kind, kind=kind, command=Command(f"x.Do{kind}", "cmd.x.v1"), succeeds_on=f"x.Done{kind}"
        )
        for kind in kinds
    }
    traffic = Traffic(Saga("s", 1, "x.Begun", steps))
    traffic.event("tx", "x.Begun")
    trace = traced(traffic, path)
    assert [(step.kind, step.attempts) for step in trace.steps] == [(kind, 1) for kind in kinds]
    assert trace.waiting_on == ["a person", "x"]


def test_a_completed_transaction_has_no_last_error(traffic: Traffic, path: Location) -> None:
    """What went wrong on the way has been overcome."""
    traffic.booking("tx")
    traffic.timer("tx", "timeout", "shipping")
    traffic.timer("tx", "retry", "shipping")
    assert traced(traffic, path).last_error == "shipping: timed_out: no answer in time"
    traffic.event("tx", "shipping.ShipmentBooked", cause=traffic.command_id("tx", "shipping"))
    trace = traced(traffic, path)
    assert (trace.status, trace.last_error) == ("completed", "")
