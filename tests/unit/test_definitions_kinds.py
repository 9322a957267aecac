"""What type an expression gives, and that lint tells when it does not fit."""

from __future__ import annotations

import pytest

from kantor_orchestrator.definitions import avro
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.kinds import type_of
from kantor_orchestrator.definitions.scopes import Scopes
from kantor_schemas import Schema
from unit.definitions_kit import model, order, problems, record

LINE: Schema = {
    "type": "record",
    "name": "Line",
    "namespace": "shop",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "cents", "type": "long"},
        {"name": "gift", "type": ["null", "string"]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "parts", "type": {"type": "array", "items": "shop.Line"}},
    ],
}
ORDERED = record(
    "shop.Ordered",
    "evt.shop.order.v1",
    order_id="string",
    sku="string",
    price="long",
    note=["null", "string"],
    lines={"type": "array", "items": LINE},
    marks={"type": "map", "values": "long"},
    paid="boolean",
)


def given(text: str) -> str:
    """The type, as lint shows it."""
    start = avro.expand(ORDERED)
    known = {"start": start, "index": {"type": "int"}, "odd": None}

    def typed(path: tuple[str, ...]) -> object:
        root, name = path
        if known[root] is None:
            return None
        return next(f["type"] for f in known[root]["fields"] if f["name"] == name)

    return avro.shown(type_of(text, known, typed))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("start.lines.map(l, l.sku)", "array of string"),
        ("start.lines.map(l, l.cents)", "array of long"),
        ("start.lines.map(l, l.gift)", "array of null or string"),
        ("start.lines.map(l, l.price)", "array of bytes (decimal 9.2)"),
        ("start.lines.map(l, l.tags)", "array of array of string"),
        ("start.lines.map(l, l.tags.map(t, t + '!'))", "array of array of string"),
        ("start.lines.map(l, l.parts.map(p, p.quantity))", "array of array of int"),
        ("start.lines.filter(l, l.quantity > 1).map(l, l.sku)", "array of string"),
        ("start.lines.filter(l, l.gift != null).map(l, l.gift)", "array of string"),
        ("start.lines.map(l, l.gift != null, l.gift)", "array of string"),
        ("start.lines.filter(l, l.quantity > 1)", "array of record Line"),
        ("start.lines.map(l, l.quantity > 1 ? l.sku : 'one')", "array of string"),
        ("start.lines.map(l, l.cents * l.quantity)", "array of int"),
        ("start.lines.map(l, size(l.tags))", "array of int"),
        ("start.lines.map(l, l)", "array of record Line"),
        ("[1, 2].map(n, n * 2)", "array of int"),
        ("['a', 'b']", "array of string"),
        ("[]", "array"),
        ("start.lines[0].sku", "string"),
        ("start['lines'].map(l, l.sku)", "array of string"),
        ("start.marks['a']", "long"),
        ("sum(start.lines.map(l, l.cents))", "int"),
        ("sum(start.lines.map(l, l.price))", "anything"),
        ("start.price + 2", "int"),
        ("start.price / 2.5", "float"),
        ("-start.price", "int"),
        ("(start.sku + start.order_id).contains('x')", "boolean"),
        ("start.paid && size(start.lines) > 2 || !start.paid", "boolean"),
        ("start.lines.exists(l, l.sku == 'x')", "boolean"),
        ("start.note != null ? start.note : 'none'", "string"),
        ("has(start.note) ? start.note : null", "string or null"),
        ("string(start.price)", "string"),
        ("index", "int"),
        ("odd.x", "anything"),
        ("start.lines.map(l, odd.x)", "array"),
        ("{'a': 1}", "anything"),
        ("start.lines.map(l, {'a': l.sku})", "anything"),
        ("timestamp('2026-01-01T00:00:00Z')", "anything"),
        ("start.sku in ['a', 'b']", "boolean"),
        ("'a' in start.lines.map(l, l.sku) ? 1 : 2", "int"),
        ("start['a' == start.sku ? 'sku' : 'price']", "anything"),
        ("start.lines.map(l, size(l.tags.map(start, {'a': start})) + start.price)", "array of int"),
    ],
)
def test_the_type_of_what_an_expression_gives(text: str, wanted: str) -> None:
    """As far as it can be told."""
    assert given(text) == wanted


BOOKING = record(
    "parcel.Book",
    order_id="string",
    sku="string",
    shelf="string",
    items={"type": "array", "items": "string"},
    kind={"type": "enum", "name": "Kind", "symbols": ["LETTER", "PARCEL"]},
    weights=({"type": "array", "items": "int"}, []),
)


def told(**fields: str) -> list[str]:
    """The problems of a command that is filled like this."""
    written = {"items": "start.lines.map(l, l.sku)", "kind": "'PARCEL'"} | fields
    said = ", ".join(f'{name}: "{text}"' for name, text in written.items())
    changed = order(line_14=f"    command: {{type: parcel.Book, fields: {{{said}}}}}")
    return problems(changed, ORDERED, BOOKING)


def test_a_list_of_the_right_elements_passes() -> None:
    """Numbers that are computed fit whichever they could be written as, texts an enum that has them."""
    assert told() == []
    assert told(weights="start.lines.map(l, l.cents * 2)", kind="start.paid ? 'LETTER' : 'PARCEL'") == []


def test_a_list_of_wrong_elements_is_told_with_its_place() -> None:
    """And with the remedy."""
    assert told(items="start.lines.map(l, l.quantity)") == [
        (
            "order.yaml:14:50: start.lines.map(l, l.quantity) is array of int, but parcel.Book.items wants array of string; "
            "fill it from another field under `fields`, or change one of the schemas"
        )
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"items": "start.lines.map(l, l.gift)"},
        {"items": "start.lines.map(l, l.price)"},
        {"items": "start.lines"},
        {"items": "size(start.lines)"},
        {"weights": "start.lines.map(l, l.cents)"},
        {"kind": "start.paid ? 'LETTER' : 'PIGEON'"},
        {"shelf": "start.paid ? start.sku : 1"},
    ],
)
def test_what_does_not_fit_is_a_problem(fields: dict[str, str]) -> None:
    """Of each kind one."""
    (problem,) = told(**fields)
    assert "wants" in problem


def test_a_guard_that_gives_a_number_is_no_truth_value() -> None:
    """It would be an incident of every transaction."""
    (problem,) = problems(order(line_13='    after: stock\n    when: "size(start.lines)"'), ORDERED)
    assert "size(start.lines) is int, not a boolean" in problem


def test_what_a_child_returns_by_an_expression_is_known_to_its_parent() -> None:
    """Its type, too."""
    text = order(line_1="saga: child") + "\nreturns: {skus: 'start.lines.map(l, l.sku)'}"
    child = children_of([model(text)], {"shop.Ordered": ORDERED})["child"]
    assert avro.shown(child.returns["skus"]) == "array of string"


def test_types_that_hold_themselves_can_be_told() -> None:
    """Without going round in them."""
    scopes = Scopes(model(order()), {"shop.Ordered": ORDERED}, {})
    known = {"start": scopes.start()}
    both = scopes.type_of("start.paid ? start.lines : [start.lines[0].parts[0]]", known)
    assert "array of record Line" in avro.shown(both)
