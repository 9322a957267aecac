"""The grammar: what is refused, where, and with which remedy."""

from __future__ import annotations

import pytest

from kantor_orchestrator.definitions import durations
from unit.definitions_kit import model, order, problems, record


def test_good_saga_has_no_problems() -> None:
    """A definition that can work passes."""
    assert problems(order()) == []


def test_typing_error() -> None:
    """An unknown word is refused with the nearest known one."""
    assert problems(order(line_9="    fail_on: stock.Rejected")) == [
        "order.yaml:9:5: steps.stock: unknown word `fail_on`; did you mean `fails_on`?"
    ]


def test_unknown_word_like_nothing() -> None:
    """An unknown word that is near to none is refused with all known ones."""
    assert problems(order(line_5="colour: red")) == [
        (
            "order.yaml:5:1: the definition: unknown word `colour`; "
            "known here: saga, version, starts_on, deadline, keys, mode, enforce, compensation, cancel_on, "
            "steps, ends_with, returns, commands"
        )
    ]


@pytest.mark.parametrize(
    ("line", "text", "where", "word"),
    [
        ("line_10", "    compensate_with: {saga: undo}", "10:23: steps.stock.compensate_with", "saga"),
        ("line_10", "    compensate_with: {sleep: 3d}", "10:23: steps.stock.compensate_with", "sleep"),
        (
            "line_14",
            "    command: {type: parcel.Book, format: json}",
            "14:34: steps.parcel.command",
            "format",
        ),
    ],
)
def test_words_of_later_versions(line: str, text: str, where: str, word: str) -> None:
    """A word of the whole language that this version lacks is refused as such, not as a typing error."""
    assert problems(order(**{line: text})) == [
        (
            f"order.yaml:{where}: `{word}` is not supported by this version of Kantor; "
            f"leave it out, or upgrade Kantor (docs/sagas-reference.md lists what comes later)"
        )
    ]


def test_missing_word() -> None:
    """A word that must be there is asked for."""
    assert problems(order(line_3="")) == ["order.yaml:1:1: starts_on is missing; add `starts_on:`"]


def test_no_steps() -> None:
    """A saga without steps is refused."""
    assert problems("saga: a\nversion: 1\nstarts_on: shop.Ordered\nsteps: {}\n") == [
        "order.yaml:4:1: steps is empty; add at least one step"
    ]


def test_no_mapping() -> None:
    """A document that is no mapping is refused."""
    assert problems("- saga") == [
        "order.yaml:1:1: the definition: expected a mapping, got a list; write a mapping"
    ]


def test_every_problem_at_once() -> None:
    """All problems of a definition are told together, in the order of lines."""
    found = problems(order(line_2="version: 0", line_4="deadline: 5", line_9="    fials_on: x.Y"))
    assert [problem.split(": ")[0] for problem in found] == [
        "order.yaml:2:10",
        "order.yaml:4:11",
        "order.yaml:9:5",
    ]


# -- durations


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("200ms", 200), ("30s", 30_000), ("15m", 900_000), ("2h", 7_200_000), ("21d", 1_814_400_000)],
)
def test_durations(text: str, milliseconds: int) -> None:
    """A duration is a whole number and a unit; it is written back as it was."""
    assert durations.parse(text) == milliseconds
    assert durations.text(milliseconds) == text


def test_duration_without_unit() -> None:
    """A bare number is refused: nobody could tell its unit."""
    assert problems(order(line_4="deadline: 30")) == [
        "order.yaml:4:11: deadline: 30 has no unit; write 30ms, 30s, 30m, 30h or 30d"
    ]


@pytest.mark.parametrize("text", ["1h30m", "1.5s", "-1s", "30 s", "soon", "30S"])
def test_no_duration(text: str) -> None:
    """Anything but one number and one unit is refused."""
    assert problems(order(line_4=f"deadline: {text}")) == [
        (
            f"order.yaml:4:11: deadline: {text!r} is not a duration; "
            f"write a whole number and a unit: 200ms, 30s, 15m, 2h or 21d"
        )
    ]


@pytest.mark.parametrize("text", ["0s", "4000d"])
def test_duration_out_of_range(text: str) -> None:
    """No time at all and more than ten years are typing errors."""
    assert problems(order(line_4=f"deadline: {text}")) == [
        f"order.yaml:4:11: deadline: {text!r} is out of range; write a duration from 1ms to 3650d"
    ]


# -- names


@pytest.mark.parametrize("name", ["Order", "order-1", "1st", "größe", "a" * 64])
def test_saga_name(name: str) -> None:
    """A saga's name is a-z, 0-9 and _."""
    assert problems(order(line_1=f"saga: {name}")) == [
        (
            f"order.yaml:1:7: saga: {name!r} is not a name; "
            f"use a-z, 0-9 and _, starting with a letter, at most 63 characters"
        )
    ]


def test_step_name() -> None:
    """A step's name is a-z, 0-9 and _."""
    assert problems(order(line_7="  Stock:", line_13="")) == [
        (
            "order.yaml:7:3: steps.Stock: 'Stock' is not a name; "
            "use a-z, 0-9 and _, starting with a letter, at most 63 characters"
        )
    ]


@pytest.mark.parametrize("name", ["start", "event", "item"])
def test_reserved_step_name(name: str) -> None:
    """A step can't have the name of a scope."""
    assert problems(order(line_7=f"  {name}:", line_13="")) == [
        f"order.yaml:7:3: steps.{name}: {name!r} is a reserved word; choose another name for the step"
    ]


