"""Is any order half done? Each way in which one can be is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kantor_examples.checkout.accounting import Books, Order, half_done, lines
from unit.checkout_kit import an_order, checkout

ORDER = Order("o1", "t1", 2, 500, "completed")
DONE = Books((ORDER,), {"o1": 500}, {"o1": 2}, {"o1": 2}, frozenset({"o1"}), 500, 2)
UNDONE = Books((replace(ORDER, status="rejected"),))


@pytest.mark.parametrize("books", [DONE, UNDONE, Books()], ids=["done", "undone", "empty"])
def test_done_and_undone_orders_are_whole(books: Books) -> None:
    """An order with everything and an order with nothing are not half done, and all totals agree."""
    assert list(half_done(books)) == []
    assert [line.what for line in lines(books) if not line.agrees] == []


@pytest.mark.parametrize(
    "books",
    [
        replace(DONE, paid={}, missing_cents=0),
        replace(DONE, reserved={}, missing_stock=0),
        replace(DONE, shipped={}),
        replace(DONE, paid={"o1": 499}, missing_cents=499),
        replace(UNDONE, paid={"o1": 500}, missing_cents=500),
        replace(UNDONE, reserved={"o1": 2}, missing_stock=2),
        replace(UNDONE, shipped={"o1": 2}),
    ],
    ids=["unpaid", "unreserved", "unshipped", "underpaid", "not refunded", "not released", "not cancelled"],
)
def test_a_half_done_order_is_found(books: Books) -> None:
    """Whatever is missing from a completed order, or left of a rejected one, is told; the totals show it, too."""
    (found,) = half_done(books)
    assert found.startswith("o1 is ")
    assert [line for line in lines(books) if not line.agrees] != []


def test_an_order_that_has_not_ended_is_told() -> None:
    """The count comes too early, or a transaction is stuck."""
    books = replace(DONE, orders=(replace(ORDER, status="placed"),))
    assert list(half_done(books)) == ["o1 has not ended: paid 500 of 500, reserved 2 of 2, shipped 2 of 2"]


@pytest.mark.parametrize(
    ("books", "what"),
    [
        (replace(DONE, missing_cents=1000), "money missing from accounts (cents)"),
        (replace(DONE, missing_stock=4), "stock missing from shelves (pieces)"),
    ],
    ids=["charged twice", "taken twice"],
)
def test_counters_must_fit_the_rows(books: Books, what: str) -> None:
    """An effect that happened twice but was written down once shows in the balance."""
    assert [line.what for line in lines(books) if not line.agrees] == [what]


def test_orders_of_others_do_not_count() -> None:
    """On a cluster that others use, too, effects for orders that the shop did not place are no fault of ours."""
    books = replace(DONE, paid={"o1": 500, "x": 70}, missing_cents=570)
    assert [line.what for line in lines(books) if not line.agrees] == []


def test_the_books_are_read_from_the_services_databases(tmp_path: Path) -> None:
    """One order that went all the way, and one that was reversed in the middle, add up."""
    done, undone = an_order("o1"), an_order("o2")
    with checkout(tmp_path) as services:
        services.placed(done, "t1")
        services.placed(undone, "t2")
        services.reserve(done)
        services.reserve(undone)
        services.charge(done)
        services.charge(undone)
        services.book(done)
        services.refund("o2")
        services.release("o2")
        services.ended("t1", "completed")
        services.ended("t2", "compensated")
    books = Books.read(tmp_path)
    assert list(half_done(books)) == []
    assert [(line.counted, line.wanted) for line in lines(books)] == [
        (500, 500), (500, 500), (2, 2), (2, 2), (2, 2), (1, 1),
    ]  # fmt: skip
