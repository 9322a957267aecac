"""One action for each item, taken on events: a compensation reverses, or fences, that of its own item (kit-15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kantor import Context, Service, SqliteStore
from kantor.envelope import choreographed_action
from kantor.errors import ConfigError
from kantor_examples.checkout.messages import (
    BookShipment,
    CancelShipment,
    PaymentCaptured,
    ReleaseStock,
    ShipmentBooked,
    ShipmentCancelled,
    StockReserved,
)
from unit.kit_harness import Desk
from unit.kit_services import RESERVED, effects

SCHEMA = "CREATE TABLE IF NOT EXISTS effects (what TEXT NOT NULL)"
RED, BLUE = replace(RESERVED, sku="red"), replace(RESERVED, sku="blue")
#: Any command with the item's field: its type does not matter.
BACK = BookShipment(order_id="o1", sku="red", quantity=1)


def picking(path: Path) -> Service:
    """It picks each line when its stock is reserved, and puts it back."""
    service = Service("picking", store=SqliteStore(str(path / "service.db"), schema=SCHEMA, durable=False))

    @service.on(StockReserved, item="sku")
    def pick(event: StockReserved, context: Context) -> PaymentCaptured:
        context.db.execute("INSERT INTO effects VALUES (?)", (f"picked {event.sku}",))
        return PaymentCaptured(order_id=event.order_id, amount_cents=event.amount_cents)

    @service.handles(BookShipment, reverses=pick)
    def put_back(command: BookShipment, context: Context) -> ShipmentCancelled:
        context.db.execute("INSERT INTO effects VALUES (?)", (f"put back {command.sku}",))
        return ShipmentCancelled(order_id=command.order_id)

    return service


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(picking(tmp_path))
    yield desk
    desk.close()


def test_each_item_is_an_action_of_its_own(desk: Desk, tmp_path: Path) -> None:
    """The compensation of one item reverses that one, once."""
    desk.send(RED, id_="m1")
    desk.send(BLUE, id_="m2")
    desk.send(BACK, id_="c1", key="r1")
    desk.send(BACK, id_="c2", key="r2")
    assert effects(tmp_path) == ["picked red", "picked blue", "put back red"]


def test_a_compensation_overtakes_the_action_of_its_item(desk: Desk, tmp_path: Path) -> None:
    """It is confirmed without effect; that item's action is refused when it comes, another item's is carried out."""
    desk.send(BACK, id_="c1", key="r1")
    (refused,) = desk.send(RED, id_="m1")
    assert refused.message.code == "fenced"
    desk.send(BLUE, id_="m2")
    assert effects(tmp_path) == ["picked blue"]


def test_the_field_says_which_action_and_not_the_header(desk: Desk, tmp_path: Path) -> None:
    """Whatever the orchestrator calls the action: it knows no item."""
    desk.send(RED, id_="m1")
    desk.send(BACK, id_="c1", key="r1", reverses=choreographed_action("t1", "payment.PaymentCaptured"))
    assert effects(tmp_path) == ["picked red", "put back red"]


def test_an_item_that_no_message_has() -> None:
    """The field is looked for when the service is declared, in both messages."""
    service = Service("picking", store=SqliteStore("unused.db"))
    with pytest.raises(ConfigError, match=r"StockReserved has no field colour \(item=\); it has order_id"):
        service.on(StockReserved, item="colour")(lambda_of(StockReserved, PaymentCaptured))
    pick = lambda_of(StockReserved, PaymentCaptured)
    service.on(StockReserved, item="sku")(pick)
    with pytest.raises(ConfigError, match="CancelShipment has no field sku"):
        service.handles(CancelShipment, reverses=pick)(lambda_of(CancelShipment, ShipmentCancelled))


def test_an_item_called_otherwise_in_the_compensation() -> None:
    """Then the compensation says its name; it needs an action that has items."""
    service = Service("picking", store=SqliteStore("unused.db"))
    pick, book = lambda_of(StockReserved, PaymentCaptured), lambda_of(BookShipment, ShipmentBooked)
    service.on(StockReserved, item="sku")(pick)
    service.handles(CancelShipment, reverses=pick, item="order_id")(
        lambda_of(CancelShipment, ShipmentCancelled)
    )
    assert [handler.item for handler in service.handlers] == ["sku", "order_id"]
    with pytest.raises(ConfigError, match="say which handler it reverses="):
        service.handles(BookShipment, item="sku")(book)
    service.handles(BookShipment)(book)
    with pytest.raises(ConfigError, match="which it reverses, needs one too"):
        service.handles(ReleaseStock, reverses=book, item="order_id")(
            lambda_of(ReleaseStock, ShipmentCancelled)
        )


def lambda_of(message: type, answer: type) -> Callable[..., Any]:
    """A handler of these types that is never called."""

    def handler(found: Any) -> Any:
        raise AssertionError(found)

    handler.__annotations__ = {"found": message, "return": answer}
    return handler
