"""The four services of the benchmark, each a process of its own: ``python -m bench.services NAME``.

Without a database; their handlers do nothing but answer. Storeless services can't name what a compensation reverses,
so refund and release are plain handlers.

``shop`` reads from stdin what it shall order, one JSON object a line, and answers each on stdout:
``{"prefix": "A", "count": 1000, "sku": "chair", "rate": 0}``. ``rate`` 0: as fast as it can, without waiting for each
order; else that many a second, each waited for as a web shop would. Order ``n`` is transaction ``<prefix>-<n>``. The
answer has the moments (``time.monotonic_ns``) from which the orders count: ``starts``. With a rate they are the
*scheduled* moments, so that a shop that is late makes the measured latency worse and not better.
"""

from __future__ import annotations

import json
import sys
import time

from kantor import Publisher, Service
from kantor_examples.checkout.messages import (
    BookShipment,
    CancelShipment,
    OrderPlaced,
    PaymentCaptured,
    PaymentRefunded,
    RefundPayment,
    ReleaseStock,
    ShipmentBooked,
    ShipmentCancelled,
    ShipmentUnavailable,
    StockReleased,
    StockReserved,
)

#: An article that can be shipped, and one for which shipping always fails.
GOOD, UNSHIPPABLE = "chair", "anvil"

inventory, payment, shipping = Service("inventory"), Service("payment"), Service("shipping")
shop = Service("shop", publishes=[OrderPlaced])


@inventory.on(OrderPlaced)
def reserve(event: OrderPlaced) -> StockReserved:
    return StockReserved(
        order_id=event.order_id,
        customer_id=event.customer_id,
        sku=event.sku,
        quantity=event.quantity,
        amount_cents=event.amount_cents,
    )


@inventory.handles(ReleaseStock)
def release(command: ReleaseStock) -> StockReleased:
    return StockReleased(order_id=command.order_id)


@payment.on(StockReserved)
def charge(event: StockReserved) -> PaymentCaptured:
    return PaymentCaptured(order_id=event.order_id, amount_cents=event.amount_cents)


@payment.handles(RefundPayment)
def refund(command: RefundPayment) -> PaymentRefunded:
    return PaymentRefunded(order_id=command.order_id, amount_cents=command.amount_cents)


@shipping.handles(BookShipment)
def book(command: BookShipment) -> ShipmentBooked | ShipmentUnavailable:
    if command.sku == UNSHIPPABLE:
        return ShipmentUnavailable(order_id=command.order_id, reason="too heavy")
    return ShipmentBooked(order_id=command.order_id, tracking=f"track-{command.order_id}")


@shipping.handles(CancelShipment)
def cancel(command: CancelShipment) -> ShipmentCancelled:
    return ShipmentCancelled(order_id=command.order_id)


def order(prefix: str, number: int, sku: str) -> OrderPlaced:
    return OrderPlaced(
        order_id=f"{prefix}-{number}",
        customer_id=f"customer-{number % 1000}",
        sku=sku,
        quantity=1 + number % 5,
        amount_cents=1999 + number,
    )


def _place_all(publish: Publisher, prefix: str, count: int, sku: str) -> list[int]:
    first = time.monotonic_ns()
    for number in range(count):
        publish(order(prefix, number, sku), transaction_id=f"{prefix}-{number}")
    publish.flush()
    return [first] * count


def _place_at_rate(prefix: str, count: int, sku: str, rate: float) -> list[int]:
    first = time.monotonic_ns()
    starts = [first + int(number * 1e9 / rate) for number in range(count)]
    for number, start in enumerate(starts):
        while (ahead := start - time.monotonic_ns()) > 0:
            time.sleep(ahead / 1e9)
        shop.publish(order(prefix, number, sku), transaction_id=f"{prefix}-{number}")
    return starts


def _serve_orders() -> None:
    with shop.publisher() as publish:
        for line in sys.stdin:
            asked = json.loads(line)
            prefix, count, sku, rate = (asked[name] for name in ("prefix", "count", "sku", "rate"))
            if rate:
                starts = _place_at_rate(prefix, count, sku, rate)
            else:
                starts = _place_all(publish, prefix, count, sku)
            print(json.dumps({"starts": starts}), flush=True)


SERVICES = {service.name: service for service in (inventory, payment, shipping)}

if __name__ == "__main__":
    name = sys.argv[1]
    if name == shop.name:
        _serve_orders()
    else:
        SERVICES[name].run()
