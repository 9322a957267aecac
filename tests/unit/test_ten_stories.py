"""The ten real transactions run: their happy stories, and what becomes of them when something fails."""

from __future__ import annotations

from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story, seconds
from unit.saga_kit import act, confirm, reply
from unit.ten_kit import DAY, check, start

# -- laptop checkout

LINES = [
    {"line_id": "l1", "sku": "laptop", "qty": 1, "amount_cents": 100_000},
    {"line_id": "l2", "sku": "mouse", "qty": 2, "amount_cents": 5_000},
]


def paid() -> Story:
    story = start("laptop_checkout", "OrderPlaced", order_id="o", customer_id="c", lines=LINES)
    story.when("StockReserved").when("PaymentCaptured")
    assert story.sent() == ["BookShipment", "BookShipment"]
    return story


def test_laptop_all_parcels() -> None:
    """All parcels are dispatched: no partial refund, the order is completed."""
    story = paid()
    for n in (0, 1):
        reply(story, "ShipmentBooked", f"parcels[{n}].book")
    for line in ("l2", "l1"):
        story.when("ParcelDispatched", payload={"line_id": line})
    assert story.sent() == ["CompleteOrder"]
    check(story, Status.COMPLETED)


def test_laptop_one_parcel_is_unavailable() -> None:
    """One parcel can't be shipped: its money and stock go back, and the order is completed with the other."""
    story = paid()
    reply(story, "ShipmentUnavailable", "parcels[1].book")
    reply(story, "ShipmentBooked", "parcels[0].book").when("ParcelDispatched", payload={"line_id": "l1"})
    assert sorted(story.sent()) == ["RefundPart", "ReleaseLines"]
    assert story.command("RefundPart").fields["amount_cents"] == 5_000
    assert story.command("ReleaseLines").fields["line_ids"] == ["l2"]
    reply(story, "PaymentRefunded", "partial_refund")
    reply(story, "StockReleased", "partial_release")
    check(story, Status.COMPLETED)


def test_laptop_shipping_is_down() -> None:
    """Shipping never answers: five attempts for each parcel, then everything is reversed and the order rejected."""
    story = paid().wait(seconds(300))
    sent = story.sent()
    assert sent.count("BookShipment") == 8
    assert {"CancelShipment", "RefundPayment"} <= set(sent)
    for n in (0, 1):
        confirm(story, "ShipmentCancelled", f"parcels[{n}].book")
    confirm(story, "PaymentRefunded", "payment")
    confirm(story, "StockReleased", "stock")
    assert story.sent()[-1] == "RejectOrder"
    check(story, Status.COMPENSATED)


# -- video

RENDITIONS = [{"name": "sd", "height": 480}, {"name": "hd", "height": 1080}]


def probed() -> Story:
    story = start("video_encoding", "VideoUploaded", video_id="v")
    return reply(story, "VideoProbed", "probe", renditions=RENDITIONS)


def test_a_video() -> None:
    """One encoding for each rendition that the probe found; an encoder that makes progress is not given up."""
    story = probed()
    reply(story, "RenditionEncoded", "renditions[0].encode")
    for _ in range(3):
        story.wait(seconds(80))
        reply(story, "EncodingProgressed", "renditions[1].encode")
    reply(story, "RenditionEncoded", "renditions[1].encode")
    assert story.command("PublishVideo").fields["names"] == ["sd", "hd"]
    reply(story, "VideoPublished", "publish")
    check(story, Status.COMPLETED)


def test_a_rendition_fails() -> None:
    """One encoding fails for good: what the other made is deleted."""
    story = probed()
    reply(story, "RenditionEncoded", "renditions[0].encode")
    reply(story, "EncodingFailed", "renditions[1].encode")
    assert story.sent()[-1] == "DeleteRendition"
    confirm(story, "RenditionDeleted", "renditions[0].encode")
    check(story, Status.COMPENSATED)


# -- travel


def test_a_trip_in_the_second_hotel() -> None:
    """The first hotel is full, the second is not."""
    story = start("travel_booking", "TripRequested", trip_id="t", hotel_a="Ritz", hotel_b="Inn")
    reply(story, "SeatBooked", "flight")
    reply(story, "RoomUnavailable", "hotel.a")
    assert story.command("BookRoom").fields["hotel"] == "Inn"
    reply(story, "RoomBooked", "hotel.b")
    reply(story, "PaymentCaptured", "pay")
    check(story, Status.COMPLETED)


def test_a_trip_that_is_not_paid() -> None:
    """The payment is declined: flight and hotel are cancelled, side by side."""
    story = start("travel_booking", "TripRequested", trip_id="t", hotel_a="Ritz", hotel_b="Inn")
    reply(story, "SeatBooked", "flight")
    reply(story, "RoomBooked", "hotel.a")
    story.sent()
    reply(story, "PaymentDeclined", "pay")
    assert sorted(story.sent()) == ["CancelRoom", "CancelSeat"]
    confirm(story, "SeatCancelled", "flight")
    confirm(story, "RoomCancelled", "hotel.a")
    check(story, Status.COMPENSATED)


# -- money transfer


