"""The checkout saga, as the view's tests know it."""

from __future__ import annotations

from kantor_orchestrator.core.saga import Command, Compensation, FieldRule, Retry, Saga, Step

_ORDER = (FieldRule("order_id", (("start", "order_id"),)),)


def _reversal(command: str, confirmed_on: str) -> Compensation:
    service = command.partition(".")[0]
    return Compensation(command=Command(command, f"cmd.{service}.v1", _ORDER), confirmed_on=confirmed_on)


CHECKOUT = Saga(
    name="checkout",
    version=1,
    starts_on="shop.OrderPlaced",
    keys=("order_id", "customer_id"),
    deadline=900_000,
    captures={
        "shop.OrderPlaced": frozenset({"order_id", "customer_id", "amount_cents"}),
        "payment.PaymentCaptured": frozenset({"payment_id"}),
    },
    steps={
        "stock": Step(
            path="stock",
            succeeds_on="inventory.StockReserved",
            fails_on=("inventory.StockRejected",),
            timeout=30_000,
            compensation=_reversal("inventory.ReleaseStock", "inventory.StockReleased"),
        ),
        "payment": Step(
            path="payment",
            after=("stock",),
            succeeds_on="payment.PaymentCaptured",
            fails_on=("payment.PaymentDeclined",),
            timeout=30_000,
            compensation=_reversal("payment.RefundPayment", "payment.PaymentRefunded"),
        ),
        "shipping": Step(
            path="shipping",
            after=("payment",),
            kind="command",
            command=Command("shipping.BookShipment", "cmd.shipping.v1", _ORDER),
            succeeds_on="shipping.ShipmentBooked",
            fails_on=("shipping.ShipmentUnavailable",),
            timeout=10_000,
            retry=Retry(attempts=2, backoff=200, jitter="none"),
            compensation=_reversal("shipping.CancelShipment", "shipping.ShipmentCancelled"),
        ),
    },
)