def test_type_without_namespace() -> None:
    """A message type is a full name."""
    assert problems(order(line_3="starts_on: Ordered")) == [
        (
            "order.yaml:3:12: starts_on: 'Ordered' is not a message type; "
            "write an Avro full name such as shop.OrderPlaced"
        )
    ]


@pytest.mark.parametrize("topic", ["cmd/parcel", ".", "..", "a" * 250])
def test_topic_name(topic: str) -> None:
    """A topic that Kafka would refuse is refused here."""
    assert problems(order(line_14=f"    command: {{type: parcel.Book, topic: {topic}}}")) == [
        (
            f"order.yaml:14:41: steps.parcel.command.topic: {topic!r} is not a topic name; "
            "use letters, digits, '.', '_' and '-', at most 249, and more than '.' or '..'"
        )
    ]


@pytest.mark.parametrize("topic", ["cmd/parcel", ".", "..", "a" * 250])
def test_topic_name_of_a_schema(topic: str) -> None:
    """So is one that a command's schema names."""
    book = record("parcel.Book", topic, order_id="string", sku="string", shelf="string")
    assert problems(order(), book) == [
        (
            f"order.yaml:14:14: parcel.Book is sent to {topic!r}, which is not a topic name; use letters, digits, '.', '_' and '-', "
            "at most 249, and more than '.' or '..': write another \"kantor.topic\" in its .avsc file"
        )
    ]


def test_the_longest_topic_name() -> None:
    """Kafka takes it, and names that begin with dots."""
    for topic in ("...", "a" * 249):
        assert problems(order(line_14=f"    command: {{type: parcel.Book, topic: {topic}}}")) == []


def test_kantors_own_topic() -> None:
    """Commands can't be sent into Kantor's own topics."""
    assert problems(order(line_14="    command: {type: parcel.Book, topic: sys.kantor.journal}")) == [
        (
            "order.yaml:14:41: steps.parcel.command.topic: 'sys.kantor.journal' is Kantor's own topic; "
            "send commands to a cmd.<service>.v1 topic"
        )
    ]


# -- retries


def test_retry_bounds() -> None:
    """A number out of range is refused with the bound."""
    assert problems(order(line_16="    retry: {attempts: 0}")) == [
        "order.yaml:16:23: steps.parcel.retry.attempts: 0 is too small; write at least 1"
    ]


def test_retry_backoff_above_its_cap() -> None:
    """A cap below the first backoff contradicts it."""
    assert problems(order(line_16="    retry: {attempts: 3, backoff: 10s, max_backoff: 1s}")) == [
        (
            "order.yaml:16:5: steps.parcel.retry: max_backoff 1s is shorter than backoff 10s; "
            "swap them or drop max_backoff"
        )
    ]


def test_retry_long_backoff_lifts_the_default_cap() -> None:
    """A first backoff above the default cap is kept."""
    retry = model(order(line_16="    retry: {attempts: 3, backoff: 5m}")).steps["parcel"].retry
    assert (retry.backoff, retry.max_backoff) == (300_000, 300_000)


def test_retry_jitter() -> None:
    """An unknown jitter is refused with the known ones."""
    assert problems(order(line_16="    retry: {attempts: 3, jitter: some}")) == [
        "order.yaml:16:34: steps.parcel.retry.jitter: 'some' is not known; write 'none', 'equal' or 'full'"
    ]


def test_compensation_is_patient() -> None:
    """A compensation is repeated for long, unless the definition says otherwise."""
    said = "    compensate_with: {command: parcel.Cancel, retry: {attempts: 3}}"
    reverse = model(order(line_17=said)).steps["parcel"].compensate_with
    assert reverse is not None
    assert (reverse.retry.attempts, reverse.retry.max_backoff) == (3, 300_000)


# -- fields


def test_bare_field_name() -> None:
    """A name without a scope is refused: it may be a field or a text."""
    assert problems(order(line_14="    command: {type: parcel.Book, fields: {sku: sku}}")) == [
        (
            "order.yaml:14:48: steps.parcel.command.fields.sku: 'sku' does not say whose field it is; "
            "write start.sku or STEP.sku, or \"'sku'\" if the text itself is meant"
        )
    ]


@pytest.mark.parametrize(
    "text", ["string(start.price + 2)", "string(size(start.sku))", "start.sku + '-' + stock.shelf"]
)
def test_expressions(text: str) -> None:
    """A field may be filled with an expression (CEL)."""
    assert problems(order(line_14=f"    command: {{type: parcel.Book, fields: {{sku: {text}}}}}")) == []


def test_expression_with_a_syntax_error() -> None:
    """What is wrong with an expression is told with the place in it."""
    assert problems(order(line_14="    command: {type: parcel.Book, fields: {sku: start.sku +}}")) == [
        (
            "order.yaml:14:48: steps.parcel.command.fields.sku: the expression 'start.sku +' is wrong "
            "at character 12: mismatched input '<EOF>'; correct it (https://cel.dev has the syntax)"
        )
    ]


def test_expression_with_an_unknown_function() -> None:
    """A function that nobody has is a typing error."""
    (problem,) = problems(order(line_16="    when: siz(start.sku) > 3"))
    assert "16:11: steps.parcel.when: the expression 'siz(start.sku) > 3' calls siz()" in problem


def test_field_with_a_list() -> None:
    """A list can't fill a field."""
    assert problems(order(line_14="    command: {type: parcel.Book, fields: {sku: [1]}}")) == [
        (
            "order.yaml:14:43: steps.parcel.command.fields.sku: [1] can't fill a field; "
            "write start.FIELD, STEP.FIELD or a literal"
        )
    ]
