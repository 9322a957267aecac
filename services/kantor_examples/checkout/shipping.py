"""Shipping books parcels when it is asked to: ``python -m kantor_examples.checkout.shipping``."""

from kantor import Context, Service, SqliteStore
from kantor_examples.checkout.data import database
from kantor_examples.checkout.messages import (
    BookShipment,
    CancelShipment,
    ShipmentBooked,
    ShipmentCancelled,
    ShipmentUnavailable,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS parcels (
    order_id TEXT PRIMARY KEY, sku TEXT, quantity INTEGER, tracking TEXT, cancelled INTEGER DEFAULT 0
);
"""
TOO_LARGE = {"piano"}

shipping = Service("shipping", store=SqliteStore(database("shipping"), schema=SCHEMA))


@shipping.handles(BookShipment, declines=[ShipmentUnavailable])
def book(command: BookShipment, context: Context) -> ShipmentBooked | ShipmentUnavailable:
    if command.sku in TOO_LARGE:
        return ShipmentUnavailable(order_id=command.order_id, reason=f"too large for a parcel: {command.sku}")
    tracking = f"parcel-{command.order_id}"
    context.db.execute(
        "INSERT INTO parcels (order_id, sku, quantity, tracking) VALUES (?, ?, ?, ?)",
        (command.order_id, command.sku, command.quantity, tracking),
    )
    return ShipmentBooked(order_id=command.order_id, tracking=tracking)


@shipping.handles(CancelShipment, reverses=book)  # never called for an order without a parcel
def cancel(command: CancelShipment, context: Context) -> ShipmentCancelled:
    context.db.execute("UPDATE parcels SET cancelled = 1 WHERE order_id = ?", (command.order_id,))
    return ShipmentCancelled(order_id=command.order_id)


if __name__ == "__main__":
    shipping.run()
