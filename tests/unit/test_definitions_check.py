"""A definition against the schemas: each problem with its place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

import kantor_schemas
from kantor_orchestrator.definitions import yaml_source
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.reading import Reading
from unit.definitions_kit import ORDER, order, problems, record

EXAMPLES = Path(__file__).parents[2] / "services" / "kantor_examples"


def test_checkout_example() -> None:
    """The checkout example passes."""
    reading = Reading()
    yaml_source.load(EXAMPLES / "checkout" / "checkout.yaml", reading)
    assert reading.problems == []
    assert check(reading.written, kantor_schemas.example("checkout")) == []


# -- messages


def test_unknown_type() -> None:
    """A message type without a schema is refused with the nearest known one."""
    assert problems(order(line_15="    succeeds_on: parcel.Boked")) == [
        "order.yaml:15:18: no schema for parcel.Boked; did you mean parcel.Booked?"
    ]


def test_unknown_type_in_another_namespace() -> None:
    """The right name in the wrong namespace is recognised."""
    assert problems(order(line_15="    succeeds_on: shipping.Booked")) == [
        "order.yaml:15:18: no schema for shipping.Booked; did you mean parcel.Booked?"
    ]


def test_unknown_type_like_nothing() -> None:
    """Where nothing is near, the remedy is the missing file."""
    assert problems(order(line_9="    fails_on: [stock.Rejected, weather.Rained]")) == [
        "order.yaml:9:32: no schema for weather.Rained; add its .avsc file to a folder that --schemas names"
    ]


def test_unknown_types_of_commands() -> None:
    """Commands and compensations are looked up too."""
    changed = order(line_14="    command: {type: parcel.Buk}", line_17="    compensate_with: parcel.Cancle")
    assert problems(changed) == [
        "order.yaml:14:21: no schema for parcel.Buk; did you mean parcel.Book?",
        "order.yaml:17:22: no schema for parcel.Cancle; did you mean parcel.Cancel?",
    ]


def test_step_failed_is_implicit() -> None:
    """kantor.StepFailed is in every step's fails_on; to write it is a misunderstanding."""
    assert problems(order(line_9="    fails_on: kantor.StepFailed")) == [
        "order.yaml:9:15: step stock: kantor.StepFailed is already a failure of every step; leave it out"
    ]


# -- steps


def test_step_without_success() -> None:
    """A step must be able to end."""
    assert problems(order(line_15="")) == [
        "order.yaml:12:3: step parcel never succeeds; add `succeeds_on:` with the event that reports its success"
    ]


def test_step_that_waits_for_ever() -> None:
    """Without a deadline of the saga every step needs a timeout."""
    assert problems(order(line_4="", line_16="    timeout: 10s")) == [
        "order.yaml:7:3: step stock may wait forever; give it a `timeout`, or the saga a `deadline`"
    ]


def test_retry_without_command() -> None:
    """What is not sent can't be sent again."""
    assert problems(order(line_9="    retry: {attempts: 3}")) == [
        (
            "order.yaml:9:5: step stock sends no command, so `retry` has no effect; "
            "remove it, or add `command:`"
        )
    ]


def test_fields_without_command() -> None:
    """Without a command there are no fields to fill."""
    assert problems(order(line_9="    fields: {sku: start.sku}")) == [
        (
            "order.yaml:9:5: step stock sends no command, so `fields` has no effect; "
            "remove it, or add `command:`"
        )
    ]


def test_compensation_without_confirmation() -> None:
    """A compensation that nobody confirms would never end."""
    assert problems(order(line_11="")) == [
        (
            "order.yaml:10:22: step stock has `compensate_with` but no `compensated_on`; "
            "name the event that confirms the compensation"
        )
    ]


def test_confirmation_without_compensation() -> None:
    """A confirmation of nothing is a forgotten compensation."""
    assert problems(order(line_10="")) == [
        (
            "order.yaml:11:21: step stock has `compensated_on` but no `compensate_with`; "
            "name the command that reverses it"
        )
    ]


# -- order


def test_after_unknown_step() -> None:
    """`after` names steps of this saga."""
    assert problems(order(line_13="    after: stok")) == [
        "order.yaml:13:12: step parcel comes after stok, which is not a step; did you mean stock?"
    ]


def test_after_unknown_step_in_a_list() -> None:
    """Of several, the wrong one is pointed at."""
    assert problems(order(line_13="    after: [stock, shop]")) == [
        "order.yaml:13:20: step parcel comes after shop, which is not a step; the steps are stock, parcel"
    ]


def test_cycle() -> None:
    """Steps that wait for each other never start."""
    assert problems(order(line_9="    after: parcel")) == [
        "order.yaml:9:12: the steps wait for each other in a loop: stock -> parcel -> stock; remove one `after`"
    ]


def test_step_after_itself() -> None:
    """A step can't wait for itself."""
    assert problems(order(line_13="    after: parcel")) == [
        "order.yaml:13:12: the steps wait for each other in a loop: parcel -> parcel; remove one `after`"
    ]


# -- replies


AMBIGUOUS = (
    ORDER
    + """\
  extra:
    after: parcel
    succeeds_on: {succeeds_on}
    fails_on: {fails_on}
"""
)


def test_ambiguous_success() -> None:
    """Two steps can't end on the same event when one of them sends no command that a reply could refer to."""
    assert problems(AMBIGUOUS.format(succeeds_on="parcel.Booked", fails_on="[]")) == [
        (
            "order.yaml:21:18: parcel.Booked may mean parcel or extra: extra sends no command that a reply could "
            "refer to; use an event type of its own for each of them"
        )
    ]


