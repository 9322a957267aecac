"""What is in the grammar, and would fail or do nothing for every transaction, or for some: refused with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kantor_orchestrator.definitions.check import check
from kantor_schemas import Catalog
from unit.definitions_kit import SCHEMAS, model, order, problems, read, record

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


@pytest.mark.parametrize(
    ("when", "part"),
    [
        ("timestamp('2026-02-29T00:00:00Z') < start.at", "timestamp('2026-02-29T00:00:00Z')"),
        ("timestamp('0001-01-01T00:00:00+14:00') < start.at", "timestamp('0001-01-01T00:00:00+14:00')"),
        ("start.at < timestamp('tomorrow')", "timestamp('tomorrow')"),
        ("start.at - start.at < duration('1 day')", "duration('1 day')"),
        ("start.price > 3 && [1, 2].exists(n, n > int('three'))", "int('three')"),
    ],
)
def test_a_value_that_can_not_be_what_is_written(when: str, part: str) -> None:
    """It failed in every transaction that came there: it is a part of an expression about fields, so it was not tried."""
    (found,) = problems(order(line_13=f'    after: stock\n    when: "{when}"'), ORDERED)
    assert (
        f"the expression always fails: {part!r}" in found or f'the expression always fails: "{part}"' in found
    )


@pytest.mark.parametrize(
    "text", ["timestamp('9999-12-31T23:59:59Z') + duration('1h')", "timestamp('0001-01-01T00:00:00+14:00')"]
)
def test_times_that_no_calendar_has(text: str) -> None:
    """They are refused as others are."""
    (found,) = problems(order(line_13=f'    after: stock\n    when: "{text} == {text}"'), ORDERED)
    assert "the expression always fails" in found


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
    assert f"check it first: {path} != null && ..." in found[0]


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
    """A guard that is nothing but such a field: null is not a boolean."""
    (found,) = problems(order(line_13="    after: stock\n    when: start.gift"), ORDERED)
    assert found.endswith(
        "start.gift is null or boolean, and null is not a boolean; write start.gift == true"
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


# -- topics


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        (
            "parcel-events",
            "parcel.Booked is an event, but is sent to parcel-events: Kantor reads events only from evt.* topics",
        ),
        (
            "cmd.parcel.v1",
            "parcel.Booked is an event, but is sent to cmd.parcel.v1: Kantor reads events only from evt.* topics",
        ),
        ("", "parcel.Booked is an event, but its schema names no topic, so it would be sent as a command"),
    ],
)
def test_an_event_that_nobody_would_hear(topic: str, what: str) -> None:
    """An event that intake does not read, or that would go where commands go, is refused with the topic to write."""
    booked = record("parcel.Booked", order_id="string", tracking="string") | {"kantor.topic": topic}
    (found,) = problems(order(), booked)
    assert what in found
    assert (
        'write "kantor.topic": "evt.parcel.v1", or another topic that begins with evt., in its .avsc file'
        in found
    )


@pytest.mark.parametrize("type_", ["parcel.Book", "parcel.Cancel", "parcel.Booked"])
def test_a_message_for_the_platforms_own_topics_is_refused(type_: str) -> None:
    """A command among the state's snapshots, or the definitions, would be taken for one of them."""
    sent = SCHEMAS[type_] | {"kantor.topic": "sys.kantor.state"}
    (found,) = problems(order(), sent)
    assert (
        f"{type_} is sent to sys.kantor.state: topics that begin with sys.kantor. are for the platform alone"
        in found
    )


# -- sagas beside each other

LOYALTY = """\
---
saga: loyalty
version: 1
starts_on: parcel.Booked
deadline: 1h
steps:
  award: {command: parcel.Book, fields: {order_id: "'1'", sku: "'2'", shelf: "'3'"}, succeeds_on: stock.Released}
"""


def test_an_event_of_another_sagas_transactions() -> None:
    """A transaction runs one saga: what ends a step of one can't start another, which would never run, without a sign."""
    (found,) = problems(f"{order()}\n{LOYALTY}")
    assert "the saga order waits for parcel.Booked, so loyalty never starts in its transactions" in found
    assert "start it on a separate event" in found


@pytest.mark.parametrize("here_first", [True, False])
def test_an_event_of_a_deployed_sagas_transactions(here_first: bool) -> None:
    """So it is if one of the two is deployed already, whichever it is."""
    texts = [order(), LOYALTY.removeprefix("---\n")]
    here, there = texts if here_first else texts[::-1]
    found = check(read(here).written, SCHEMAS, [model(there)])
    assert len(found) == 1
    assert "loyalty" in found[0].what


# -- what a decoded value does not say

CARD = {"type": "record", "name": "Card", "namespace": "pay", "fields": [{"name": "token", "type": "string"}]}


def test_a_union_of_lookalikes() -> None:
    """Which of two records a value was is not known once it is read, so a command is not filled with one."""
    sku: list[object] = [CARD, {**CARD, "name": "BankDebit"}]
    schemas = [
        record("shop.Ordered", order_id="string", sku=sku, price="long", note="string"),
        record("parcel.Book", order_id="string", sku=sku, shelf="string"),
    ]
    (found,) = problems(order(), *schemas)
    assert "once it has been read, a value could be any of record Card or record BankDebit" in found
    assert "a nullable field of its own" in found


def test_an_optional_record() -> None:
    """One record or null is no such union."""
    sku: list[object] = ["null", CARD]
    schemas = [
        record("shop.Ordered", order_id="string", sku=sku, price="long", note="string"),
        record("parcel.Book", order_id="string", sku=sku, shelf="string"),
    ]
    assert problems(order(), *schemas) == []


# -- words that would do nothing


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("brake: 5%", "`brake` is not supported by this version of Kantor; leave it out"),
        ("mode: alert", "'alert' is not known; write 'observe' or 'enforce'"),
    ],
)
def test_words_that_do_nothing(line: str, what: str) -> None:
    """Nobody takes for granted what nothing acts upon."""
    (found,) = problems(order(line_4=f"deadline: 15m\n{line}"))
    assert what in found


# -- products


def test_lists_that_multiply() -> None:
    """Members of an `each` within an `each` are counted together, as far as the lists are known."""
    inner = f"[{', '.join(map(str, range(50)))}]"
    nested = f"""
  outer:
    each: "{inner}"
    steps:
      inner:
        each: "{inner}"
        steps:
          book: {{command: {{type: parcel.Book, fields: {{shelf: "'1'"}}}}, succeeds_on: parcel.Booked}}
"""
    text = order().partition("  parcel:")[0] + nested.lstrip("\n")
    (found,) = problems(text)
    assert "step inner would have 2,500 members in all; a transaction may have at most 2,000" in found


# -- files


def test_a_schema_file_from_windows(tmp_path: Path) -> None:
    """It may begin with a byte order mark."""
    schema = SCHEMAS["shop.Ordered"]
    (tmp_path / "Ordered.avsc").write_text(json.dumps(schema), encoding="utf-8-sig")
    assert Catalog.load(tmp_path)["shop.Ordered"] == schema
