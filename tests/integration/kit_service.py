"""A payment service as a program of its own, for tests that kill it: ``python kit_service.py SPACE [DATABASE]``.

SPACE is part of all topic names, so that tests can share a broker. KIT_PAUSE: seconds that a handler takes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from kantor import Context, Retryable, Service, SqliteStore
from kantor_examples.checkout import messages


def moved(type_: type[Any], space: str) -> Any:
    """The message type on a topic of the test's own."""
    first, _, rest = type_.TOPIC.partition(".")
    return type(type_.__name__, (type_,), {"TOPIC": f"{first}.{space}.{rest}", "__slots__": ()})


def moved_types(space: str) -> tuple[Any, Any, Any]:
    return (
        moved(messages.StockReserved, space),
        moved(messages.PaymentCaptured, space),
        moved(messages.PaymentDeclined, space),
    )


def service(space: str, database: str | None, *, transactional: bool = False) -> Service:
    """Captures each payment; with a database it notes what it did, without it appends to the file KIT_CALLS."""
    stock_reserved, payment_captured, payment_declined = moved_types(space)
    pause = float(os.environ.get("KIT_PAUSE", "0"))
    calls = os.environ.get("KIT_CALLS")
    schema = "CREATE TABLE IF NOT EXISTS effects (order_id TEXT NOT NULL)"
    store = SqliteStore(database, schema=schema) if database else None
    made = Service(f"payment-{space}", store=store, retry_events_for=0.5, transactional=transactional)

    def charge(event: messages.StockReserved, context: Context) -> Any:
        time.sleep(pause)
        if event.sku == "down":
            raise Retryable("the bank does not answer")
        if database:
            context.db.execute("INSERT INTO effects VALUES (?)", (event.order_id,))
        elif calls:
            with Path(calls).open("a") as file:
                file.write(event.order_id + "\n")
        return payment_captured(order_id=event.order_id, amount_cents=event.amount_cents)

    charge.__annotations__ |= {"event": stock_reserved, "return": payment_captured | payment_declined}
    made.on(stock_reserved, declines=[payment_declined])(charge)
    return made


if __name__ == "__main__":
    name, mode, path = sys.argv[1:]
    service(name, path if mode == "store" else None, transactional=mode == "transactional").run()
