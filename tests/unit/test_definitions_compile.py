"""What the engine gets: order, sources of fields, captured fields."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import kantor_schemas
from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.saga import Command, FieldRule, Retry, Saga
from kantor_orchestrator.definitions import graph
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.dsl import Saga as WrittenSaga
from kantor_schemas import Catalog
from unit.definitions_kit import ORDER, SCHEMAS, model, order, record

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}

CHECKOUT = Path(__file__).parents[2] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"


def checkout() -> Saga:
    return compile_saga(WrittenSaga.load(CHECKOUT).model, kantor_schemas.example("checkout"), 1_000)


def compiled(text: str) -> Saga:
    return compile_saga(model(text), SCHEMAS, 1_000)


def command(saga: Saga, step: str) -> Command:
    found = saga.steps[step].command
    assert found is not None
    return found


def reverse(saga: Saga, step: str) -> Command:
    found = saga.steps[step].compensation
    assert found is not None
    return found.command


def test_checkout_saga() -> None:
    """Name, version, start, deadline and keys are the definition's; durations are milliseconds."""
    saga = checkout()
    assert (saga.name, saga.version, saga.starts_on) == ("checkout", 1, "shop.OrderPlaced")
    assert (saga.deadline, saga.deployed_at, saga.keys) == (900_000, 1_000, ("order_id", "customer_id"))


def test_checkout_order() -> None:
    """Steps are in topological order."""
    assert list(checkout().steps) == ["stock", "payment", "shipping"]


def test_checkout_kinds() -> None:
    """A step with a command is orchestrated, one without is choreographed."""
    assert [step.kind for step in checkout().steps.values()] == ["event", "event", "command"]


def test_checkout_retry() -> None:
    """Retries are compiled with their times in milliseconds."""
    assert checkout().steps["shipping"].retry == Retry(5, 200, 2.0, 10_000, "equal")


def test_checkout_action() -> None:
    """An action's field is filled by name, from the nearest step before it that has one, then the start."""
    assert command(checkout(), "shipping") == Command(
        "shipping.BookShipment",
        "cmd.shipping.v1",
        (
            FieldRule("order_id", (("payment", "order_id"), ("stock", "order_id"), ("start", "order_id"))),
            FieldRule("sku", (("stock", "sku"), ("start", "sku"))),
            FieldRule("quantity", (("stock", "quantity"), ("start", "quantity"))),
        ),
    )


def test_checkout_compensations() -> None:
    """A compensation's field is filled from its own step first; what `fields` says has no other source."""
    saga = checkout()
    assert reverse(saga, "stock").fields == (
        FieldRule("order_id", (("stock", "order_id"), ("start", "order_id"))),
    )
    assert reverse(saga, "payment").fields == (
        FieldRule("order_id", (("payment", "order_id"), ("stock", "order_id"), ("start", "order_id"))),
        FieldRule("amount_cents", (("start", "amount_cents"),)),
    )
    assert reverse(saga, "shipping").topic == "cmd.shipping.v1"


def test_checkout_captures() -> None:
    """Of each event only what a command, a key or a failure's reason needs is captured."""
    assert checkout().captures == {
        "shop.OrderPlaced": {"order_id", "customer_id", "sku", "quantity", "amount_cents"},
        "inventory.StockReserved": {"order_id", "sku", "quantity"},
        "inventory.StockRejected": {"reason"},
        "payment.PaymentCaptured": {"order_id"},
        "payment.PaymentDeclined": {"reason"},
        "shipping.ShipmentBooked": {"order_id"},
        "shipping.ShipmentUnavailable": {"reason"},
        "kantor.StepFailed": {"code", "message", "retryable", "handling", "unsure"},
    }


def test_failure_without_reason() -> None:
    """A failure whose schema has no reason need not be decoded."""
    assert "parcel.Unavailable" not in compiled(ORDER).captures


