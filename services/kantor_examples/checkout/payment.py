"""Payment takes the customer's money: ``python -m kantor_examples.checkout.payment``."""

from kantor import Context, Service, SqliteStore
from kantor_examples.checkout.data import database
from kantor_examples.checkout.messages import (
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
    StockReserved,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (customer_id TEXT PRIMARY KEY, opened_with INTEGER, cents INTEGER CHECK (cents >= 0));
INSERT OR IGNORE INTO accounts VALUES ('ada', 1000000000, 1000000000), ('grace', 1000000000, 1000000000),
    ('linus', 1000000000, 1000000000), ('oliver', 0, 0);
CREATE TABLE IF NOT EXISTS payments (
    order_id TEXT PRIMARY KEY, customer_id TEXT, amount_cents INTEGER, refunded INTEGER DEFAULT 0
);
"""

payment = Service("payment", store=SqliteStore(database("payment"), schema=SCHEMA))


@payment.on(StockReserved, declines=[PaymentDeclined])
def charge(event: StockReserved, context: Context) -> PaymentCaptured | PaymentDeclined:
    taken = context.db.execute(
        "UPDATE accounts SET cents = cents - ?1 WHERE customer_id = ?2 AND cents >= ?1",
        (event.amount_cents, event.customer_id),
    )
    if not taken.rowcount:
        return PaymentDeclined(order_id=event.order_id, reason=f"{event.customer_id} has too little money")
    context.db.execute(
        "INSERT INTO payments (order_id, customer_id, amount_cents) VALUES (?, ?, ?)",
        (event.order_id, event.customer_id, event.amount_cents),
    )
    return PaymentCaptured(order_id=event.order_id, amount_cents=event.amount_cents)


@payment.handles(RefundPayment, reverses=charge)  # never called for an order that was not charged
def refund(command: RefundPayment, context: Context) -> PaymentRefunded:
    customer, amount = context.db.execute(
        "UPDATE payments SET refunded = 1 WHERE order_id = ? RETURNING customer_id, amount_cents",
        (command.order_id,),
    ).fetchone()
    context.db.execute("UPDATE accounts SET cents = cents + ? WHERE customer_id = ?", (amount, customer))
    return PaymentRefunded(order_id=command.order_id, amount_cents=amount)


if __name__ == "__main__":
    payment.run()
