"""Four services that keep count of their effects, for tests that break things: ``python -m integration.chaos_services NAME``.

An order takes stock, money, a parcel and points. Its ``plan`` says what becomes of it: ``good``, or which service declines
(``no_stock``, ``no_money``, ``no_parcel``, ``no_points``). Each effect is a row with 1, each reversal a row with -1, in the
SQLite file of the kit's inbox; no constraint hides a second one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from kantor import Context, Service, SqliteStore

ENV_FOLDER = "CHAOS_FOLDER"

#: With timeouts so short that an orchestrator that mistook lag for silence would compensate a lot.
DEFINITION = """\
saga: chaos
version: 1
starts_on: chaos.shop.OrderPlaced
deadline: 15m
keys: [order_id]
steps:
  stock:
    succeeds_on: chaos.stock.StockTaken
    fails_on: chaos.stock.StockRefused
    timeout: 5s
    compensate_with: chaos.stock.ReturnStock
    compensated_on: chaos.stock.StockReturned
  money:
    after: stock
    succeeds_on: chaos.money.MoneyTaken
    fails_on: chaos.money.MoneyRefused
    timeout: 5s
    compensate_with: chaos.money.ReturnMoney
    compensated_on: chaos.money.MoneyReturned
  parcel:
    after: money
    command: chaos.parcel.TakeParcel
    succeeds_on: chaos.parcel.ParcelTaken
    fails_on: chaos.parcel.ParcelRefused
    timeout: 5s
    retry: {attempts: 4, backoff: 200ms}
    compensate_with: chaos.parcel.ReturnParcel
    compensated_on: chaos.parcel.ParcelReturned
  points:
    after: money
    command: chaos.points.TakePoints
    succeeds_on: chaos.points.PointsTaken
    fails_on: chaos.points.PointsRefused
    timeout: 5s
    retry: {attempts: 4, backoff: 200ms}
    compensate_with: chaos.points.ReturnPoints
    compensated_on: chaos.points.PointsReturned
"""

_TABLE = 'CREATE TABLE IF NOT EXISTS effects ("order" TEXT NOT NULL, change INTEGER NOT NULL);'


@dataclass(frozen=True, kw_only=True)
class Order:
    """What all messages are about."""

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    SCHEMA: ClassVar[dict[str, Any]]

    order_id: str
    plan: str

    def __init_subclass__(cls, topic: str, more: Sequence[dict[str, Any]] = ()) -> None:
        space = f"chaos.{topic.split('.')[2]}"
        cls.TYPE, cls.TOPIC = f"{space}.{cls.__name__}", topic
        cls.SCHEMA = {
            "type": "record",
            "name": cls.__name__,
            "namespace": space,
            "kantor.topic": topic,
            "fields": [
                {"name": "order_id", "type": "string"},
                {"name": "plan", "type": "string"},
                *more,
            ],
        }

    def to_avro(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> Self:
        return cls(**value)


@dataclass(frozen=True, kw_only=True)
class OrderPlaced(Order, topic="evt.chaos.shop.v1", more=[{"name": "note", "type": "string", "default": ""}]):
    """Nobody needs the note."""

    note: str = ""


class StockTaken(Order, topic="evt.chaos.stock.v1"): ...


class StockRefused(Order, topic="evt.chaos.stock.v1"): ...


class ReturnStock(Order, topic="cmd.chaos.stock.v1"): ...


class StockReturned(Order, topic="evt.chaos.stock.v1"): ...


class MoneyTaken(Order, topic="evt.chaos.money.v1"): ...


class MoneyRefused(Order, topic="evt.chaos.money.v1"): ...


class ReturnMoney(Order, topic="cmd.chaos.money.v1"): ...


class MoneyReturned(Order, topic="evt.chaos.money.v1"): ...


class TakeParcel(Order, topic="cmd.chaos.parcel.v1"): ...


class ParcelTaken(Order, topic="evt.chaos.parcel.v1"): ...


class ParcelRefused(Order, topic="evt.chaos.parcel.v1"): ...


class ReturnParcel(Order, topic="cmd.chaos.parcel.v1"): ...


class ParcelReturned(Order, topic="evt.chaos.parcel.v1"): ...


class TakePoints(Order, topic="cmd.chaos.points.v1"): ...


class PointsTaken(Order, topic="evt.chaos.points.v1"): ...


class PointsRefused(Order, topic="evt.chaos.points.v1"): ...


class ReturnPoints(Order, topic="cmd.chaos.points.v1"): ...


class PointsReturned(Order, topic="evt.chaos.points.v1"): ...


MESSAGES: tuple[type[Order], ...] = tuple(Order.__subclasses__())


def _service(name: str) -> Service:
    path = database(Path(os.environ.get(ENV_FOLDER, ".")), name)
    # Not durable: these tests end processes, not the machine.
    return Service(f"chaos.{name}", store=SqliteStore(str(path), schema=_TABLE, durable=False))


def database(folder: Path, name: str) -> Path:
    """The file with a service's effects."""
    return folder / f"{name}.db"


