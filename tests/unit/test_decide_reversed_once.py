"""One effect is reversed once; what a person closed stays closed (saga-22, saga-23, saga-29)."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story, checkout, declined, given, in_doubt, seconds
from unit.saga_kit import act, begun, build, command, confirm, event, reply

STOCK = "evt.inventory.stock.v1"


def reversed_in_doubt() -> Story:
    """The payment's failure is read before the stock's success: the stock is released while it is in doubt."""
    story = given(checkout()).when("OrderPlaced").when("PaymentDeclined")
    assert story.sent() == ["ReleaseStock"]
    return story


def test_a_success_told_before_its_reversal_was_confirmed_was_reversed_by_it() -> None:
    """Its service told it first, in the same partition: it is not reversed again, though it is read after the failure."""
    story = reversed_in_doubt().when("StockReserved", origin=f"{STOCK}/0/9")
    story.when("StockReleased", origin=f"{STOCK}/0/10")
    assert (story.sent(), story.status, story.steps["stock"]) == ([], Status.COMPENSATED, "compensated")


def test_a_success_that_is_read_after_the_confirmation_but_was_told_before_it() -> None:
    """Partitions are read in any order: the records' times tell which was first."""
    story = reversed_in_doubt().when("StockReleased", origin=f"{STOCK}/0/10")
    before = story.at - 500
    story.when("StockReserved", origin=f"{STOCK}/1/3", sent_at=before)
    assert (story.sent(), story.status) == ([], Status.COMPENSATED)
    assert story.ignored() == ["already_reversed"]


def test_an_effect_told_after_its_reversal_was_confirmed_is_reversed() -> None:
    """Nothing had been known of it when nothing was reversed: this is the effect, and it has a reversal of its own."""
    story = reversed_in_doubt().when("StockReleased", origin=f"{STOCK}/0/10")
    first = story.command("ReleaseStock")
    story.when("StockReserved", origin=f"{STOCK}/0/11")
    assert story.sent() == ["ReleaseStock"]
    assert story.command("ReleaseStock").idempotency_key != first.idempotency_key


def refunded(**facts: str) -> Story:
    """A payment that was captured, and refunded."""
    story = given(checkout()).when("OrderPlaced", "StockReserved").when("PaymentCaptured", **facts)
    story.fails("shipping", "gone").when("PaymentRefunded", "StockReleased")
    assert story.status is Status.COMPENSATED
    story.sent()
    return story


@pytest.mark.parametrize("fact", ["causation_id", "idempotency_key"])
def test_the_same_effect_told_again_under_another_id(fact: str) -> None:
    """It names the same cause, or the same key, as the one that was reversed: it is no other."""
    story = refunded(**{fact: "this-one"}).when("PaymentCaptured", sent_at=2**45, **{fact: "this-one"})
    assert (story.sent(), story.status, story.txn.incidents) == ([], Status.COMPENSATED, [])
    assert story.ignored() == ["already_succeeded"]


def second() -> Story:
    return refunded().when("PaymentCaptured", causation_id="e-2", sent_at=2**45, origin="evt/9/1")


def test_what_may_be_a_second_effect_waits_for_a_person() -> None:
    """It names neither the one that was reversed nor an attempt of ours: nobody refunds on a guess."""
    story = second()
    assert (story.sent(), story.status) == ([], Status.COMPENSATING)
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("second_effect", "payment")]
    assert story.replayed() == story.txn


def test_a_second_effect_is_reversed_when_a_person_says_so() -> None:
    story = act(second(), "retry", "payment")
    assert story.sent() == ["RefundPayment"]
    story.when("PaymentRefunded", origin="evt/9/2")
    assert (story.status, story.txn.incidents) == (Status.COMPENSATED, [])


def test_no_second_effect_when_a_person_says_so() -> None:
    story = act(second(), "skip", "payment")
    assert (story.sent(), story.status, story.txn.incidents) == ([], Status.COMPENSATED, [])


def test_a_person_retries_a_refund_under_its_key() -> None:
    """It was never confirmed, which does not mean that it was not done: its service must know it again."""
    story = (
        given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured").fails("shipping", "gone")
    )
    first = story.command("RefundPayment")
    story.wait(seconds(3 * 3600))
    act(story, "retry", "payment")
    again = story.command("RefundPayment")
    assert again.idempotency_key == first.idempotency_key
    assert again.id not in [c.id for c in story.commands[:-1]]


