"""What entries mean: the way forward, order, duplicates, retries (saga-2, saga-12, saga-14)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kantor_orchestrator.core.entry import DEADLINE, EXPIRY, RETRY, TIMEOUT, timers_of
from kantor_orchestrator.core.transaction import Kind, Status
from unit.core_kit import BEGIN, DEPLOYED, Story, checkout, given, seconds


def booking() -> Story:
    """A checkout whose parcel is being booked."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured")
    assert story.sent() == ["BookShipment"]
    return story


# -- the way forward


def test_happy_path() -> None:
    """Every step succeeds: the transaction is completed and its retained record expires."""
    story = given(checkout())
    story.when("OrderPlaced")
    assert (story.status, story.steps, story.sent()) == ("running", {"stock": "active"}, [])
    story.when("StockReserved")
    assert story.steps == {"stock": "succeeded", "payment": "active"}
    story.when("PaymentCaptured")
    assert (story.steps["shipping"], story.sent()) == ("active", ["BookShipment"])
    story.when("ShipmentBooked")
    assert (story.status, story.sent()) == ("completed", [])
    assert story.txn.expires_at == story.at + 86_400_000
    assert story.kinds() == [
        Kind.STARTED,
        *[Kind.ACTIVATED, Kind.SUCCEEDED] * 2,
        Kind.ACTIVATED,
        Kind.COMMAND_SENT,
        Kind.SUCCEEDED,
        Kind.ENDED,
    ]


def test_command_is_filled_from_what_was_captured() -> None:
    """A command carries what the events before it said, and the message that caused it."""
    story = booking()
    command = story.command("BookShipment")
    assert command.fields == {"order_id": "o-1", "sku": "laptop", "quantity": 1}
    assert (command.topic, command.kind, command.causation_id) == ("cmd.shipping.v1", "action", "e-3")


def test_nearest_source_wins() -> None:
    """A field comes from the nearest step that knows it."""
    story = given(checkout()).when("OrderPlaced", "StockReserved")
    story.when("PaymentCaptured", payload={"order_id": "o-1-paid"})
    assert story.command("BookShipment").fields["order_id"] == "o-1-paid"


def test_missing_source_falls_back() -> None:
    """What the nearest event does not say comes from the next one that does."""
    story = given(checkout()).when("OrderPlaced", "StockReserved").when("PaymentCaptured", payload={})
    assert story.command("BookShipment").fields["order_id"] == "o-1"


def test_command_expires_with_its_timeout() -> None:
    """A command's expiry counts from when it is sent, however far the engine lags behind the journal."""
    story = given(checkout()).when("OrderPlaced", "StockReserved")
    late = story.at + seconds(60)
    story.deliver(story.entry("PaymentCaptured"), now=late)
    assert story.command("BookShipment").expires_at == late + seconds(10)
    assert story.txn.steps["shipping"].due == late + seconds(10)


def test_only_needed_fields_are_kept() -> None:
    """Of the start only what a command, a key or a reason needs is captured."""
    story = given(checkout()).when("OrderPlaced", payload={"order_id": "o-1", "colour": "red"})
    assert story.txn.captured == {"start": {"order_id": "o-1"}}


# -- saga-2: duplicates and order


def test_duplicate_changes_nothing() -> None:
    """A message that was applied (same source and id) means nothing the second time."""
    story = given(checkout()).when("OrderPlaced")
    before = story.txn.copy()
    story.when("OrderPlaced", id="e-1")
    assert story.txn == before


def test_same_id_from_another_source_is_no_duplicate() -> None:
    """An id is unique within its source only."""
    story = given(checkout()).when("OrderPlaced", id="1").when("StockReserved", id="1")
    assert story.steps["stock"] == "succeeded"


def test_second_start_is_ignored() -> None:
    """Another start event starts nothing; it is recorded."""
    story = given(checkout()).when("OrderPlaced", "OrderPlaced")
    assert (story.status, story.ignored()) == ("running", ["second_start"])


