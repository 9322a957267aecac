"""What is in the grammar, and fails in every transaction that comes to it: refused with place and remedy. What works is not."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kantor_orchestrator.definitions.expressions import EvaluationError, Formula
from kantor_orchestrator.definitions.outcomes import Text
from unit.definitions_kit import ORDER, problems, record

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
LINE = {
    "type": "record",
    "name": "Line",
    "fields": [{"name": "n", "type": ["null", "int"]}, {"name": "money", "type": ["null", MONEY]}],
}
ORDERED = record(
    "shop.Ordered",
    "evt.shop.order.v1",
    order_id="string",
    sku="string",
    price="long",
    note="string",
    money=MONEY,
    tip=["null", MONEY],
    day={"type": "int", "logicalType": "date"},
    id={"type": "string", "logicalType": "uuid"},
    at={"type": "long", "logicalType": "timestamp-millis"},
    sums={"type": "array", "items": MONEY},
    tips={"type": "array", "items": ["null", MONEY]},
    counts={"type": "array", "items": ["null", "long"]},
    own={"type": "array", "items": {"type": "long", "logicalType": "cents"}},
    perhaps=["null", {"type": "array", "items": "int"}],
    days={"type": "array", "items": {"type": "int", "logicalType": "date"}},
    lines={"type": "array", "items": LINE},
)
#: Such an event, as an expression sees it.
START: dict[str, Any] = {
    "sku": "s",
    "price": 3,
    "money": Decimal("1.50"),
    "tip": Decimal("0.50"),
    "day": datetime.date(2026, 1, 31),
    "id": UUID(int=1),
    "at": datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC),
    "sums": [Decimal(1)],
    "tips": [Decimal(1), None],
    "counts": [1, None],
    "own": [1],
    "perhaps": None,
    "days": [datetime.date(2026, 1, 31)],
    "lines": [{"n": None, "money": None}, {"n": 1, "money": Decimal(1)}],
}


def linted(when: str) -> list[str]:
    """What is wrong with this guard."""
    return problems(
        ORDER.replace("command: parcel.Book\n", f'command: parcel.Book\n    when: "{when}"\n'), ORDERED
    )


@pytest.mark.parametrize(
    ("when", "of"),
    [
        ("string(start.money) == '1.50'", "start.money is bytes (decimal 9.2)"),
        ("double(start.money) > 1.0", "start.money is bytes (decimal 9.2)"),
        ("start.tip != null && string(start.tip) == ''", "start.tip is null or bytes (decimal 9.2)"),
        ("string(start.day) == ''", "start.day is int (date)"),
        ("start.day.getFullYear() == 2026", "start.day is int (date)"),
        ("string(start.id) == ''", "start.id is string (uuid)"),
        ("start.id.startsWith('0')", "start.id is string (uuid)"),
    ],
)
def test_a_conversion_of_what_expressions_have_no_type_for(when: str, of: str) -> None:
    """It would be an incident of each transaction."""
    with pytest.raises(EvaluationError, match="there is no"):
        Formula(when)({"start": START})
    assert linted(when) == [
        (
            f"order.yaml:15:11: {of}, which expressions can only pass on and compare for equality; "
            "let the service that publishes it add a number or a text"
        )
    ]


@pytest.mark.parametrize(
    ("when", "given", "why"),
    [
        ("sum(start.tips) == start.money", "array of null or bytes (decimal 9.2)", "may hold null"),
        ("sum(start.counts) > 3", "array of null or long", "may hold null"),
        ("string(sum(start.counts)) == '3'", "array of null or long", "may hold null"),
        ("sum(start.lines.map(l, l.n)) > 3", "array of null or int", "may hold null"),
        ("sum(start.lines.map(l, l.money)) == start.money", "array of null or bytes (decimal 9.2)", "may hold null"),
        ("start.lines.exists(l, sum(start.counts) > 3)", "array of null or long", "may hold null"),
        ("sum(start.days) == 3", "array of int (date)", "may hold what is no number"),
        ("sum(start.lines) == 3", "array of record Line", "may hold what is no number"),
        ("sum(start.sku) == 3", "string", "is no list"),
        ("sum([start.money, 1]) == 3", "array of bytes (decimal 9.2) or int", "may hold decimals and other numbers"),
    ],
)  # fmt: skip
def test_a_sum_of_what_can_not_be_added_up(when: str, given: str, why: str) -> None:
    """It would be an incident of each transaction that has such a list."""
    with pytest.raises(EvaluationError, match="sum"):
        Formula(when)({"start": START})
    remedy = ", without null: LIST.filter(x, x != null)" if "null" in why else ""
    assert linted(when) == [
        f"order.yaml:15:11: sum() can't add up what it gets in {when!r}: {given}, which {why}; give it a list of numbers{remedy}"
    ]


@pytest.mark.parametrize(
    "when",
    [
        "string(start.at) == ''",
        "start.money == start.tip",
        "sum(start.sums) == start.money",
        "sum(start.tips.filter(x, x != null)) == start.money",
        "sum(start.lines.filter(l, l.n != null).map(l, l.n)) > 3",
        "sum(start.lines.map(l, l.n != null, l.n)) > 3",
        "sum(start.lines.map(l, l.n != null ? l.n : 0)) > 3",
        "start.counts.all(x, x != null) && sum(start.counts) > 3",
        "sum(start.own) > 3",
        "start.perhaps != null && sum(start.perhaps) > 3",
        "sum([1, 2.5]) > 3.0 && start.price > 1",
    ],
)
def test_what_works(when: str) -> None:
    """What has a value at run time is accepted."""
    assert Formula(when)({"start": START}) in (True, False)
    assert linted(when) == []


@pytest.mark.parametrize("key", ["''", "'' + ''"])
def test_a_key_that_is_always_empty(key: str) -> None:
    """It would be an incident of each transaction."""
    with pytest.raises(EvaluationError, match="can't be a record's key"):
        Text(Formula(key), key)({})
    assert problems(ORDER.replace("command: parcel.Book\n", f'command: parcel.Book\n    key: "{key}"\n')) == [
        (
            f"order.yaml:15:10: {key} is empty, which can't be a record's key; use a string that is never empty, or remove `key`: "
            "without it, the key is the transaction's id"
        )
    ]


def test_a_key_that_is_always_the_same() -> None:
    """All of the saga's commands go to one partition then, in their order."""
    assert problems(ORDER.replace("command: parcel.Book\n", "command: parcel.Book\n    key: \"'x'\"\n")) == []


