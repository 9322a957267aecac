"""The outcome is the same for every order of arrival that respects causality (saga-2)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kantor_orchestrator.core.saga import Saga
from unit.core_kit import Story, checkout, diamond, given


class World:
    """Services that have acted already, or answer once: ``answers`` by command type."""

    def __init__(self, saga: Saga, events: list[str], answers: dict[str, str]) -> None:
        self.saga, self.events, self.answers = saga, events, answers
        self.outcomes: dict[tuple[Any, ...], list[str]] = {}
        self.orders = 0

    def explore(self) -> set[tuple[Any, ...]]:
        """Every outcome that some order of arrival leads to. An answer can't arrive before its command went out."""
        self._go(given(self.saga), [(name, "") for name in self.events], [])
        return set(self.outcomes)

    def _go(self, story: Story, waiting: list[tuple[str, str]], way: list[str]) -> None:
        if not waiting:
            self.orders += 1
            self.outcomes.setdefault(outcome(story), way)
            return
        for index, (name, cause) in enumerate(waiting):
            next_ = deepcopy(story, {id(story.saga): story.saga})
            known = len(next_.commands)
            next_.when(name, causation_id=cause, id=f"{name}/{cause}")
            answers = [
                (self.answers[short], command.id)
                for command in next_.commands[known:]
                if (short := command.type.rpartition(".")[2]) in self.answers
            ]
            self._go(next_, waiting[:index] + waiting[index + 1 :] + answers, [*way, name])


def outcome(story: Story) -> tuple[Any, ...]:
    """What must not depend on the order: the status, and where each step stands."""
    return (str(story.status), *sorted(story.steps.items()))


CONFIRM = {
    "ReleaseStock": "StockReleased",
    "RefundPayment": "PaymentRefunded",
    "CancelShipment": "ShipmentCancelled",
}


def test_every_order_of_the_happy_path() -> None:
    """Whatever the order of arrival, a checkout that works is completed."""
    world = World(
        checkout(),
        ["OrderPlaced", "StockReserved", "PaymentCaptured"],
        {"BookShipment": "ShipmentBooked"},
    )
    assert world.explore() == {
        ("completed", ("payment", "succeeded"), ("shipping", "succeeded"), ("stock", "succeeded"))
    }
    assert world.orders == 6


def test_every_order_of_the_decline_path() -> None:
    """Whatever the order of arrival, a declined payment ends with the stock released, also when its release began
    before its reservation was heard of."""
    world = World(checkout(), ["OrderPlaced", "StockReserved", "PaymentDeclined"], CONFIRM)
    assert world.explore() == {("compensated", ("payment", "failed"), ("stock", "compensated"))}
    assert world.orders > 6


def test_every_order_of_the_first_rejection() -> None:
    """Whatever the order of arrival, an order without stock ends with nothing to reverse."""
    world = World(checkout(), ["OrderPlaced", "StockRejected"], CONFIRM)
    assert world.explore() == {("compensated", ("stock", "failed"))}


def test_every_order_of_the_last_failure() -> None:
    """Whatever the order of arrival, a parcel that can't be booked ends with money and stock given back."""
    world = World(
        checkout(),
        ["OrderPlaced", "StockReserved", "PaymentCaptured"],
        {**CONFIRM, "BookShipment": "ShipmentUnavailable"},
    )
    assert world.explore() == {
        ("compensated", ("payment", "compensated"), ("shipping", "failed"), ("stock", "compensated"))
    }


def test_every_order_of_a_decline_with_duplicates() -> None:
    """Duplicates change nothing in any order."""
    events = ["OrderPlaced", "StockReserved", "PaymentDeclined", "StockReserved", "OrderPlaced"]
    world = World(checkout(), events, CONFIRM)
    assert world.explore() == {("compensated", ("payment", "failed"), ("stock", "compensated"))}


REVERSED = {f"Reverse{name}": f"{name}Reversed" for name in "ABCD"}


def test_every_order_of_a_diamond_that_works() -> None:
    """Parallel steps may be heard of in any order."""
    world = World(diamond(), ["Begun", "ADone", "BDone", "CDone", "DDone"], REVERSED)
    assert {found[0] for found in world.explore()} == {"completed"}
    assert world.orders == 120


def test_every_order_of_a_diamond_that_fails() -> None:
    """When one of two parallel branches fails, everything else that happened is compensated, in any order."""
    world = World(diamond(), ["Begun", "ADone", "BDone", "CFailed"], REVERSED)
    assert world.explore() == {("compensated", ("a", "compensated"), ("b", "compensated"), ("c", "failed"))}
