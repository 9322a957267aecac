"""What is in the grammar, and would fail or do nothing for every transaction, or for some: refused with the remedy."""

from __future__ import annotations

import pytest

from unit.definitions_kit import order, problems, record

ADDRESS = {"type": "record", "name": "Address", "fields": [{"name": "city", "type": "string"}]}
ORDERED = record(
    "shop.Ordered",
    "evt.shop.order.v1",
    order_id="string",
    sku="string",
    price="long",
    note="string",
    coupon=["null", "string"],
    discount=["null", "long"],
    gift=["null", "boolean"],
    address=["null", ADDRESS],
    at={"type": "long", "logicalType": "timestamp-millis"},
    lines={
        "type": "array",
        "items": {"type": "record", "name": "Line", "fields": [{"name": "rebate", "type": ["null", "long"]}]},
    },
)


# -- null


@pytest.mark.parametrize(
    ("when", "path"),
    [
        ("start.discount > 0", "start.discount"),
        ("has(start.discount) && start.discount > 0", "start.discount"),
        ("start.coupon.startsWith('W')", "start.coupon"),
        ("size(start.coupon) > 3", "start.coupon"),
        ("start.gift && start.price > 3", "start.gift"),
        ("!start.gift", "start.gift"),
        ("start.address.city == 'Rome'", "start.address"),
        ("sum(start.lines.map(l, l.rebate * 2)) > 3", "start.lines[].rebate"),
    ],
)
def test_null_where_there_must_be_a_value(when: str, path: str) -> None:
    """A guard over a field that may be null is refused, as it would be an incident of each transaction without it."""
    found = problems(order(line_13=f'    after: stock\n    when: "{when}"'), ORDERED)
    assert len(found) == 1
    assert f"{path} is null or " in found[0]
    assert f"ask first: {path} != null && ..." in found[0]


@pytest.mark.parametrize(
    "when",
    [
        "start.discount != null && start.discount > 0",
        "start.discount == null || start.discount > 0",
        "start.coupon == 'W'",
        "start.coupon in ['W', 'X']",
        "start.gift == true",
        "start.address != null && start.address.city == 'Rome'",
        "start.lines.filter(l, l.rebate != null).exists(l, l.rebate > 3)",
        "(start.discount != null ? start.discount : 0) > 3",
    ],
)
def test_null_that_is_asked_about(when: str) -> None:
    """One that asks, or that null can't harm, is accepted."""
    assert problems(order(line_13=f'    after: stock\n    when: "{when}"'), ORDERED) == []


def test_a_truth_value_that_may_be_null() -> None:
    """A guard that is nothing but such a field: null is no truth value."""
    (found,) = problems(order(line_13="    after: stock\n    when: start.gift"), ORDERED)
    assert found.endswith(
        "start.gift is null or boolean, and null is no truth value; write start.gift == true"
    )


# -- what can't be kept


@pytest.mark.parametrize("value", ["duration('1h')", "start.at - start.at", "[start.at - start.at]"])
def test_a_duration_is_returned(value: str) -> None:
    """JSON has no durations: what a saga returns can't be one."""
    (found,) = problems(order(line_4=f'deadline: 15m\nreturns: {{took: "{value}"}}'), ORDERED)
    assert "duration" in found
    assert "string(...)" in found


def test_a_duration_as_text_is_returned() -> None:
    """As text it can be."""
    assert (
        problems(order(line_4='returns: {took: "string(start.at - start.at)"}\ndeadline: 1h'), ORDERED) == []
    )


def test_a_field_that_takes_no_duration() -> None:
    """Neither can a command's field be one."""
    (found,) = problems(
        order(line_14='    command: parcel.Book\n    fields: {sku: "duration(start.note)"}'), ORDERED
    )
    assert "duration(start.note) is duration, but parcel.Book.sku wants string" in found


def test_an_expression_that_always_fails() -> None:
    """One that refers to nothing is evaluated at once."""
    (found,) = problems(order(line_13='    after: stock\n    when: "1 / 0 > 3"'))
    assert "the expression always fails: '1 / 0 > 3': division by zero" in found