def _count(context: Context, change: int) -> None:
    context.db.execute("INSERT INTO effects VALUES (?, ?)", (context.transaction_id, change))


stock, money, parcel, points = (_service(name) for name in ("stock", "money", "parcel", "points"))
SERVICES = {"stock": stock, "money": money, "parcel": parcel, "points": points}


@stock.on(OrderPlaced, declines=[StockRefused])
def take_stock(event: OrderPlaced, context: Context) -> StockTaken | StockRefused:
    if event.plan == "no_stock":
        return StockRefused(order_id=event.order_id, plan=event.plan)
    _count(context, 1)
    return StockTaken(order_id=event.order_id, plan=event.plan)


@stock.handles(ReturnStock, reverses=take_stock)
def return_stock(command: ReturnStock, context: Context) -> StockReturned:
    _count(context, -1)
    return StockReturned(order_id=command.order_id, plan=command.plan)


@money.on(StockTaken, declines=[MoneyRefused])
def take_money(event: StockTaken, context: Context) -> MoneyTaken | MoneyRefused:
    if event.plan == "no_money":
        return MoneyRefused(order_id=event.order_id, plan=event.plan)
    _count(context, 1)
    return MoneyTaken(order_id=event.order_id, plan=event.plan)


@money.handles(ReturnMoney, reverses=take_money)
def return_money(command: ReturnMoney, context: Context) -> MoneyReturned:
    _count(context, -1)
    return MoneyReturned(order_id=command.order_id, plan=command.plan)


@parcel.handles(TakeParcel, declines=[ParcelRefused])
def take_parcel(command: TakeParcel, context: Context) -> ParcelTaken | ParcelRefused:
    if command.plan == "no_parcel":
        return ParcelRefused(order_id=command.order_id, plan=command.plan)
    _count(context, 1)
    return ParcelTaken(order_id=command.order_id, plan=command.plan)


@parcel.handles(ReturnParcel, reverses=take_parcel)
def return_parcel(command: ReturnParcel, context: Context) -> ParcelReturned:
    _count(context, -1)
    return ParcelReturned(order_id=command.order_id, plan=command.plan)


@points.handles(TakePoints, declines=[PointsRefused])
def take_points(command: TakePoints, context: Context) -> PointsTaken | PointsRefused:
    if command.plan == "no_points":
        return PointsRefused(order_id=command.order_id, plan=command.plan)
    _count(context, 1)
    return PointsTaken(order_id=command.order_id, plan=command.plan)


@points.handles(ReturnPoints, reverses=take_points)
def return_points(command: ReturnPoints, context: Context) -> PointsReturned:
    _count(context, -1)
    return PointsReturned(order_id=command.order_id, plan=command.plan)


if __name__ == "__main__":
    SERVICES[sys.argv[1]].run()
