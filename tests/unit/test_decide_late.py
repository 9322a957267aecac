"""What entries mean: successes that come late, and doubt that lasts (saga-13, saga-21)."""

from __future__ import annotations

from kantor_orchestrator import Saga
from kantor_orchestrator.core.saga import Saga as CompiledSaga
from unit.core_kit import checkout, compiled, declined, diamond, given, in_doubt, seconds
from unit.definitions_kit import SCHEMAS
from unit.saga_kit import begun, build, command, composite, confirm, reply


def asked_then_alone(attempts: int = 2) -> CompiledSaga:
    """A parcel is asked for; then the stock acts by itself, and its news may come first."""
    saga = Saga("order", version=1, starts_on="shop.Ordered", deadline="1h")
    saga.step(
        "parcel",
        command={"type": "parcel.Book", "fields": {"shelf": "start.sku"}},
        succeeds_on="parcel.Booked",
        timeout="2s",
        retry={"attempts": attempts, "backoff": "1s"},
        compensate_with="parcel.Cancel",
        compensated_on="parcel.Cancelled",
    )
    saga.step(
        "stock",
        after="parcel",
        succeeds_on="stock.Released",
        compensate_with="stock.Release",
        compensated_on="stock.Rejected",
    )
    return compiled(saga, SCHEMAS)


def test_success_while_its_compensation_is_under_way() -> None:
    """A success that comes during the compensation of a step in doubt asks for another round."""
    story = in_doubt()
    first = story.command("CancelShipment")
    story.when("ShipmentBooked").when("ShipmentCancelled", causation_id=first.id)
    second = story.command("CancelShipment")
    assert story.sent() == ["CancelShipment"]
    assert second.idempotency_key != first.idempotency_key
    assert second.reverses == first.reverses


def test_known_effect_holds_back_what_came_before() -> None:
    """Once a step in doubt turns out to have happened, its compensation is confirmed before earlier ones are sent."""
    story = in_doubt().when("ShipmentBooked", "PaymentRefunded")
    assert story.sent() == []
    story.when("ShipmentCancelled")
    assert story.sent() == ["CancelShipment"]
    story.when("ShipmentCancelled")
    assert story.sent() == ["ReleaseStock"]
    story.when("StockReleased")
    assert story.status == "compensated"


def test_success_after_the_end_reopens() -> None:
    """An effect that shows up after the end is compensated then: the transaction is reopened and ends again."""
    story = in_doubt().when("ShipmentCancelled", "PaymentRefunded", "StockReleased")
    assert (story.status, story.txn.endings) == ("compensated", 1)
    story.sent()
    story.when("ShipmentBooked")
    assert (story.status, story.txn.expires_at, story.sent()) == ("compensating", 0, ["CancelShipment"])
    story.when("ShipmentCancelled")
    assert (story.status, story.txn.endings) == ("compensated", 2)


def test_success_after_a_failure_is_compensated() -> None:
    """A step that said it failed and then that it succeeded has happened."""
    story = declined().when("PaymentCaptured")
    assert story.sent() == ["RefundPayment"]
    story.when("PaymentRefunded", "StockReleased")
    assert story.status == "compensated"


def test_effect_of_a_step_that_never_opened() -> None:
    """A choreographed step that went on although compensation began is compensated too."""
    story = given(checkout()).when("OrderPlaced").fire("deadline", at=given(checkout()).at + seconds(1000))
    story.when("StockReleased", "PaymentCaptured")
    assert (story.status, story.steps["payment"]) == ("compensating", "compensating")


def test_second_answer_to_the_same_action() -> None:
    """Attempts share one effect: when another one is answered too, there is nothing more to reverse."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured")
    first = story.command("BookShipment").id
    story.wait(seconds(11))
    second = story.command("BookShipment").id
    story.fire("deadline", at=story.txn.deadline).when("ShipmentBooked", causation_id=first)
    story.when("ShipmentCancelled").when("ShipmentCancelled", "PaymentRefunded", "StockReleased")
    story.sent()
    story.when("ShipmentBooked", causation_id=second)
    assert (story.status, story.sent()) == ("compensated", [])


def test_late_success_without_compensation() -> None:
    """A late effect that needs no reversal does not reopen what has ended."""
    stock = Saga("order", version=1, starts_on="shop.Ordered", deadline="1m").step(
        "stock", succeeds_on="stock.Reserved"
    )
    story = given(compiled(stock, SCHEMAS)).when("Ordered").wait(seconds(60))
    assert (story.status, story.steps) == ("compensated", {"stock": "in_doubt"})
    story.when("Reserved")
    assert (story.status, story.txn.endings) == ("compensated", 1)


def test_doubt_outlives_the_failure_of_another_attempt() -> None:
    """A step in doubt that waits for its turn stays in doubt when its last attempt says that it failed: an earlier
    one may have happened."""
    story = given(asked_then_alone()).when("Ordered", "Released").wait(seconds(10))
    assert (story.steps["parcel"], story.txn.steps["parcel"].doubtful) == ("in_doubt", True)
    story.fails("parcel")
    assert (story.steps["parcel"], story.ignored()) == ("in_doubt", ["still_in_doubt"])
    story.sent()
    story.when("Rejected")
    assert story.sent() == ["Cancel"]


def test_failure_dispels_the_doubt_of_a_single_attempt() -> None:
    """A step in doubt whose only attempt says that it failed has not happened."""
    story = given(asked_then_alone(attempts=1)).when("Ordered", "Released").wait(seconds(10)).fails("parcel")
    assert story.steps["parcel"] == "failed"


def test_failure_of_an_earlier_round_is_nobodys() -> None:
    """A failure that names a compensation of an earlier round is not taken for one of the service's other steps."""
    story = given(diamond()).when("Begun").wait(seconds(3_600))
    first = story.command("ReverseA").id
    story.when("ADone").when("AReversed", causation_id=first)
    story.fails("a", causation_id=first)
    assert (story.steps, story.ignored()) == ({"a": "compensating"}, ["failure_of_no_step"])


def test_a_success_that_names_no_command_is_not_for_a_step_that_was_never_asked() -> None:
    """The first try's late answer counts for the first try, not for the next one, whose command was never sent."""
    saga = build(
        composite(
            "tries",
            command("tries.dun"),
            command("tries.charge", reversible=True, timeout=1_000, after=["dun"]),
            each=lambda _: [0, 1],
            in_order=True,
            need=1,
        )
    )
    story = reply(begun(saga), "DunDone", "tries[0].dun")
    story.wait(seconds(2))
    assert story.steps["tries[0].charge"] == "compensating"
    confirm(story, "ChargeReversed", "tries[0].charge")
    assert story.steps["tries[1].dun"] == "active"
    story.when("ChargeDone", causation_id="")
    assert "tries[1].charge" not in story.steps
    assert story.command("ReverseCharge").id == story.txn.steps["tries[0].charge"].compensation_id
    assert story.steps["tries[0].charge"] == "compensating", (
        "the late effect is reversed in a round of its own"
    )
    assert story.txn.steps["tries[0].charge"].compensation_round == 2
