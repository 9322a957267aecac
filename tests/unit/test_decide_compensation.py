"""What entries mean: failure, doubt and compensation (saga-17 to saga-20)."""

from __future__ import annotations

from kantor.envelope import choreographed_action
from kantor_orchestrator.core.entry import CONFIRMATION, timers_of
from kantor_orchestrator.core.saga import Compensation, Retry
from kantor_orchestrator.core.transaction import Kind
from unit.core_kit import checkout, declined, given, in_doubt, seconds
from unit.saga_kit import begun, build, event, message

# -- failures


def test_decline() -> None:
    """A step that fails has not happened; what came before it is reversed and confirmed."""
    story = declined()
    assert story.steps == {"stock": "compensating", "payment": "failed"}
    assert story.txn.reason == "payment: payment.PaymentDeclined (no)"
    story.when("StockReleased")
    assert (story.status, story.steps["stock"]) == ("compensated", "compensated")
    assert story.txn.expires_at == story.at + 30 * 86_400_000


def test_first_step_fails() -> None:
    """Where nothing has happened there is nothing to reverse."""
    story = given(checkout()).when("OrderPlaced", "StockRejected")
    assert (story.status, story.sent(), story.steps) == ("compensated", [], {"stock": "failed"})


def test_final_answer_is_not_retried() -> None:
    """A type in fails_on is an answer: the command is not sent again."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured", "ShipmentUnavailable")
    assert story.sent() == ["BookShipment", "RefundPayment"]


def test_final_failure_of_a_command() -> None:
    """StepFailed that is not retryable ends the step at once."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured").fails("shipping")
    assert (story.steps["shipping"], story.sent()) == ("failed", ["BookShipment", "RefundPayment"])
    assert story.txn.reason == "shipping: broken (it said so)"


def test_failure_of_a_choreographed_step() -> None:
    """StepFailed that names an event counts for the open step of the service that sent it."""
    story = given(checkout()).when("OrderPlaced", "StockReserved").fails("payment")
    assert (story.steps["payment"], story.sent()) == ("failed", ["ReleaseStock"])


def test_failure_of_nobody() -> None:
    """StepFailed of a service without an open step is recorded and changes nothing."""
    story = given(checkout()).when("OrderPlaced").fails("stock", source="weather")
    assert (story.status, story.ignored()) == ("running", ["failure_of_no_step"])


def test_failure_after_success() -> None:
    """A step that has succeeded can't fail any more."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "StockRejected")
    assert (story.status, story.ignored()) == ("running", ["failure_after_end"])


def test_early_failure_of_a_later_step() -> None:
    """A failure may come before the success of the step before: what is in flight may have happened."""
    story = given(checkout()).when("OrderPlaced", "PaymentDeclined")
    assert (story.steps["stock"], story.sent()) == ("compensating", ["ReleaseStock"])


# -- saga-17: doubt


def test_in_flight_steps_are_in_doubt() -> None:
    """What is open when compensation begins may have happened: it is compensated."""
    story = given(checkout()).when("OrderPlaced").fire("deadline", at=given(checkout()).at + seconds(1000))
    assert [t.code for t in story.log if t.kind is Kind.DOUBTED] == ["in_flight"]
    assert story.sent() == ["ReleaseStock"]


def test_timed_out_step_is_in_doubt() -> None:
    """A choreographed step that does not answer in time may have happened."""
    story = given(checkout()).when("OrderPlaced", "StockReserved").wait(seconds(30))
    assert [t.step for t in story.log if t.kind is Kind.DOUBTED] == ["payment"]
    assert story.sent() == ["RefundPayment", "ReleaseStock"]


def test_compensation_in_doubt_uses_what_was_known_before() -> None:
    """The refund of a payment in doubt takes its amount from the order."""
    story = given(checkout()).when("OrderPlaced", "StockReserved").wait(seconds(30))
    assert story.command("RefundPayment").fields == {"order_id": "o-1", "amount_cents": 129_900}


def test_exhausted_retries_leave_doubt() -> None:
    """After the last attempt without an answer the step is in doubt, and compensated."""
    story = in_doubt()
    assert story.steps == {"stock": "succeeded", "payment": "compensating", "shipping": "compensating"}


def test_attempt_that_failed_after_one_without_answer() -> None:
    """The last attempt failed for sure, but an earlier one never answered: the step is in doubt."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured").wait(seconds(11))
    story.fails("shipping")
    assert [t.step for t in story.log if t.kind is Kind.DOUBTED] == ["shipping"]
    assert story.sent() == ["BookShipment", "BookShipment", "CancelShipment", "RefundPayment"]