def test_a_transfer() -> None:
    """Commands are keyed by the account that they are about."""
    story = start("money_transfer", "TransferRequested", transfer_id="t", from_account="A", to_account="B")
    reply(story, "FundsReserved", "reserve")
    reply(story, "AccountCredited", "credit")
    reply(story, "ReservationSettled", "settle")
    assert [c.key for c in story.commands] == ["A", "B", "A"]
    check(story, Status.COMPLETED)


def test_a_transfer_that_is_rejected() -> None:
    """The other bank refuses: the reservation is released."""
    story = start("money_transfer", "TransferRequested", transfer_id="t", from_account="A", to_account="B")
    reply(story, "FundsReserved", "reserve")
    reply(story, "CreditRejected", "credit")
    assert story.command("ReleaseFunds").key == "A"
    confirm(story, "FundsReleased", "reserve")
    check(story, Status.COMPENSATED)


# -- subscription


def charged(story: Story, n: int, *, good: bool) -> None:
    path = f"collect[{n}].charge"
    reply(story, "Charged" if good else "ChargeDeclined", path)


def test_a_renewal_at_once() -> None:
    """The first charge succeeds: extended, nobody is dunned."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1))
    charged(story, 0, good=True)
    assert story.sent() == ["Charge", "ExtendSubscription"]
    reply(story, "SubscriptionExtended", "extend")
    check(story, Status.COMPLETED)
    assert story.steps["suspend"] == "skipped"


def test_a_renewal_after_dunning() -> None:
    """The first charge is declined; a mail, a day, and the second succeeds: extended, not suspended."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1))
    charged(story, 0, good=False)
    assert story.sent()[-1] == "SendDunningEmail"
    reply(story, "EmailSent", "collect[1].dun").wait(seconds(DAY + 1))
    charged(story, 1, good=True)
    reply(story, "SubscriptionExtended", "extend")
    check(story, Status.COMPLETED)
    assert (story.steps["extend"], story.steps["suspend"]) == ("succeeded", "skipped")


def test_a_new_card_ends_the_waiting() -> None:
    """The customer gives a new card: the charge is tried at once."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1))
    charged(story, 0, good=False)
    reply(story, "EmailSent", "collect[1].dun").when("PaymentMethodUpdated")
    charged(story, 1, good=True)
    assert story.steps["collect"] == "succeeded"


def test_a_renewal_that_is_never_paid() -> None:
    """All five charges are declined: suspended, and the saga has done what it can."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1))
    for n, days in enumerate((0, 1, 3, 4, 6)):
        if n:
            reply(story, "EmailSent", f"collect[{n}].dun").wait(seconds(days * DAY + 1))
        charged(story, n, good=False)
    assert story.steps["collect"] == "failed"
    reply(story, "SubscriptionSuspended", "suspend")
    check(story, Status.COMPLETED)


def test_a_subscription_cancelled_in_time() -> None:
    """Cancelled after the first charge was declined, while it waits for the second: nothing is charged any more."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1))
    charged(story, 0, good=False)
    reply(story, "EmailSent", "collect[1].dun")
    assert story.sent() == ["Charge", "SendDunningEmail"]
    story.when("SubscriptionCancelled").wait(seconds(20 * DAY))
    assert story.sent() == []
    check(story, Status.COMPENSATED)


def test_a_subscription_cancelled_while_it_is_charged() -> None:
    """The charge may have happened: it is refunded."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1)).when("SubscriptionCancelled")
    assert story.sent() == ["Charge", "RefundCharge"]
    confirm(story, "ChargeRefunded", "collect[0].charge")
    check(story, Status.COMPENSATED)


def test_a_subscription_cancelled_too_late() -> None:
    """It is collected already: the cancellation is recorded, the renewal goes on."""
    story = start("subscription_renewal", "RenewalDue", subscription_id="s")
    story.wait(seconds(1))
    charged(story, 0, good=True)
    story.when("SubscriptionCancelled")
    assert story.ignored() == ["too_late"]
    reply(story, "SubscriptionExtended", "extend")
    check(story, Status.COMPLETED)


# -- cancellable order


def test_an_order_cancelled_in_time() -> None:
    """Before it ships everything is reversed, the last first."""
    story = start("cancellable_order", "OrderPlaced", order_id="o")
    story.when("PaymentCaptured", "CancelRequested")
    assert story.sent() == ["Restock", "RefundPayment"]
    confirm(story, "PaymentRefunded", "payment").when("OrderPicked")
    confirm(story, "Restocked", "pick")
    assert story.sent() == ["Restock"], "it was picked after all: a second round"
    confirm(story, "Restocked", "pick")
    assert story.sent() == ["CancelOrder"]
    check(story, Status.COMPENSATED)


def test_an_order_cancelled_too_late() -> None:
    """It is being handed over: the cancellation is refused, the order completes."""
    story = start("cancellable_order", "OrderPlaced", order_id="o")
    story.when("PaymentCaptured", "OrderPicked", "CancelRequested")
    assert story.sent()[-1] == "RefuseCancellation"
    reply(story, "HandedOver", "ship")
    assert story.sent() == ["CompleteOrder"]
    check(story, Status.COMPLETED)


def test_an_order_that_a_person_closes() -> None:
    """Whatever its state, a person can end it, with a reason."""
    story = act(start("cancellable_order", "OrderPlaced", order_id="o"), "close", why="test order")
    check(story, Status.CLOSED)