@pytest.mark.parametrize("type_", ["kantor.TransactionEnded", "kantor.RequestTask", "kantor.RequestCall"])
@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("succeeds_on: parcel.Booked", "succeeds_on: {}", "15:18"),
        ("fails_on: parcel.Unavailable", "fails_on: {}", "16:15"),
        ("compensated_on: parcel.Cancelled", "compensated_on: {}", "18:21"),
        ("starts_on: shop.Ordered", "starts_on: {}", "3:12"),
    ],
)
def test_what_kantor_itself_sends_is_no_event_of_a_saga(type_: str, old: str, new: str, place: str) -> None:
    """Intake leaves out what Kantor sends, so the saga would wait for ever."""
    found = [text for text in problems(ORDER.replace(old, new.format(type_))) if "itself sends" in text]
    assert found == [
        (
            f"order.yaml:{place}: {type_} is what Kantor itself sends, and nothing waits for that; name an event that a service sends; "
            "a step of kind `saga` waits for the end of its child by itself"
        )
    ]


@pytest.mark.parametrize("type_", ["kantor.TaskSucceeded", "kantor.CallSucceeded"])
def test_what_services_of_tasks_and_calls_send_is_an_event(type_: str) -> None:
    """A service may answer a command of the saga with it."""
    assert problems(ORDER.replace("succeeds_on: parcel.Booked", f"succeeds_on: {type_}")) == []


def test_a_step_that_is_reversed_by_its_own_command() -> None:
    """Its service would do the same once more."""
    assert problems(ORDER.replace("compensate_with: parcel.Cancel", "compensate_with: parcel.Book")) == [
        (
            "order.yaml:17:22: step parcel is reversed by its own command parcel.Book: its service would do the same once more; "
            "name the command that reverses it, or fill its `fields` in another way"
        )
    ]


def test_a_step_that_is_reversed_by_its_own_command_with_other_fields() -> None:
    """A service may do the opposite of what it did, by the same command."""
    reverse = "{command: parcel.Book, fields: {shelf: \"''\"}}"
    assert problems(ORDER.replace("compensate_with: parcel.Cancel", f"compensate_with: {reverse}")) == []
