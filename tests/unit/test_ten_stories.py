"""The ten real transactions run: their happy stories, and what becomes of them when something fails."""

from __future__ import annotations

from typing import Any

import pytest

from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story, seconds
from unit.saga_kit import act, confirm, reply, state
from unit.test_definitions_ten import compiled

DAY = 24 * 3600


def start(saga: str, event: str, /, **payload: Any) -> Story:
    return Story(compiled(saga)).when(event, payload=payload)


def check(story: Story, status: Status) -> None:
    assert story.status == status, story.steps
    assert story.replayed() == story.txn, "history and state tell the same"


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


# -- onboarding


def test_onboarding() -> None:
    """Approved, the laptop is out of stock, the accounts are made: welcome."""
    story = start("onboarding", "OfferAccepted", employee_email="a@b", name="Ann", department="it")
    assert story.sent() == ["RequestTask"]
    reply(story, "TaskSucceeded", "approval", outcome="approved", by="vp")
    reply(story, "TaskFailed", "laptop", code="unavailable")
    for step in ("directory", "cloud", "repository"):
        reply(story, "CallSucceeded", f"accounts.{step}")
    assert story.sent()[-1] == "WelcomeHire"
    check(story, Status.COMPLETED)


def test_onboarding_an_account_fails() -> None:
    """The last account can't be made: the others are deleted, the last first, and the hire is abandoned."""
    story = start("onboarding", "OfferAccepted", employee_email="a@b", name="Ann", department="it")
    reply(story, "TaskSucceeded", "approval", outcome="approved", by="vp")
    reply(story, "TaskSucceeded", "laptop", outcome="shipped", by="it")
    reply(story, "CallSucceeded", "accounts.directory")
    reply(story, "CallSucceeded", "accounts.cloud")
    story.sent()
    reply(story, "CallFailed", "accounts.repository", code="403")
    assert state(story) == "compensating"
    assert story.txn.steps["accounts.cloud"].status == "compensating"
    assert story.txn.steps["accounts.directory"].status == "succeeded", "its turn comes later"
    confirm(story, "CallSucceeded", "accounts.cloud")
    confirm(story, "CallSucceeded", "accounts.directory")
    assert story.sent()[-1] == "AbandonHire"
    check(story, Status.COMPENSATED)


# -- expense report


@pytest.mark.parametrize(("amount", "approvers"), [(5_000, 1), (200_000, 2), (2_000_000, 3)])
def test_expenses_need_as_many_approvals_as_they_are_large(amount: int, approvers: int) -> None:
    """Each approver is asked only after the one before; larger reports need more of them."""
    story = start("expense_report", "ReportSubmitted", report_id="r", employee_id="e", amount_cents=amount)
    asked = 0
    for name in ("manager", "director", "cfo"):
        if story.steps.get(f"approvals.{name}") == "active":
            asked += 1
            reply(story, "TaskSucceeded", f"approvals.{name}", outcome="approved", by=name)
    assert asked == approvers
    reply(story, "Reimbursed", "pay")
    check(story, Status.COMPLETED)


def test_a_rejected_expense() -> None:
    """The director rejects: nobody else is asked, nothing is paid."""
    story = start("expense_report", "ReportSubmitted", report_id="r", employee_id="e", amount_cents=2_000_000)
    reply(story, "TaskSucceeded", "approvals.manager", outcome="approved", by="m")
    reply(story, "TaskFailed", "approvals.director", code="rejected")
    assert "approvals.cfo" not in story.steps
    assert story.sent()[-1] == "RejectReport"
    check(story, Status.COMPENSATED)


# -- loan


def credit_checks(*passed: bool) -> Story:
    story = start("loan_origination", "ApplicationSubmitted", application_id="a")
    assert [c.fields["bureau"] for c in story.commands] == ["equifax", "experian", "transunion"]
    for n, good in enumerate(passed):
        reply(story, "CheckPassed" if good else "CheckFailed", f"credit[{n}].check")
    return story


def test_a_loan() -> None:
    """Two of three bureaus suffice; then a person, a signature, the money."""
    story = credit_checks(False, True, True)
    reply(story, "TaskSucceeded", "underwriting", outcome="accept", by="u")
    story.when("ContractSigned")
    reply(story, "Disbursed", "disburse")
    check(story, Status.COMPLETED)


def test_a_loan_without_credit() -> None:
    """Two bureaus refuse: nothing more is asked."""
    story = credit_checks(False, False)
    check(story, Status.COMPENSATED)
    assert "underwriting" not in story.steps


