"""Inventory sets stock aside for orders: ``python -m kantor_examples.checkout.inventory``."""

from kantor import Context, Service, SqliteStore
from kantor_examples.checkout.data import database
from kantor_examples.checkout.messages import (
    OrderPlaced,
    ReleaseStock,
    StockRejected,
    StockReleased,
    StockReserved,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, delivered INTEGER, free INTEGER CHECK (free >= 0));
INSERT OR IGNORE INTO stock VALUES ('book', 5000, 5000), ('laptop', 5000, 5000), ('monitor', 5000, 5000),
    ('piano', 5000, 5000), ('graphics-card', 0, 0);
CREATE TABLE IF NOT EXISTS reservations (
    order_id TEXT PRIMARY KEY, sku TEXT, quantity INTEGER, released INTEGER DEFAULT 0
);
"""

inventory = Service("inventory", store=SqliteStore(database("inventory"), schema=SCHEMA))


@inventory.on(OrderPlaced, declines=[StockRejected])
def reserve(order: OrderPlaced, context: Context) -> StockReserved | StockRejected:
    taken = context.db.execute(
        "UPDATE stock SET free = free - ?1 WHERE sku = ?2 AND free >= ?1", (order.quantity, order.sku)
    )
    if not taken.rowcount:
        return StockRejected(order_id=order.order_id, reason=f"out of stock: {order.sku}")
    context.db.execute(
        "INSERT INTO reservations (order_id, sku, quantity) VALUES (?, ?, ?)",
        (order.order_id, order.sku, order.quantity),
    )
    return StockReserved(
        order_id=order.order_id,
        customer_id=order.customer_id,
        sku=order.sku,
        quantity=order.quantity,
        amount_cents=order.amount_cents,
    )


@inventory.handles(ReleaseStock, reverses=reserve)  # never called for an order without a reservation
def release(command: ReleaseStock, context: Context) -> StockReleased:
    sku, quantity = context.db.execute(
        "UPDATE reservations SET released = 1 WHERE order_id = ? RETURNING sku, quantity", (command.order_id,)
    ).fetchone()
    context.db.execute("UPDATE stock SET free = free + ? WHERE sku = ?", (quantity, sku))
    return StockReleased(order_id=command.order_id)


if __name__ == "__main__":
    inventory.run()
