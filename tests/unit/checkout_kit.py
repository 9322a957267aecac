"""What the tests of the checkout example share: its databases, opened, and a day in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kantor import Context, SqliteStore, TransactionEnded
from kantor_examples.checkout import inventory, payment, shipping, shop
from kantor_examples.checkout.messages import (
    BookShipment,
    CancelShipment,
    OrderPlaced,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
    ReleaseStock,
    ShipmentBooked,
    ShipmentCancelled,
    ShipmentUnavailable,
    StockRejected,
    StockReleased,
    StockReserved,
)

SCHEMAS = {
    "shop": shop.SCHEMA,
    "inventory": inventory.SCHEMA,
    "payment": payment.SCHEMA,
    "shipping": shipping.SCHEMA,
}


def an_order(order_id: str = "o1", *, customer_id: str = "ada", sku: str = "laptop") -> OrderPlaced:
    return OrderPlaced(order_id=order_id, customer_id=customer_id, sku=sku, quantity=2, amount_cents=500)


class Checkout:
    """The four services' handlers on databases in one folder, called directly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stores = {
            name: SqliteStore(str(folder / f"{name}.db"), schema=text) for name, text in SCHEMAS.items()
        }
        self._inboxes = {name: store.open() for name, store in stores.items()}

    def close(self) -> None:
        for inbox in self._inboxes.values():
            inbox.close()

    def context(self, service: str) -> Context:
        return Context(service, "t1", "m1", {}, self._inboxes[service].db)

    def placed(self, order: OrderPlaced, transaction_id: str) -> None:
        with sqlite3.connect(self.folder / "shop.db") as db:
            db.execute(
                "INSERT INTO orders (order_id, transaction_id, sku, quantity, amount_cents) VALUES (?, ?, ?, ?, ?)",
                (order.order_id, transaction_id, order.sku, order.quantity, order.amount_cents),
            )
        db.close()

    def ended(self, transaction_id: str, status: str) -> None:
        event = TransactionEnded(
            transaction_id=transaction_id, saga="checkout", version=1, status=status, started_at=1, ended_at=2
        )
        shop.close(event, self.context("shop"))

    def reserve(self, order: OrderPlaced) -> StockReserved | StockRejected:
        return inventory.reserve(order, self.context("inventory"))

    def release(self, order_id: str) -> StockReleased:
        return inventory.release(ReleaseStock(order_id=order_id), self.context("inventory"))

    def charge(self, order: OrderPlaced) -> PaymentCaptured | PaymentDeclined:
        event = StockReserved(**order.to_avro())
        return payment.charge(event, self.context("payment"))

    def refund(self, order_id: str) -> PaymentRefunded:
        command = RefundPayment(order_id=order_id, amount_cents=0)
        return payment.refund(command, self.context("payment"))

    def book(self, order: OrderPlaced) -> ShipmentBooked | ShipmentUnavailable:
        command = BookShipment(order_id=order.order_id, sku=order.sku, quantity=order.quantity)
        return shipping.book(command, self.context("shipping"))

    def cancel(self, order_id: str) -> ShipmentCancelled:
        return shipping.cancel(CancelShipment(order_id=order_id), self.context("shipping"))


@contextmanager
def checkout(folder: Path) -> Iterator[Checkout]:
    opened = Checkout(folder)
    try:
        yield opened
    finally:
        opened.close()