def test_ambiguous_failure() -> None:
    """The same holds for failures: the wrong step would count as not happened."""
    more = record("extra.Done", "evt.extra.v1", order_id="string")
    assert problems(AMBIGUOUS.format(succeeds_on="extra.Done", fails_on="stock.Rejected"), more) == [
        (
            "order.yaml:22:15: stock.Rejected may mean stock or extra: stock sends no command that a reply could "
            "refer to; use an event type of its own for each of them"
        )
    ]


def test_start_as_success() -> None:
    """The start event can't also end a step."""
    assert problems(
        order(
            line_8="    succeeds_on: shop.Ordered",
            line_14="    command: {type: parcel.Book, fields: {shelf: start.sku}}",
        )
    ) == [
        ("order.yaml:8:18: shop.Ordered starts the saga, so step stock can't wait for it; use another event")
    ]


def test_success_and_failure() -> None:
    """One event can't be good and bad news."""
    assert problems(order(line_9="    fails_on: stock.Reserved")) == [
        (
            "order.yaml:9:15: stock.Reserved is a failure of stock, but also appears in `succeeds_on` of stock; "
            "use an event type of its own for each of the two meanings"
        )
    ]


def test_failure_and_confirmation() -> None:
    """One event can't be a failure and a confirmation."""
    assert problems(order(line_16="    fails_on: stock.Released")) == [
        (
            "order.yaml:16:15: stock.Released is a failure of parcel, but also appears in `compensated_on` of stock; "
            "use an event type of its own for each of the two meanings"
        )
    ]


def test_success_and_own_confirmation() -> None:
    """One event can't say of one step that it has happened and that it is reversed."""
    assert problems(order(line_11="    compensated_on: stock.Reserved")) == [
        (
            "order.yaml:11:21: stock.Reserved means both that stock has succeeded and that it is compensated; "
            "use an event type of its own for each of the two meanings"
        )
    ]


# -- keys, and several sagas together


def test_unknown_key() -> None:
    """People search by fields that the saga's events have."""
    assert problems(order(line_5="keys: [order_id, customer]")) == [
        (
            "order.yaml:5:18: the key customer is a field neither of shop.Ordered nor of any step's success event; "
            "name a field that people search by, such as order_id"
        )
    ]


def test_key_of_a_success() -> None:
    """A key may be a field of a step's success."""
    assert problems(order(line_5="keys: [tracking]")) == []


def test_same_start() -> None:
    """Two sagas can't start on the same event: a transaction runs one."""
    other = ORDER.replace("saga: order", "saga: other")
    assert problems(f"{ORDER}---\n{other}") == [
        (
            "order.yaml:22:12: shop.Ordered also starts the saga order, and a transaction runs only one saga; "
            "start one of them on another event"
        )
    ]


def test_two_versions_may_start_alike() -> None:
    """Two versions of one saga may start on the same event: the later one does."""
    assert problems(f"{ORDER}---\n{ORDER.replace('version: 1', 'version: 2')}") == []


def test_same_version_twice() -> None:
    """A version is defined once."""
    assert problems(f"{ORDER}---\n{ORDER}") == [
        "order.yaml:21:10: order version 1 is also defined at order.yaml:1:1; keep one, or raise the version"
    ]


def test_all_problems_at_once() -> None:
    """Problems of several kinds are told together, in the order of lines."""
    changed = order(
        line_5="keys: [colour]",
        line_11="",
        line_13="    after: shop",
        line_16="    fails_on: parcel.Unavailabel",
    )
    assert [problem.split(": ")[0] for problem in problems(changed)] == [
        "order.yaml:5:8",
        "order.yaml:10:22",
        "order.yaml:13:12",
        "order.yaml:16:15",
    ]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("command: parcel.Book\n", "command: stock.Reserved\n", "14:14"),
        ("command: parcel.Book\n", "command: {type: parcel.Book, topic: evt.parcel.parcel.v1}\n", "14:21"),
        (
            "compensate_with: parcel.Cancel",
            "compensate_with: {command: parcel.Cancel, topic: evt.a.v1}",
            "17:32",
        ),
        ("deadline: 15m", "deadline: 15m\ncommands: {parcel.Book: {topic: evt.parcel.parcel.v1}}", "15:14"),
    ],
)
def test_a_command_on_a_topic_of_events(old: str, new: str, place: str) -> None:
    """No service would take it for a command, and intake would report that somebody pretends to be Kantor."""
    (found,) = problems(ORDER.replace(old, new))
    assert found.startswith(f"order.yaml:{place}: ")
    assert "is a command, but would be sent to evt." in found
    assert found.endswith("; send it to a cmd.<service>.v1 topic, or name the command of that service")


@pytest.mark.parametrize(("logical", "fits"), [("timestamp-millis", False), ("", True)])
def test_a_time_is_no_key(logical: str, *, fits: bool) -> None:
    """It is read as a time, which is no number any more: each transaction would stop there."""
    at = {"type": "long", "logicalType": logical} if logical else "long"
    started = record(
        "shop.Ordered",
        "evt.shop.order.v1",
        order_id="string",
        sku="string",
        price="long",
        note="string",
        at=at,
    )
    found = problems(
        ORDER.replace("command: parcel.Book\n", "command: parcel.Book\n    key: start.at\n"), started
    )
    assert [text.partition(": ")[2] for text in found] == (
        []
        if fits
        else [
            "start.at is long (timestamp-millis), which can't be a record's key; use a string or an integer that is always present"
        ]
    )
