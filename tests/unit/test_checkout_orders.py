"""The checkout example's customers: which orders they place, and what goes wrong with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kantor import Message
from kantor_examples.checkout import shop
from kantor_examples.checkout.orders import Fault, main, plan


def test_most_orders_of_a_mix_go_well() -> None:
    """Seventy of a hundred orders can be completed."""
    ends = Counter(planned.fault.ends for planned in plan(200))
    assert ends == {"completed": 140, "compensated": 60}


@pytest.mark.parametrize("count", [20, 40, 200])
def test_every_fault_occurs(count: int) -> None:
    """A small mix has each fault, too."""
    assert {planned.fault for planned in plan(count)} == set(Fault)


def test_the_same_arguments_give_the_same_orders() -> None:
    """A run can be repeated exactly."""
    assert plan(50) == plan(50)


def test_ids_are_those_of_the_run() -> None:
    """Orders of two runs are told apart by their prefix, and those of one by their number."""
    assert [planned.order.order_id for planned in plan(2, prefix="x-")] == ["x-1001", "x-1002"]


@pytest.mark.parametrize(
    ("fault", "customer", "sku"),
    [
        (Fault.DECLINED, {"oliver"}, {"book", "monitor", "laptop"}),
        (Fault.OUT_OF_STOCK, {"ada", "grace", "linus"}, {"graphics-card"}),
        (Fault.UNSHIPPABLE, {"ada", "grace", "linus"}, {"piano"}),
        (Fault.SHIPPING_DOWN, {"ada", "grace", "linus"}, {"laptop"}),
    ],
)
def test_a_fault_is_chosen_by_what_is_ordered(fault: Fault, customer: set[str], sku: set[str]) -> None:
    """What an order asks for decides what goes wrong with it, and nothing else."""
    orders = [planned.order for planned in plan(60, fault=fault)]
    assert {order.customer_id for order in orders} == customer
    assert {order.sku for order in orders} == sku


def test_a_mix_is_cut_to_the_number_asked_for() -> None:
    """Fewer orders than there are faults is no error."""
    assert len(plan(3)) == 3


def test_an_order_may_come_before_the_shop_has_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is written down, and has the same transaction when it is placed again."""
    monkeypatch.setenv("CHECKOUT_DATA", str(tmp_path))
    published: list[str | None] = []

    class Recorder:
        def __call__(self, message: Message, *, transaction_id: str | None = None) -> str:
            published.append(transaction_id)
            return transaction_id or ""

    order = plan(1)[0].order
    first, again = (shop.place(order, Recorder()) for _ in range(2))  # type: ignore[arg-type]
    assert first == again
    assert published == [first, first]


def test_without_a_broker_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what to set; no traceback."""
    monkeypatch.setenv("CHECKOUT_DATA", str(tmp_path))
    monkeypatch.delenv("KANTOR_BOOTSTRAP_SERVERS", raising=False)
    with pytest.raises(SystemExit, match="orders: no Kafka address: set KANTOR_BOOTSTRAP_SERVERS"):
        main(["2"])