def test_key_of_a_success_is_captured() -> None:
    """A key that the start event lacks is captured from the success that has it."""
    assert compiled(order(line_5="keys: [tracking]")).captures["parcel.Booked"] == {"order_id", "tracking"}


def test_literals() -> None:
    """A literal needs no source."""
    said = """    fields: {sku: "'none'", shelf: stock.shelf, order_id: start.order_id}"""
    assert command(compiled(order(line_16=said)), "parcel").fields == (
        FieldRule("order_id", (("start", "order_id"),)),
        FieldRule("sku", literal="none"),
        FieldRule("shelf", (("stock", "shelf"),)),
    )


def test_default_topic() -> None:
    """A command whose schema names no topic goes to cmd.<namespace>.v1."""
    assert command(compiled(ORDER), "parcel").topic == "cmd.parcel.v1"


def test_named_topic() -> None:
    """A definition may send a command to a topic where its service listens already."""
    said = "    command: {type: parcel.Book, topic: parcels.in}"
    assert command(compiled(order(line_14=said)), "parcel").topic == "parcels.in"


def test_default_retry() -> None:
    """A step is tried once unless it says otherwise; a compensation is repeated for long."""
    parcel = compiled(ORDER).steps["parcel"]
    assert parcel.retry.attempts == 1
    assert parcel.compensation is not None
    assert parcel.compensation.retry == Retry(12, 1_000, 2.0, 300_000, "equal")


# -- the order of steps


def test_order_of_writing() -> None:
    """Where `after` leaves a choice, steps stay in the order of writing."""
    assert graph.ordered({"d": ["b"], "a": [], "c": [], "b": ["a"]}) == ["a", "c", "b", "d"]


def test_nearest_first() -> None:
    """What comes before a step is listed nearest first; equally near ones as `after` names them."""
    found = graph.before({"a": [], "b": ["a"], "c": [], "d": ["c", "b"], "e": ["d", "a"]}, "e")
    assert found == ["d", "a", "c", "b"]


def test_cycle_is_named() -> None:
    """A cycle is found among steps that are not on it, and named in the order in which they would run."""
    assert graph.cycle({"a": [], "b": ["a", "d"], "c": ["b"], "d": ["c"], "e": ["d"]}) == ["b", "c", "d", "b"]


def test_no_cycle() -> None:
    """A graph in order has none."""
    assert graph.cycle({"a": [], "b": ["a"]}) == []


@pytest.mark.parametrize("type_", [MONEY, ["null", MONEY]])
@pytest.mark.parametrize(
    ("money", "expression", "value"),
    [
        ([], "sum(start.parts)", Decimal(0)),
        ([Decimal("1.50"), Decimal("0.25")], "sum(start.parts)", Decimal("1.75")),
        ([], "size(start.parts) > 0 ? sum(start.parts) : 3", Decimal(3)),
    ],
)
def test_a_decimal_field_that_an_expression_fills(
    type_: Any, money: list[Decimal], expression: str, value: Decimal
) -> None:
    """The sum of no decimals is a whole number, which can be written as any decimal."""
    parts = {"type": "array", "items": MONEY}
    schemas = Catalog(
        [
            *(schema for name, schema in SCHEMAS.items() if name not in ("shop.Ordered", "parcel.Book")),
            record("shop.Ordered", "evt.shop.order.v1", order_id="string", sku="string", parts=parts),
            record("parcel.Book", order_id="string", total=type_),
        ]
    )
    text = order(line_14=f'    command: {{type: parcel.Book, fields: {{total: "{expression}"}}}}')
    saga = compile_saga(model(text), schemas, 1_000)
    (rule,) = (rule for rule in command(saga, "parcel").fields if rule.name == "total")
    assert rule.expression is not None
    found = rule.expression({"start": {"parts": money}})
    assert (found, type(found)) == (value, Decimal)
    encode = Codec(MemorySchemas()).encoder(schemas["parcel.Book"], "cmd.parcel.v1")
    assert encode({"order_id": "o", "total": found})