def test_failure_dispels_doubt() -> None:
    """A final answer that comes while a step in doubt waits for its turn ends the doubt."""
    story = given(checkout()).when("OrderPlaced", "PaymentCaptured").wait(seconds(30))
    assert (story.steps["stock"], story.sent()) == ("in_doubt", ["RefundPayment"])
    story.when("StockRejected", "PaymentRefunded")
    assert (story.status, story.steps["stock"], story.sent()) == ("compensated", "failed", [])


# -- saga-19: reverse order


def test_compensation_is_reverse() -> None:
    """Each compensation waits until those of later steps are confirmed."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured", "ShipmentUnavailable")
    assert story.sent() == ["BookShipment", "RefundPayment"]
    story.when("PaymentRefunded")
    assert (story.status, story.sent()) == ("compensating", ["ReleaseStock"])
    story.when("StockReleased")
    assert story.status == "compensated"


def test_doubt_holds_nobody_up() -> None:
    """The refund does not wait for a carrier that may be down; the end does."""
    story = in_doubt().when("PaymentRefunded", "StockReleased")
    assert (story.status, story.sent()) == ("compensating", ["ReleaseStock"])
    story.when("ShipmentCancelled")
    assert story.status == "compensated"


def test_compensation_names_what_it_reverses() -> None:
    """A compensation names its action: a command's idempotency key, or the choreographed action."""
    story = in_doubt()
    assert story.command("CancelShipment").reverses == story.command("BookShipment").idempotency_key
    assert story.command("RefundPayment").reverses == choreographed_action("t-1", "payment.PaymentCaptured")


def test_compensation_never_expires() -> None:
    """A compensation must be carried out, however late."""
    assert declined().command("ReleaseStock").expires_at == 0


def test_compensation_is_filled_from_its_own_step_first() -> None:
    """What the step itself said comes before what was known earlier."""
    story = given(checkout()).when("OrderPlaced").when("StockReserved", payload={"order_id": "o-stock"})
    story.when("PaymentDeclined")
    assert story.command("ReleaseStock").fields == {"order_id": "o-stock"}


# -- saga-20: compensations that fail


def test_unconfirmed_compensation_is_repeated() -> None:
    """A compensation that nobody confirms is sent again: another id, the same idempotency key."""
    story = declined()
    first = story.command("ReleaseStock")
    story.wait(seconds(32))
    second = story.command("ReleaseStock")
    assert story.sent() == ["ReleaseStock"]
    assert (second.id != first.id, second.idempotency_key) == (True, first.idempotency_key)


def test_compensation_that_never_works_is_an_incident() -> None:
    """After its last attempt a compensation waits for a person; the transaction stays compensating."""
    story = declined().wait(seconds(3_600))
    assert story.sent() == ["ReleaseStock"] * 11
    assert (story.status, story.steps["stock"]) == ("compensating", "incident")
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("compensation_failed", "stock")]
    assert timers_of(story.txn) == []


def test_final_failure_of_a_compensation_is_an_incident() -> None:
    """A service that says a compensation can't be done is believed."""
    story = declined().fails("stock", "no_such_order")
    assert (story.status, story.steps["stock"]) == ("compensating", "incident")
    assert story.txn.incidents[0].reason == "it said so"


def test_retryable_failure_of_a_compensation() -> None:
    """A service that asks for it gets the compensation again."""
    story = declined().fails("stock", retryable=True).wait(seconds(1))
    assert story.sent() == ["ReleaseStock"]


