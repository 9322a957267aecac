"""The checkout example's services: what they answer, and what their databases hold then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor_examples.checkout.accounting import Books
from kantor_examples.checkout.messages import (
    PaymentDeclined,
    ShipmentBooked,
    ShipmentUnavailable,
    StockRejected,
    StockReserved,
)
from unit.checkout_kit import Checkout, an_order, checkout


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Checkout]:
    with checkout(tmp_path) as opened:
        yield opened


def test_inventory_sets_stock_aside(services: Checkout) -> None:
    """Reserved stock is missing from the shelf and belongs to its order; payment is told what to take."""
    answer = services.reserve(an_order("o1"))
    books = Books.read(services.folder)
    assert answer == StockReserved(
        order_id="o1", customer_id="ada", sku="laptop", quantity=2, amount_cents=500
    )
    assert (books.reserved, books.missing_stock) == ({"o1": 2}, 2)


def test_inventory_rejects_what_it_has_not(services: Checkout) -> None:
    """Without stock nothing is reserved."""
    answer = services.reserve(an_order(sku="graphics-card"))
    books = Books.read(services.folder)
    assert isinstance(answer, StockRejected)
    assert (books.reserved, books.missing_stock) == ({}, 0)


def test_released_stock_is_back_on_the_shelf(services: Checkout) -> None:
    """A release reverses exactly what was reserved."""
    services.reserve(an_order("o1"))
    services.release("o1")
    books = Books.read(services.folder)
    assert (books.reserved, books.missing_stock) == ({}, 0)


def test_payment_takes_the_money(services: Checkout) -> None:
    """What was captured is missing from the customer's account."""
    services.charge(an_order("o1"))
    books = Books.read(services.folder)
    assert (books.paid, books.missing_cents) == ({"o1": 500}, 500)


@pytest.mark.parametrize("customer", ["oliver", "nobody"])
def test_payment_declines_who_can_not_pay(services: Checkout, customer: str) -> None:
    """An empty account and an unknown one give nothing."""
    answer = services.charge(an_order(customer_id=customer))
    books = Books.read(services.folder)
    assert isinstance(answer, PaymentDeclined)
    assert (books.paid, books.missing_cents) == ({}, 0)


def test_a_refund_gives_back_what_was_taken(services: Checkout) -> None:
    """The payment's own amount counts, whatever the command says."""
    services.charge(an_order("o1"))
    answer = services.refund("o1")
    books = Books.read(services.folder)
    assert answer.amount_cents == 500
    assert (books.paid, books.missing_cents) == ({}, 0)


def test_shipping_books_a_parcel(services: Checkout) -> None:
    """A parcel is booked for its order."""
    answer = services.book(an_order("o1"))
    assert answer == ShipmentBooked(order_id="o1", tracking="parcel-o1")
    assert Books.read(services.folder).shipped == {"o1": 2}


def test_shipping_refuses_what_is_too_large(services: Checkout) -> None:
    """No parcel is booked for a piano."""
    answer = services.book(an_order(sku="piano"))
    assert isinstance(answer, ShipmentUnavailable)
    assert Books.read(services.folder).ever_shipped == frozenset()


def test_a_cancelled_parcel_is_still_known(services: Checkout) -> None:
    """It does not count any more, but that there was one can be found out."""
    services.book(an_order("o1"))
    services.cancel("o1")
    books = Books.read(services.folder)
    assert books.shipped == {}
    assert books.ever_shipped == {"o1"}


@pytest.mark.parametrize(
    ("status", "expected"), [("completed", "completed"), ("compensated", "rejected"), ("closed", "rejected")]
)
def test_the_shop_learns_how_an_order_ended(services: Checkout, status: str, expected: str) -> None:
    """The announcement of the end is enough: the shop knows the transaction."""
    services.placed(an_order("o1"), "t1")
    services.ended("t1", status)
    assert [order.status for order in Books.read(services.folder).orders] == [expected]


def test_the_shop_passes_over_other_transactions(services: Checkout) -> None:
    """Ends of transactions that it did not start change nothing."""
    services.placed(an_order("o1"), "t1")
    services.ended("t2", "completed")
    assert [order.status for order in Books.read(services.folder).orders] == ["placed"]
