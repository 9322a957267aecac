"""Is any order half done? Counted in the services' own databases: ``python -m kantor_examples.checkout.accounting``.

An order is done if its money is taken, its stock is set aside and its parcel is booked, all in the amounts that were
ordered. Nothing of it is done if none of that holds (never happened, or was reversed). Anything between is half done.
Count when every service has worked off what waits for it; before that, orders under way look half done.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kantor_examples.checkout.data import folder


@dataclass(frozen=True, slots=True)
class Order:
    """What the shop knows of an order. ``status``: placed, completed or rejected."""

    order_id: str
    transaction_id: str
    quantity: int
    amount_cents: int
    status: str


@dataclass(frozen=True, slots=True)
class Books:
    """What the four databases hold. The mappings are by order id, without what was reversed."""

    orders: tuple[Order, ...] = ()
    paid: Mapping[str, int] = field(default_factory=dict)  # cents
    reserved: Mapping[str, int] = field(default_factory=dict)  # pieces
    shipped: Mapping[str, int] = field(default_factory=dict)  # pieces
    ever_shipped: frozenset[str] = frozenset()  # orders that had a parcel at any time
    missing_cents: int = 0  # from the customers' accounts, since they were opened
    missing_stock: int = 0  # from the shelves, of what was delivered

    @classmethod
    def read(cls, data: Path) -> Books:
        """Raises ``sqlite3.Error`` if a service has never run with this folder."""

        def rows(service: str, query: str) -> list[tuple[str, ...]]:
            with closing(
                sqlite3.connect(f"{(data / service).absolute().as_uri()}.db?mode=ro", uri=True)
            ) as db:
                return db.execute(query).fetchall()

        def by_order(service: str, query: str) -> dict[str, int]:
            return {order: int(amount) for order, amount in rows(service, query)}

        orders = rows("shop", "SELECT order_id, transaction_id, quantity, amount_cents, status FROM orders")
        return cls(
            tuple(
                Order(id_, txn, int(count), int(cents), status) for id_, txn, count, cents, status in orders
            ),
            by_order("payment", "SELECT order_id, amount_cents FROM payments WHERE NOT refunded"),
            by_order("inventory", "SELECT order_id, quantity FROM reservations WHERE NOT released"),
            by_order("shipping", "SELECT order_id, quantity FROM parcels WHERE NOT cancelled"),
            frozenset(by_order("shipping", "SELECT order_id, quantity FROM parcels")),
            int(rows("payment", "SELECT coalesce(sum(opened_with - cents), 0) FROM accounts")[0][0]),
            int(rows("inventory", "SELECT coalesce(sum(delivered - free), 0) FROM stock")[0][0]),
        )

    def with_status(self, status: str) -> list[Order]:
        return [order for order in self.orders if order.status == status]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the account: what the databases say, and what the completed orders come to."""

    what: str
    counted: int
    wanted: int

    @property
    def agrees(self) -> bool:
        return self.counted == self.wanted


def lines(books: Books) -> list[Line]:
    """Totals. Of orders that the shop did not place, nothing is counted but in the counters of both sides."""
    known = {order.order_id for order in books.orders}
    done = books.with_status("completed")
    cents, pieces = sum(order.amount_cents for order in done), sum(order.quantity for order in done)

    def ours(amounts: Mapping[str, int]) -> dict[str, int]:
        return {order: amount for order, amount in amounts.items() if order in known}

    return [
        Line("money taken (cents)", sum(ours(books.paid).values()), cents),
        Line("money missing from accounts (cents)", books.missing_cents, sum(books.paid.values())),
        Line("stock set aside (pieces)", sum(ours(books.reserved).values()), pieces),
        Line("stock missing from shelves (pieces)", books.missing_stock, sum(books.reserved.values())),
        Line("pieces in parcels", sum(ours(books.shipped).values()), pieces),
        Line("parcels", len(ours(books.shipped)), len(done)),
    ]


def half_done(books: Books) -> Iterator[str]:
    """Every order that is neither wholly done nor wholly undone, or not what the shop was told, with the reason."""
    for order in books.orders:
        has = {
            "paid": (books.paid.get(order.order_id, 0), order.amount_cents),
            "reserved": (books.reserved.get(order.order_id, 0), order.quantity),
            "shipped": (books.shipped.get(order.order_id, 0), order.quantity),
        }
        facts = ", ".join(f"{what} {count} of {wanted}" for what, (count, wanted) in has.items())
        everything = all(count == wanted for count, wanted in has.values())
        nothing = not any(count for count, _ in has.values())
        if (order.status == "completed" and not everything) or (order.status == "rejected" and not nothing):
            yield f"{order.order_id} is {order.status}, but: {facts}"
        elif order.status == "placed":
            yield f"{order.order_id} has not ended: {facts}"


def main() -> int:
    """The command line. 0: no order is half done."""
    books = Books.read(folder())
    account, wrong = lines(books), list(half_done(books))
    for line in account:
        print(f"{line.what:<36}{line.counted:>12} {'=' if line.agrees else '!='} {line.wanted}")  # noqa: T201
    for text in wrong:
        print(text)  # noqa: T201 - a command line
    return int(bool(wrong) or not all(line.agrees for line in account))


if __name__ == "__main__":
    sys.exit(main())
