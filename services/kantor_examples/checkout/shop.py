"""The shop takes orders and learns how they ended: ``python -m kantor_examples.checkout.shop``."""

import sqlite3
import uuid

from kantor import Context, Publisher, Service, SqliteStore, TransactionEnded
from kantor_examples.checkout.data import database
from kantor_examples.checkout.messages import OrderPlaced

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    order_id TEXT PRIMARY KEY, transaction_id TEXT UNIQUE, sku TEXT, quantity INTEGER, amount_cents INTEGER,
    status TEXT DEFAULT 'placed'  -- then completed or rejected
);
"""

shop = Service("shop", store=SqliteStore(database("shop"), schema=SCHEMA), publishes=[OrderPlaced])


def place(order: OrderPlaced, publish: Publisher) -> str:
    """Take an order: write it down, then tell everybody. Returns its transaction id.

    After a crash between the two, call it again: the same order gets the same transaction id, and is placed once.
    """
    db = sqlite3.connect(database("shop"), timeout=30)
    try:
        with db:
            db.execute(SCHEMA)  # the shop's service, which does this too, may not have run yet
            db.execute(
                "INSERT OR IGNORE INTO orders (order_id, transaction_id, sku, quantity, amount_cents) "
                "VALUES (?, ?, ?, ?, ?)",
                (order.order_id, str(uuid.uuid4()), order.sku, order.quantity, order.amount_cents),
            )
        query = "SELECT transaction_id FROM orders WHERE order_id = ?"
        (transaction_id,) = db.execute(query, (order.order_id,)).fetchone()
    finally:
        db.close()
    return publish(order, transaction_id=transaction_id)


@shop.on(TransactionEnded)
def close(event: TransactionEnded, context: Context) -> None:
    """Orders are found by their transaction; of other transactions the shop has none."""
    status = "completed" if event.status == "completed" else "rejected"
    context.db.execute(
        "UPDATE orders SET status = ? WHERE transaction_id = ?", (status, event.transaction_id)
    )


if __name__ == "__main__":
    shop.run()