def test_a_disbursement_in_doubt_is_asked_about() -> None:
    """The bank does not answer: it is asked, and its answer counts; nothing is sent twice."""
    story = credit_checks(True, True, True)
    reply(story, "TaskSucceeded", "underwriting", outcome="accept", by="u").when("ContractSigned").wait(
        seconds(3700)
    )
    assert story.steps["disburse"] == "in_doubt"
    question = story.command("GetDisbursement")
    story.when("Disbursed", causation_id=question.id)
    check(story, Status.COMPLETED)


# -- insurance claim and payout


def test_a_claim_and_its_payout() -> None:
    """The payout runs as a saga of its own; what it returns closes the claim."""
    story = start("insurance_claim", "ClaimFiled", claim_id="c", policy_id="p")
    reply(story, "Assessment", "assess", amount_cents=700)
    begin = story.command("PayClaim")
    assert (begin.kind, begin.fields["amount_cents"]) == ("child", 700)
    child = start("payout", "PayClaim", claim_id="c", amount_cents=700)
    reply(child, "FundsReserved", "reserve")
    reply(child, "TransferSent", "transfer", reference="REF")
    check(child, Status.COMPLETED)
    assert child.txn.captured[""] == {"reference": "REF"}
    reply(story, "TransactionEnded", "payout", status="completed", reference="REF")
    assert story.command("CloseClaim").fields["reference"] == "REF"
    reply(story, "ClaimClosed", "close")
    check(story, Status.COMPLETED)


def test_a_payout_that_fails() -> None:
    """The child is compensated: so the claim can't go on, and is compensated, too."""
    child = start("payout", "PayClaim", claim_id="c", amount_cents=700)
    reply(child, "FundsReserved", "reserve")
    reply(child, "TransferRejected", "transfer")
    confirm(child, "FundsReleased", "reserve")
    check(child, Status.COMPENSATED)
    story = start("insurance_claim", "ClaimFiled", claim_id="c", policy_id="p")
    reply(story, "Assessment", "assess", amount_cents=700)
    reply(story, "TransactionEnded", "payout", status="compensated")
    check(story, Status.COMPENSATED)


def claimed() -> tuple[Story, Story]:
    """A claim whose payout runs: the parent, and its child."""
    story = start("insurance_claim", "ClaimFiled", claim_id="c", policy_id="p")
    reply(story, "Assessment", "assess", amount_cents=700)
    begin = story.command("PayClaim")
    child = Story(compiled("payout"))
    child.txn.id = begin.about
    child.when(
        "PayClaim",
        id=begin.id,
        parent="t-1",
        parent_command=begin.id,
        payload={"claim_id": "c", "amount_cents": 700},
    )
    reply(child, "FundsReserved", "reserve")
    return story, child


def ask_child(story: Story, child: Story) -> None:
    asked = story.command("CompensateTransaction")
    assert asked.about == child.txn.id
    child.when("CompensateTransaction", id=asked.id, source="kantor")


def test_compensating_a_parent_compensates_its_child() -> None:
    """The claim is cancelled while its payout runs: the payout reverses itself, and its end confirms that to the claim."""
    story, child = claimed()
    act(story, "cancel", why="typo")
    assert story.steps["payout"] == "compensating"
    ask_child(story, child)
    assert state(child) == "running", "the transfer may have happened: it is not decided yet"
    assert child.command("StepFailed").fields["retryable"] is True


def test_a_child_that_can_reverse_itself() -> None:
    """Before its pivot the child reverses what it did; the parent is compensated when it has."""
    story, child = claimed()
    reply(child, "TransferRejected", "transfer")
    act(story, "cancel", why="typo")
    ask_child(story, child)
    assert child.txn.parent_command == story.command("CompensateTransaction").id
    confirm(child, "FundsReleased", "reserve")
    check(child, Status.COMPENSATED)
    confirm_end(story, child)
    check(story, Status.COMPENSATED)


def confirm_end(story: Story, child: Story) -> None:
    payload = {"status": str(child.status)}
    story.when("TransactionEnded", causation_id=child.txn.parent_command, payload=payload)


def test_a_child_past_its_pivot_says_no() -> None:
    """What the child did is final: the parent's compensation is an incident for a person, not a lie."""
    story, child = claimed()
    reply(child, "TransferSent", "transfer", reference="R")
    reply(story, "TransactionEnded", "payout", status="completed", reference="R")
    act(story, "cancel", why="typo")
    ask_child(story, child)
    check(child, Status.COMPLETED)
    answer = child.command("StepFailed")
    story.when("StepFailed", causation_id=story.command("CompensateTransaction").id, payload=answer.fields)
    assert story.steps["payout"] == "incident"


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