def test_second_success_is_ignored() -> None:
    """A step succeeds once; another such event is recorded and changes nothing."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "StockReserved")
    assert story.ignored() == ["already_succeeded"]


def test_event_before_its_step_is_open() -> None:
    """A success that comes before its step is open counts; what comes after it waits for what comes before it."""
    story = given(checkout()).when("OrderPlaced", "PaymentCaptured")
    assert story.steps == {"stock": "active", "payment": "succeeded"}
    story.when("StockReserved")
    assert story.sent() == ["BookShipment"]


def test_event_before_the_start_is_kept() -> None:
    """What comes before the start event is kept and applied after it."""
    story = given(checkout()).when("StockReserved", "PaymentCaptured")
    assert (story.status, len(story.txn.early)) == ("observed", 2)
    story.when("OrderPlaced")
    assert story.sent() == ["BookShipment"]
    assert story.txn.early == []


def test_early_event_comes_twice() -> None:
    """A duplicate of an early event is not kept twice, and not applied again after the start."""
    story = given(checkout()).when("StockReserved", id="e").when("StockReserved", id="e")
    assert len(story.txn.early) == 1
    story.when("OrderPlaced").when("StockReserved", id="e")
    assert story.ignored() == []


def test_early_failure_counts() -> None:
    """A failure that comes before the start ends the transaction when the start comes."""
    story = given(checkout()).when("StockRejected", "OrderPlaced")
    assert (story.status, story.sent()) == ("compensated", [])


def test_early_events_expire() -> None:
    """If no saga starts within an hour, what was kept is listed as unmatched and dropped."""
    story = given(checkout()).when("StockReserved")
    story.wait(seconds(3_600))
    assert story.txn.early == []
    assert [t.code for t in story.log if t.kind is Kind.EXPIRED] == ["unmatched"]


def test_each_early_event_waits_an_hour() -> None:
    """Each counts its own hour: what keeps coming without a start does not keep what is old."""
    story = given(checkout()).when("StockReserved").wait(seconds(1_800)).when("PaymentCaptured")
    story.fire(EXPIRY, at=BEGIN + seconds(3_601))
    assert [early.type for early in story.txn.early] == ["payment.PaymentCaptured"]
    assert story.wait(seconds(1_900)).txn.early == []
    assert story.kinds()[-2:] == ["expired", "expired"]


def test_expiry_after_the_start_does_nothing() -> None:
    """The timer of early events is stale once their saga has started."""
    story = given(checkout()).when("StockReserved", "OrderPlaced")
    before = story.txn.copy()
    story.fire(EXPIRY, at=BEGIN + seconds(4_000))
    assert story.txn == before


def test_start_before_deployment_is_only_observed() -> None:
    """A start that was sent before the definition was deployed starts nothing."""
    story = given(checkout()).when("OrderPlaced", sent_at=DEPLOYED - 1)
    assert (story.status, story.ignored()) == ("observed", ["before_deployment"])


def test_message_without_meaning() -> None:
    """A type that the saga does not name means nothing."""
    story = given(checkout()).when("OrderPlaced")
    entry = replace(story.entry("StockReserved"), type="weather.Rained")
    before = story.txn.copy()
    story.deliver(entry)
    assert story.txn == before


# -- saga-12: retries


def test_timeout_is_retried() -> None:
    """A command that gets no answer is sent again after a pause: another id, the same idempotency key."""
    story = booking()
    first = story.command("BookShipment")
    story.wait(seconds(10))
    assert (story.steps["shipping"], story.txn.steps["shipping"].timer) == ("active", RETRY)
    story.wait(seconds(1))
    second = story.command("BookShipment")
    assert story.sent() == ["BookShipment"]
    assert second.id != first.id
    assert second.idempotency_key == first.idempotency_key


def test_an_unsure_failure_is_in_doubt() -> None:
    """An attempt that failed and may have taken effect all the same is reversed with the others, the last one or any before."""
    for unsure in ((False, True), (True, False)):
        story = booking()
        for number, this in enumerate(unsure):
            if number:
                story.wait(seconds(2))
            story.fails("shipping", retryable=number == 0, unsure=this)
        assert story.txn.steps["shipping"].status == "compensating", unsure
        assert "CancelShipment" in story.sent()
        story.when("ShipmentCancelled", "PaymentRefunded", "StockReleased")
        assert story.status == "compensated"


def test_an_unsure_failure_of_a_step_that_has_not_begun() -> None:
    """A service that acts by itself may fail, unsure, before what it acted on is known here."""
    story = given(checkout()).when("OrderPlaced").fails("payment", unsure=True)
    assert story.txn.steps["payment"].status == "compensating"
    story.when("PaymentRefunded", "StockReleased")
    assert story.status == "compensated"


def test_retryable_failure_is_retried() -> None:
    """A service that asks for it is asked again."""
    story = booking().fails("shipping", retryable=True).wait(seconds(1))
    assert story.sent() == ["BookShipment"]


def test_expired_attempt_is_retried() -> None:
    """A service that got the command too late did not act on it: only that attempt is over."""
    story = booking().fails("shipping", code="expired").wait(seconds(1))
    assert story.sent() == ["BookShipment"]


def test_backoff_grows_up_to_its_cap() -> None:
    """The pauses grow by the factor and stay within their jitter: half fixed, half derived."""
    story = booking()
    pauses = []
    for _ in range(4):
        story.fails("shipping", retryable=True)
        pauses.append(story.txn.steps["shipping"].due - story.at)
        story.wait(pauses[-1])
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, [200, 400, 800, 1600], strict=True))


def test_backoff_is_derived() -> None:
    """The same story has the same pauses: jitter comes from the command's id, not from chance."""
    dues = [booking().fails("shipping", retryable=True).txn.steps["shipping"].due for _ in range(2)]
    assert dues[0] == dues[1]


