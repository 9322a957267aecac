"""Services for the kit's tests, which count what they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kantor import Context, Service, SqliteStore
from kantor_examples.checkout.messages import (
    BookShipment,
    CancelShipment,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
    ShipmentBooked,
    ShipmentCancelled,
    ShipmentUnavailable,
    StockReserved,
)

RESERVED = StockReserved(order_id="o1", customer_id="c1", sku="s1", quantity=1, amount_cents=500)
REFUND = RefundPayment(order_id="o1", amount_cents=500)
BOOK = BookShipment(order_id="o1", sku="s1", quantity=1)
CANCEL = CancelShipment(order_id="o1")

CAPTURED = PaymentCaptured(order_id="o1", amount_cents=500)
DECLINED = PaymentDeclined(order_id="o1", reason="no money")
REFUNDED = PaymentRefunded(order_id="o1", amount_cents=500)
BOOKED = ShipmentBooked(order_id="o1", tracking="T1")
CANCELLED = ShipmentCancelled(order_id="o1")

_SCHEMA = "CREATE TABLE IF NOT EXISTS effects (what TEXT NOT NULL)"


def effects(path: Path) -> list[str]:
    """What the services of this folder have done, read by another connection: committed."""
    inbox = SqliteStore(str(path / "service.db"), schema=_SCHEMA, durable=False).open()
    try:
        return [what for (what,) in inbox.db.execute("SELECT what FROM effects ORDER BY rowid")]
    finally:
        inbox.close()


def payment(path: Path, trouble: Callable[[], object] = lambda: None, *, outside: bool = False) -> Service:
    """Choreographed, with compensation. Declines what costs more than 1000; ``trouble`` may raise after the effect."""
    service = Service("payment", store=SqliteStore(str(path / "service.db"), schema=_SCHEMA, durable=False))

    @service.on(StockReserved, declines=[PaymentDeclined], outside=outside)
    def charge(event: StockReserved, context: Context) -> PaymentCaptured | PaymentDeclined:
        if event.amount_cents > 1000:
            return PaymentDeclined(order_id=event.order_id, reason="no money")
        context.db.execute("INSERT INTO effects VALUES (?)", (f"charged {event.order_id}",))
        trouble()
        return PaymentCaptured(order_id=event.order_id, amount_cents=event.amount_cents)

    @service.handles(RefundPayment, reverses=charge)
    def refund(command: RefundPayment, context: Context) -> PaymentRefunded:
        context.db.execute("INSERT INTO effects VALUES (?)", (f"refunded {command.order_id}",))
        return PaymentRefunded(order_id=command.order_id, amount_cents=command.amount_cents)

    return service


def shipping(path: Path, trouble: Callable[[], object] = lambda: None, *, outside: bool = False) -> Service:
    """Commanded, with compensation. ``trouble`` may raise after the effect."""
    service = Service("shipping", store=SqliteStore(str(path / "service.db"), schema=_SCHEMA, durable=False))

    @service.handles(BookShipment, declines=[ShipmentUnavailable], outside=outside)
    def book(command: BookShipment, context: Context) -> ShipmentBooked | ShipmentUnavailable:
        if command.quantity > 10:
            return ShipmentUnavailable(order_id=command.order_id, reason="too heavy")
        context.db.execute("INSERT INTO effects VALUES (?)", (f"booked {command.order_id}",))
        trouble()
        return ShipmentBooked(order_id=command.order_id, tracking="T1")

    @service.handles(CancelShipment, reverses=book)
    def cancel(command: CancelShipment, context: Context) -> ShipmentCancelled:
        context.db.execute("INSERT INTO effects VALUES (?)", (f"cancelled {command.order_id}",))
        return ShipmentCancelled(order_id=command.order_id)

    return service
