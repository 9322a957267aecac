"""A small saga, its schemas, and a way to change one line of it: what the tests of definitions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kantor_orchestrator.definitions import yaml_source
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.reading import Reading
from kantor_schemas import Catalog, Schema, full_name

ORDER = """\
saga: order
version: 1
starts_on: shop.Ordered
deadline: 15m
keys: [order_id]
steps:
  stock:
    succeeds_on: stock.Reserved
    fails_on: stock.Rejected
    compensate_with: stock.Release
    compensated_on: stock.Released
  parcel:
    after: stock
    command: parcel.Book
    succeeds_on: parcel.Booked
    fails_on: parcel.Unavailable
    compensate_with: parcel.Cancel
    compensated_on: parcel.Cancelled
"""


def record(type_: str, topic: str = "", **fields: Any) -> Schema:
    """An Avro record; a field is a type, or ``(type, default)``."""
    namespace, _, name = type_.rpartition(".")
    found: Schema = {
        "type": "record",
        "name": name,
        "namespace": namespace,
        "fields": [
            {"name": field, "type": said[0], "default": said[1]}
            if isinstance(said, tuple)
            else {"name": field, "type": said}
            for field, said in fields.items()
        ],
    }
    return found | {"kantor.topic": topic} if topic else found


SCHEMAS = Catalog(
    [
        record("shop.Ordered", "evt.shop.order.v1", order_id="string", sku="string", price="long", note="string"),
        record("stock.Reserved", "evt.stock.stock.v1", order_id="string", shelf="string", price="long"),
        record("stock.Rejected", "evt.stock.stock.v1", order_id="string", reason="string"),
        record("stock.Release", order_id="string"),
        record("stock.Released", "evt.stock.stock.v1", order_id="string"),
        record("parcel.Book", order_id="string", sku="string", shelf="string"),
        record("parcel.Booked", "evt.parcel.parcel.v1", order_id="string", tracking="string"),
        record("parcel.Unavailable", "evt.parcel.parcel.v1", order_id="string"),
        record("parcel.Cancel", order_id="string"),
        record("parcel.Cancelled", "evt.parcel.parcel.v1", order_id="string"),
    ]
)  # fmt: skip


def order(**changes: str) -> str:
    """The saga with lines replaced: ``line_13="    after: shop"``; an empty text drops the line."""
    lines = ORDER.splitlines()
    for name, text in changes.items():
        lines[int(name.removeprefix("line_")) - 1] = text
    return "\n".join(lines)


def read(text: str) -> Reading:
    reading = Reading()
    yaml_source.parse(text, "order.yaml", reading)
    return reading


def model(text: str) -> SagaModel:
    return read(text).models()[0].model


def _placed(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    topic = schemas.get(full_name(schema), {}).get("kantor.topic")
    return {"kantor.topic": topic, **schema} if topic else schema


def problems(text: str, *more: Schema, schemas: Mapping[str, Schema] = SCHEMAS) -> list[str]:
    """Everything that is wrong with a definition; ``more`` schemas replace those of the same name, on the same topic."""
    reading = read(text)
    catalog = Catalog([*schemas.values(), *(_placed(schema, schemas) for schema in more)])
    return [str(problem) for problem in sorted(reading.problems + check(reading.written, catalog))]