def test_success_during_backoff() -> None:
    """A success of the last attempt counts while the next one waits; its timer is gone."""
    story = booking().wait(seconds(10)).when("ShipmentBooked")
    assert (story.status, timers_of(story.txn)) == ("completed", [])


def test_success_of_an_earlier_attempt() -> None:
    """A success counts, whichever attempt it answers."""
    story = booking()
    first = story.command("BookShipment").id
    story.wait(seconds(11)).when("ShipmentBooked", causation_id=first)
    assert story.status == "completed"


def test_failure_of_an_earlier_attempt_is_ignored() -> None:
    """A failure counts for its attempt only: another one is on its way."""
    story = booking()
    first = story.command("BookShipment").id
    story.wait(seconds(11)).fails("shipping", causation_id=first)
    assert (story.steps["shipping"], story.ignored()) == ("active", ["old_attempt"])


def test_choreographed_step_is_not_retried() -> None:
    """A step without a command has nothing to send again: its service has tried already."""
    story = given(checkout()).when("OrderPlaced", "StockReserved").fails("payment", retryable=True)
    assert story.status == "compensating"


# -- saga-14: timers


def test_early_timer_does_nothing() -> None:
    """A timer that fires before it is due means nothing."""
    story = booking()
    before = story.txn.copy()
    story.fire(TIMEOUT, "shipping", 1, 1, at=story.at + seconds(9))
    assert story.txn == before


@pytest.mark.parametrize(("round_", "attempt"), [(1, 1), (2, 2), (1, 3)])
def test_timer_of_another_attempt_does_nothing(round_: int, attempt: int) -> None:
    """A timer counts for the round and attempt that it was set for."""
    story = booking().wait(seconds(11))
    assert story.txn.steps["shipping"].attempt == 2
    before = story.txn.copy()
    story.fire(TIMEOUT, "shipping", round_, attempt, at=story.at + seconds(60))
    assert story.txn == before


def test_timer_that_fires_twice() -> None:
    """The second firing of a timer is stale."""
    story = booking().wait(seconds(10))
    before = story.txn.copy()
    story.fire(TIMEOUT, "shipping", 1, 1, at=story.at + 1)
    assert story.txn == before


def test_timer_after_the_success_does_nothing() -> None:
    """A step that has succeeded can't time out."""
    story = booking().when("ShipmentBooked")
    before = story.txn.copy()
    story.fire(TIMEOUT, "shipping", 1, 1, at=story.at + seconds(60))
    assert story.txn == before


@pytest.mark.parametrize("kind", [TIMEOUT, RETRY, DEADLINE, EXPIRY, "confirmation", "compensation_retry"])
def test_timer_without_transaction_does_nothing(kind: str) -> None:
    """A timer of a transaction that is gone means nothing."""
    story = given(checkout()).fire(kind, "shipping", 1, 1)
    assert story.log == []


def test_deadline() -> None:
    """A saga that is not done by its deadline is compensated."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured")
    story.sent()
    story.fire(DEADLINE, at=story.txn.deadline)
    assert (story.status, story.steps["shipping"]) == ("compensating", "compensating")
    assert story.txn.reason == "deadline (the saga's deadline has passed)"


def test_deadline_that_is_early_does_nothing() -> None:
    """Before it has passed, a deadline means nothing."""
    story = booking()
    story.fire(DEADLINE, at=story.txn.deadline - 1)
    assert story.status == "running"


def test_deadline_after_the_end_does_nothing() -> None:
    """What has ended has no deadline."""
    story = booking()
    deadline = story.txn.deadline
    story.when("ShipmentBooked").fire(DEADLINE, at=deadline)
    assert (story.status, story.txn.deadline) == (Status.COMPLETED, 0)


# -- poison


def test_poison_is_an_incident() -> None:
    """What can't be decoded is an incident of its transaction, which is parked; nothing else changes."""
    story = given(checkout()).when("OrderPlaced").when("StockReserved", error="bytes do not fit")
    assert [(i.kind, i.reason) for i in story.txn.incidents] == [
        ("poison", "inventory.StockReserved at evt/0/1: bytes do not fit")
    ]
    assert (story.status, story.steps) == ("parked", {"stock": "active"})


def test_poison_before_the_start() -> None:
    """A transaction that begins with poison waits for a person; what was kept does not expire."""
    story = given(checkout()).when("StockReserved").when("OrderPlaced", error="bytes do not fit")
    assert (story.status, story.txn.expires_at) == ("parked", 0)
    assert [kind for _, kind, *_ in timers_of(story.txn)] == []


def test_poison_without_end() -> None:
    """A transaction that gets nothing but poison has one incident, and does not grow for ever."""
    story = given(checkout()).when("OrderPlaced")
    for _ in range(30):
        story.when("StockReserved", error="bytes do not fit")
    assert [incident.kind for incident in story.txn.incidents] == ["poison"]
    assert len(story.txn.put_off) == 30
    assert len(story.txn.fingerprints) == 1