def test_a_final_code_of_a_compensation_is_an_incident() -> None:
    """As the saga says, it is not repeated, whatever its service says."""
    patient = Compensation(
        command=message("ReverseA"),
        confirmed_on="x.AReversed",
        retry=Retry(attempts=5, final=frozenset({"closed"})),
    )
    story = begun(build(event("a", compensation=patient), event("b"))).when("ADone", "BFailed")
    cause = story.txn.steps["a"].compensation_id
    story.fails("a", "closed", retryable=True, causation_id=cause)
    assert story.steps["a"] == "incident"


def test_failure_of_an_earlier_compensation_attempt() -> None:
    """A failure of a compensation counts for its attempt only."""
    story = declined()
    first = story.command("ReleaseStock").id
    story.wait(seconds(32)).fails("stock", causation_id=first)
    assert (story.steps["stock"], story.ignored()) == ("compensating", ["old_attempt"])


def test_incident_holds_back_what_came_before() -> None:
    """An effect that could not be reversed holds back the compensations of earlier steps."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured", "ShipmentUnavailable")
    story.fails("payment")
    assert (story.steps["payment"], story.steps["stock"]) == ("incident", "succeeded")


def test_confirmation_resolves_an_incident() -> None:
    """A confirmation that comes after all resolves the incident, and compensation goes on."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured", "ShipmentUnavailable")
    story.fails("payment").sent()
    story.when("PaymentRefunded")
    assert (story.steps["payment"], story.txn.incidents, story.sent()) == (
        "compensated",
        [],
        ["ReleaseStock"],
    )


def test_success_during_an_incident() -> None:
    """A late success of a step with an incident asks for another round once the first is confirmed."""
    story = in_doubt().fails("shipping").when("ShipmentBooked")
    assert (story.steps["shipping"], story.txn.steps["shipping"].again) == ("incident", True)
    story.sent()
    story.when("ShipmentCancelled")
    assert story.sent() == ["CancelShipment"]


def test_confirmation_of_an_earlier_attempt() -> None:
    """A confirmation counts, whichever attempt of the round it answers."""
    story = declined()
    first = story.command("ReleaseStock").id
    story.wait(seconds(32)).when("StockReleased", causation_id=first)
    assert story.status == "compensated"


def test_confirmation_of_an_earlier_round() -> None:
    """The confirmation of an earlier round, coming again, does not confirm the next one."""
    story = in_doubt()
    first = story.command("CancelShipment").id
    story.when("ShipmentBooked").when("ShipmentCancelled", causation_id=first)
    assert story.txn.steps["shipping"].compensation_round == 2
    story.when("ShipmentCancelled", causation_id=first)
    assert (story.steps["shipping"], story.ignored()) == ("compensating", ["unasked_confirmation"])


def test_failure_of_an_earlier_round() -> None:
    """A failure that names a compensation of an earlier round is nobody's failure now."""
    story = in_doubt()
    first = story.command("CancelShipment").id
    story.when("ShipmentBooked").when("ShipmentCancelled", causation_id=first).fails(
        "shipping", causation_id=first
    )
    assert (story.steps["shipping"], len(story.ignored())) == ("compensating", 1)


def test_confirmation_without_cause() -> None:
    """A foreign service that names no cause confirms what is open."""
    story = declined().when("StockReleased", causation_id="")
    assert story.status == "compensated"


def test_confirmation_that_nobody_waits_for() -> None:
    """A confirmation before any compensation is recorded and changes nothing."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "StockReleased")
    assert (story.status, story.ignored()) == ("running", ["unasked_confirmation"])


# -- timers of compensations


def test_stale_confirmation_timer() -> None:
    """The timer of a compensation that was confirmed means nothing."""
    story = declined().when("StockReleased")
    before = story.txn.copy()
    story.fire(CONFIRMATION, "stock", 1, 1, at=story.at + seconds(60))
    assert story.txn == before


def test_confirmation_timer_of_another_round() -> None:
    """A compensation's timer counts for the round that it was set for."""
    story = declined()
    before = story.txn.copy()
    story.fire(CONFIRMATION, "stock", 2, 1, at=story.at + seconds(60))
    assert story.txn == before
