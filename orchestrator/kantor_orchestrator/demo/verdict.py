"""The outcome of the orders, and whether that proves that none is half done. Pure: no Kafka, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kantor_examples.checkout.accounting import Books, half_done, lines
from kantor_examples.checkout.orders import Fault, Planned


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """How the orders with one fault ended. ``statuses`` counts transactions, as the platform's view has them."""

    fault: Fault
    count: int
    statuses: Mapping[str, int]


def outcomes(planned: Sequence[Planned], books: Books, statuses: Mapping[str, str]) -> list[FaultOutcome]:
    """By fault, in the order of the faults. ``statuses``: the view's, by transaction id."""
    by_order = {o.order_id: statuses.get(o.transaction_id, "unknown") for o in books.orders}
    found: dict[Fault, Counter[str]] = {fault: Counter() for fault in Fault}
    for one in planned:
        found[one.fault][by_order.get(one.order.order_id, "never placed")] += 1
    return [FaultOutcome(fault, sum(c.values()), c) for fault, c in found.items() if c]


def problems(planned: Sequence[Planned], books: Books, statuses: Mapping[str, str]) -> Iterator[str]:
    """Everything that is in the way of the proof; nothing if it holds. Time has no part in it: a slow machine may turn a
    completed order into a compensated one, and nothing else."""
    yield from half_done(books)
    for line in lines(books):
        if not line.agrees:
            yield f"{line.what}: {line.counted} counted, {line.wanted} expected"
    if len(books.orders) != len(planned):
        yield f"{len(planned)} orders were meant to be placed, the shop has {len(books.orders)}"
    for order in books.orders:
        status = statuses.get(order.transaction_id, "unknown")
        wanted = {"completed": "completed", "rejected": "compensated"}.get(order.status)
        if status != wanted:
            yield f"{order.order_id} is {order.status} for the shop and {status} for the platform"
    yield from _not_shown(planned, books)
    for one in planned:
        if one.fault is Fault.SHIPPING_DOWN and one.order.order_id in books.ever_shipped:
            yield f"shipping booked a parcel for {one.order.order_id}, which had been given up"


def _not_shown(planned: Sequence[Planned], books: Books) -> Iterator[str]:
    """A demonstration in which nothing succeeds, or some fault never bites, shows nothing."""
    rejected = {order.order_id for order in books.with_status("rejected")}
    if not books.with_status("completed"):
        yield "no order was completed"
    for fault in Fault:
        having = [one.order.order_id for one in planned if one.fault is fault]
        if fault.ends == "compensated" and not rejected.intersection(having):
            yield f"no order with fault {fault} was compensated"
