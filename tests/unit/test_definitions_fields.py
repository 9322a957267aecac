"""The fields of commands: each problem with its place and remedy."""

from __future__ import annotations

import pytest

from unit.definitions_kit import ORDER, order, problems, record


def test_field_that_nothing_fills() -> None:
    """A command's field without a source and without a default can't be sent."""
    book = record("parcel.Book", order_id="string", weight="int")
    assert problems(order(), book) == [
        (
            "order.yaml:14:14: nothing fills the field weight: no such field in stock.Reserved, shop.Ordered; "
            "fill it under `fields`, or give it a default in its schema"
        )
    ]


def test_field_with_default() -> None:
    """A default is enough."""
    assert problems(order(), record("parcel.Book", order_id="string", weight=("int", 1))) == []


def test_field_that_the_command_lacks() -> None:
    """`fields` names fields of the command."""
    assert problems(order(line_14="    command: {type: parcel.Book, fields: {skus: start.sku}}")) == [
        "order.yaml:14:49: parcel.Book has no field skus; did you mean sku?"
    ]


def test_field_beside_the_command() -> None:
    """`fields` may stand beside the command."""
    assert problems(order(line_16="    fields: {sku: start.not}")) == [
        "order.yaml:16:19: start.not: shop.Ordered has no field not; did you mean start.note?"
    ]


def test_field_filled_twice() -> None:
    """What is said twice may contradict itself."""
    said = "    command: {type: parcel.Book, fields: {sku: start.note}}"
    assert problems(order(line_14=said, line_16="    fields: {sku: start.sku}")) == [
        "order.yaml:16:19: step parcel: `sku` is filled twice; set it in one place: beside the command or inside it"
    ]


def test_field_of_unknown_step() -> None:
    """A scope is start or a step."""
    assert problems(order(line_16="    fields: {sku: stok.shelf}")) == [
        "order.yaml:16:19: stok.shelf: there is no step stok; did you mean stock.shelf?"
    ]


def test_field_of_a_later_step() -> None:
    """What has not happened yet fills nothing."""
    said = "    compensate_with: {command: stock.Release, fields: {order_id: parcel.order_id}}"
    assert problems(order(line_10=said)) == [
        (
            "order.yaml:10:66: parcel.order_id: parcel has not succeeded yet when stock's command is sent; "
            "known by then: stock, start"
        )
    ]


def test_field_of_the_step_itself() -> None:
    """A step's own success can't fill the command that asks for it."""
    assert problems(order(line_16="    fields: {order_id: parcel.order_id}")) == [
        (
            "order.yaml:16:24: parcel.order_id: parcel has not succeeded yet when parcel's command is sent; "
            "known by then: stock, start"
        )
    ]


def test_item_outside_of_each() -> None:
    """`item` means something only within an `each`."""
    assert problems(order(line_16="    fields: {sku: item.sku}")) == [
        ("order.yaml:16:19: item.sku: `item` is known only inside an `each`; known by then: stock, start")
    ]


def test_literal() -> None:
    """A literal must fit the field."""
    assert problems(order(line_16="    fields: {sku: 12}")) == [
        (
            "order.yaml:16:19: the literal 12 does not fit: parcel.Book.sku wants string; "
            "write a literal of that type, or take the value from an event"
        )
    ]


def test_text_literal() -> None:
    """A text in quotes of its own is a literal."""
    assert problems(order(line_16="""    fields: {sku: "'none'"}""")) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [
        ("string", "long", "stock.shelf is string, but parcel.Book.shelf wants long"),
        ("long", "int", "stock.shelf is long, but parcel.Book.shelf wants int"),
        (["null", "string"], "string", "stock.shelf is null or string, but parcel.Book.shelf wants string"),
        (
            {"type": "string", "logicalType": "uuid"},
            "string",
            "stock.shelf is string (uuid), but parcel.Book.shelf wants string",
        ),
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            {"type": "long", "logicalType": "timestamp-micros"},
            "stock.shelf is long (timestamp-millis), but parcel.Book.shelf wants long (timestamp-micros)",
        ),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3},
            "stock.shelf is bytes (decimal 9.2), but parcel.Book.shelf wants bytes (decimal 9.3)",
        ),
    ],
)  # fmt: skip
def test_type_mismatch(ours: object, theirs: object, shown: str) -> None:
    """A value that can't be written into the field is refused, logical types included."""
    reserved = record("stock.Reserved", order_id="string", shelf=ours)
    book = record("parcel.Book", order_id="string", shelf=theirs)
    assert problems(order(), reserved, book) == [
        f"order.yaml:14:14: {shown}; fill it from another field under `fields`, or change one of the schemas"
    ]


def test_compensation_known_only_after_success() -> None:
    """A compensation must be sendable while nobody knows whether its step happened."""
    assert problems(order(), record("parcel.Cancel", order_id="string", tracking="string")) == [
        (
            "order.yaml:17:22: parcel.Cancel.tracking is known only once parcel has succeeded, "
            "but parcel is also compensated while its outcome is unknown; "
            "fill it from start or an earlier step under `fields`, or give it a default in its schema"
        )
    ]


def test_compensation_named_from_its_own_success() -> None:
    """The same holds when `fields` names the step's own event."""
    said = "    compensate_with: {command: parcel.Cancel, fields: {order_id: parcel.order_id}}"
    assert problems(order(line_17=said)) == [
        (
            "order.yaml:17:66: parcel.Cancel.order_id is known only once parcel has succeeded, "
            "but parcel is also compensated while its outcome is unknown; "
            "fill it from start or an earlier step under `fields`, or give it a default in its schema"
        )
    ]


CHOREOGRAPHED = (
    ORDER
    + """\
  bell:
    after: stock
    succeeds_on: bell.Rung
    compensate_with: bell.Silence
    compensated_on: bell.Silenced
"""
)
BELL = [record("bell.Silence", shelf="string"), record("bell.Silenced", "evt.bell.v1", order_id="string")]


def test_compensation_known_only_from_an_event_that_may_come_later() -> None:
    """A choreographed step may be heard of before the step that it comes after: its compensation must not need that."""
    assert problems(CHOREOGRAPHED, record("bell.Rung", "evt.bell.v1", order_id="string"), *BELL) == [
        (
            "order.yaml:22:22: bell.Silence.shelf is known only from stock, whose event may arrive after that of bell; "
            "add it to bell.Rung or shop.Ordered, or give it a default in its schema"
        )
    ]


def test_compensation_known_from_either_event() -> None:
    """It is enough when the step's own event says it too: one of the two is known in any case."""
    assert problems(CHOREOGRAPHED, record("bell.Rung", "evt.bell.v1", shelf="string"), *BELL) == []


def test_compensation_of_a_command_may_use_what_came_before() -> None:
    """A command is sent when what comes before is known, so its compensation may use it."""
    assert problems(order(), record("parcel.Cancel", shelf="string")) == []


def test_compensation_with_a_default_may_use_its_own_success() -> None:
    """A field with a default may come from the step's own success: in doubt the default is sent."""
    assert problems(order(), record("parcel.Cancel", order_id="string", tracking=("string", ""))) == []
