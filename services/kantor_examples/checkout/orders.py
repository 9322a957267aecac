"""Customers who order, some of them in ways that can't go well.

    python -m kantor_examples.checkout.orders 20                    ten of a hundred orders can't be paid, and so on
    python -m kantor_examples.checkout.orders 5 --fault declined    all of them

What an order asks for decides how it ends, so that the outcome of each is known beforehand.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kantor import KantorError
from kantor_examples.checkout.messages import OrderPlaced


class Fault(StrEnum):
    """What goes wrong with an order. The last two are done to a service while the order is under way."""

    NONE = "none"
    DECLINED = "declined"  # the customer has no money
    OUT_OF_STOCK = "out-of-stock"  # there is none of it
    UNSHIPPABLE = "unshippable"  # shipping says no
    SHIPPING_DOWN = "shipping-down"  # shipping does not answer, five times
    PAYMENT_KILLED = "payment-killed"  # payment dies and comes back

    @property
    def ends(self) -> str:
        """How an order with this fault ends if nothing else goes wrong."""
        return "completed" if self in (Fault.NONE, Fault.PAYMENT_KILLED) else "compensated"


#: Of a hundred orders. The others are without fault.
SHARES = {
    Fault.DECLINED: 8,
    Fault.OUT_OF_STOCK: 6,
    Fault.UNSHIPPABLE: 6,
    Fault.SHIPPING_DOWN: 10,
    Fault.PAYMENT_KILLED: 15,
}
PRICES = {"book": 19_00, "monitor": 249_00, "laptop": 1_299_00, "piano": 7_400_00, "graphics-card": 899_00}
CUSTOMERS = ("ada", "grace", "linus")


@dataclass(frozen=True, slots=True)
class Planned:
    """An order that will be placed, and the fault that it will meet."""

    order: OrderPlaced
    fault: Fault


def plan(count: int, *, prefix: str = "", fault: Fault | None = None, seed: int = 1) -> list[Planned]:
    """``count`` orders with ids ``<prefix>1001``, ...: all of them with ``fault``, or mixed as ``SHARES`` says (one of
    each at least, if there are enough). The same arguments give the same orders."""
    chance = random.Random(seed)
    if fault is not None:
        faults = [fault] * count
    else:
        faults = [one for one, share in SHARES.items() for _ in range(max(1, round(count * share / 100)))]
        faults = faults[:count] + [Fault.NONE] * (count - len(faults))
        chance.shuffle(faults)
    return [Planned(_order(f"{prefix}{n}", one, chance), one) for n, one in enumerate(faults, 1001)]


def _order(order_id: str, fault: Fault, chance: random.Random) -> OrderPlaced:
    sku = chance.choice(["book", "monitor", "laptop"])
    customer = chance.choice(CUSTOMERS)
    if fault is Fault.DECLINED:
        customer = "oliver"
    elif fault is Fault.OUT_OF_STOCK:
        sku = "graphics-card"
    elif fault is Fault.UNSHIPPABLE:
        sku = "piano"
    elif fault is Fault.SHIPPING_DOWN:
        sku = "laptop"
    quantity = chance.randint(1, 3)
    return OrderPlaced(
        order_id=order_id,
        customer_id=customer,
        sku=sku,
        quantity=quantity,
        amount_cents=quantity * PRICES[sku],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from kantor_examples.checkout.shop import place, shop

    parser = argparse.ArgumentParser(
        prog="python -m kantor_examples.checkout.orders", description="Place orders."
    )
    parser.add_argument("count", type=int)
    parser.add_argument("--fault", type=Fault, choices=list(Fault), help="default: a mix")
    options = parser.parse_args(arguments)
    try:
        with shop.publisher() as publish:
            for planned in plan(options.count, prefix=f"{uuid.uuid4().hex[:4]}-", fault=options.fault):
                place(planned.order, publish)
                print(planned.order.order_id, planned.fault)  # noqa: T201 - a command line
    except (KantorError, sqlite3.Error) as error:  # no address, no broker, no folder
        sys.exit(f"orders: {error}")


if __name__ == "__main__":
    main()