def test_a_person_retries_a_refund_that_was_refused_under_a_new_key() -> None:
    """The service's last word was no: under the same key it would say it again."""
    story = (
        given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured").fails("shipping", "gone")
    )
    first = story.command("RefundPayment")
    story.fails("payment", "no_such_card", causation_id=first.id)
    act(story, "retry", "payment")
    assert story.command("RefundPayment").idempotency_key != first.idempotency_key


def test_a_retried_step_that_may_have_happened_keeps_its_key() -> None:
    """A step after the pivot got no answer: a person's retry is another attempt of the same action."""
    saga = build(command("pay", pivot=True, in_doubt="wait"), command("ship", after=["pay"]))
    story = reply(begun(saga), "PayDone", "pay")
    first = story.command("DoShip")
    story.wait(15_000)
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("after_pivot", "ship")]
    act(story, "retry", "ship")
    assert story.command("DoShip").idempotency_key == first.idempotency_key
    reply(story, "ShipDone", "ship")
    assert story.status is Status.COMPLETED


# -- closed


def closed() -> Story:
    """Two compensations are under way when a person closes it: refunded by hand."""
    saga = build(
        event("stock", reversible=True),
        command("pay", after=["stock"], reversible=True),
        command("ship", after=["pay"], reversible=True),
    )
    story = reply(begun(saga).when("StockDone", payload={}), "PayDone", "pay")
    story.wait(10_500)
    assert story.sent()[-1] == "ReversePay"
    return act(story, "close", why="refunded by hand, ticket 4711")


def test_a_confirmation_reopens_nothing_that_a_person_closed() -> None:
    story = confirm(closed(), "ShipReversed", "ship")
    confirm(story, "PayReversed", "pay")
    assert (story.status, story.sent(), story.txn.incidents) == (Status.CLOSED, [], [])
    assert story.steps["pay"] == "compensated"


def test_an_effect_after_the_close_is_an_incident_for_who_closed_it() -> None:
    """Nothing is sent, nothing is reopened; it is listed until a person says that it is dealt with."""
    story = reply(closed(), "ShipDone", "ship")
    assert (story.status, story.sent()) == (Status.CLOSED, [])
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("after_close", "ship")]
    assert (timers_of(story.txn), story.txn.expires_at) == ([], 0)
    act(story, "retry", "ship")
    assert (story.ignored()[-1], story.sent()) == ("act_impossible", [])
    act(story, "skip", "ship", "cancelled by phone")
    assert (story.status, story.txn.incidents) == (Status.CLOSED, [])
    assert story.txn.expires_at > story.at
    assert story.replayed() == story.txn


def test_closing_again_deals_with_what_came_after_the_close() -> None:
    story = act(reply(closed(), "ShipDone", "ship"), "close", why="cancelled by phone")
    assert (story.status, story.txn.incidents, story.ignored()) == (Status.CLOSED, [], [])


def test_what_was_kept_while_it_was_held_is_known_to_who_closes_it() -> None:
    """A success that waited for the release is not forgotten by the close."""
    story = begun(build(command("pay", reversible=True), event("z", after=["pay"])))
    story.hold = "held by ann"
    reply(story, "PayDone", "pay")
    act(story, "close")
    assert (story.status, [(i.kind, i.step) for i in story.txn.incidents]) == (
        Status.CLOSED,
        [("after_close", "pay")],
    )


def test_a_cancellation_of_what_is_closed_is_not_answered() -> None:
    story = declined()
    act(story, "close")
    story.sent()
    act(story, "cancel")
    assert (story.status, story.sent(), story.ignored()) == (Status.CLOSED, [], ["act_impossible"])


def test_doubt_that_was_reversed_is_not_reversed_again_by_its_late_success() -> None:
    """The parcel's success was told before its cancellation was confirmed, and is heard of after the end."""
    story = in_doubt().when("PaymentRefunded", "StockReleased").when("ShipmentCancelled", origin="evt.s/0/7")
    assert story.status is Status.COMPENSATED
    story.sent()
    story.when("ShipmentBooked", origin="evt.s/0/6")
    assert (story.status, story.sent()) == (Status.COMPENSATED, [])
