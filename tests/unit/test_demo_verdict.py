"""The demo's verdict: what it needs to say that no order is half done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kantor_examples.checkout.accounting import Books, Order
from kantor_examples.checkout.orders import Fault, Planned, plan
from kantor_orchestrator.demo.verdict import outcomes, problems

PLANNED = plan(20)


def order_of(planned: Planned, *, completed: bool) -> Order:
    order = planned.order
    status = "completed" if completed else "rejected"
    return Order(order.order_id, f"t-{order.order_id}", order.quantity, order.amount_cents, status)


def books_of(orders: list[Order]) -> Books:
    """Databases that fit these orders."""
    done = [order for order in orders if order.status == "completed"]
    pieces = {order.order_id: order.quantity for order in done}
    paid = {order.order_id: order.amount_cents for order in done}
    return Books(
        tuple(orders), paid, pieces, pieces, frozenset(pieces), sum(paid.values()), sum(pieces.values())
    )


def statuses_of(books: Books) -> dict[str, str]:
    names = {"completed": "completed", "rejected": "compensated"}
    return {order.transaction_id: names[order.status] for order in books.orders}


AS_EXPECTED = books_of([order_of(one, completed=one.fault.ends == "completed") for one in PLANNED])


def test_nothing_is_wrong_if_all_went_as_expected() -> None:
    """The proof holds."""
    assert list(problems(PLANNED, AS_EXPECTED, statuses_of(AS_EXPECTED))) == []


def test_a_slow_machine_does_not_break_the_proof() -> None:
    """Orders that were compensated for lack of time are as whole as others, as long as one was completed."""
    first = next(one for one in PLANNED if one.fault is Fault.NONE)
    books = books_of([order_of(one, completed=one is first) for one in PLANNED])
    assert list(problems(PLANNED, books, statuses_of(books))) == []


def test_something_must_be_completed() -> None:
    """A platform that compensates everything proves nothing."""
    books = books_of([order_of(one, completed=False) for one in PLANNED])
    assert list(problems(PLANNED, books, statuses_of(books))) == ["no order was completed"]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.ends == "compensated"])
def test_every_fault_must_have_bitten(fault: Fault) -> None:
    """A fault that no order met was not survived."""
    books = books_of(
        [order_of(one, completed=one.fault.ends == "completed" or one.fault is fault) for one in PLANNED]
    )
    found = list(problems(PLANNED, replace(books, ever_shipped=frozenset()), statuses_of(books)))
    assert found == [f"no order with fault {fault} was compensated"]


def test_every_order_must_be_there() -> None:
    """Orders that were never placed are not passed over in silence."""
    books = books_of(list(AS_EXPECTED.orders[:-1]))
    assert "20 orders were meant to be placed, the shop has 19" in problems(
        PLANNED, books, statuses_of(books)
    )


def test_shop_and_platform_must_agree() -> None:
    """An order that is completed for the shop and not for the platform is a fault of one of them."""
    statuses = statuses_of(AS_EXPECTED)
    order = AS_EXPECTED.with_status("completed")[0]
    statuses[order.transaction_id] = "running"
    assert list(problems(PLANNED, AS_EXPECTED, statuses)) == [
        f"{order.order_id} is completed for the shop and running for the platform"
    ]


def test_shipping_must_not_book_what_was_given_up() -> None:
    """A parcel for an order that was refunded long ago is a fault, even if it was called back."""
    lost = next(one.order.order_id for one in PLANNED if one.fault is Fault.SHIPPING_DOWN)
    books = replace(AS_EXPECTED, ever_shipped=AS_EXPECTED.ever_shipped | {lost})
    assert list(problems(PLANNED, books, statuses_of(books))) == [
        f"shipping booked a parcel for {lost}, which had been given up"
    ]


def test_outcomes_are_counted_by_fault() -> None:
    """Each fault with its orders, by how the platform says that they ended."""
    found = {
        one.fault: (one.count, dict(one.statuses))
        for one in outcomes(PLANNED, AS_EXPECTED, statuses_of(AS_EXPECTED))
    }
    assert found[Fault.DECLINED] == (2, {"compensated": 2})
    assert found[Fault.PAYMENT_KILLED] == (3, {"completed": 3})
