"""YAML: places for every word, and none of its surprises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kantor_orchestrator.definitions import yaml_source
from kantor_orchestrator.definitions.reading import Reading
from unit.definitions_kit import ORDER, model, order, problems, read


def value_of(text: str) -> Any:
    """What a field is filled with when ``text`` is written."""
    reading = read(order(line_14=f"    command: {{type: parcel.Book, fields: {{sku: {text}}}}}"))
    step = reading.models()[0].model.steps["parcel"]
    assert step.command is not None
    return step.command.fields["sku"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-1", -1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("\"'no'\"", "'no'"),
    ],
)
def test_plain_values(text: str, value: object) -> None:
    """Only true, false, null and decimal numbers are no text."""
    assert repr(value_of(text)) == repr(value)


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "Y", "True", "NULL", "010", "0x1F", "1_000", "+1", ".5", ".inf"]
)
def test_surprises_stay_text(text: str) -> None:
    """What YAML 1.1 turns into booleans, octal numbers and so on stays the text that it looks like."""
    assert model(order(line_5=f"keys: [{text}]")).keys == (text,)


@pytest.mark.parametrize("text", ["1:30", "2026-01-31", "2026-01-31T10:00:00Z"])
def test_times_stay_text(text: str) -> None:
    """Sexagesimal numbers and dates stay text, so that a wrong duration is refused as it was written."""
    assert problems(order(line_4=f"deadline: {text}")) == [
        (
            f"order.yaml:4:11: deadline: {text!r} is not a duration; "
            f"write a whole number and a unit: 200ms, 30s, 15m, 2h or 21d"
        )
    ]


def test_version_in_quotes_is_text() -> None:
    """A number in quotes is text."""
    assert problems(order(line_2='version: "1"')) == [
        "order.yaml:2:10: version: expected a whole number, got '1'; write a whole number"
    ]


def test_duplicate_key() -> None:
    """A key that is written twice is refused, naming both lines."""
    assert problems(order(line_9="    succeeds_on: stock.Rejected")) == [
        "order.yaml:9:5: `succeeds_on` is written twice (first in line 8); keep one"
    ]


def test_tag() -> None:
    """Tags are refused: they could mean anything."""
    assert problems(order(line_1="saga: !!python/name:os.system x")) == [
        "order.yaml:1:7: the tag tag:yaml.org,2002:python/name:os.system is not allowed; remove it"
    ]


def test_merge_key() -> None:
    """Merge keys are refused: readers rarely know which value wins."""
    assert problems(order(line_5="<<: {keys: [order_id]}")) == [
        "order.yaml:5:1: merge keys (<<) are not allowed; write the words out, or use an alias as a value"
    ]


def test_alias() -> None:
    """An alias stands for what its anchor holds."""
    text = order(line_8="    succeeds_on: &done stock.Reserved", line_11="    compensated_on: *done")
    assert read(text).models()[0].model.steps["stock"].compensated_on == "stock.Reserved"


def test_endless_alias() -> None:
    """An alias inside its own anchor is refused, not followed."""
    assert problems("saga: &a [*a]") == ["order.yaml:1:7: aliases that never end; write the part out"]


def test_key_that_is_no_word() -> None:
    """A mapping or list as a key is refused."""
    assert problems(order(line_5="[keys]: [order_id]")) == [
        "order.yaml:5:1: a key must be a word; write `word: value`"
    ]


def test_no_yaml() -> None:
    """What is no YAML is told with its place."""
    assert problems(order(line_3="starts_on: [shop.Ordered")) == [
        "order.yaml:4:9: not YAML: expected ',' or ']', but got ':'; check the indentation and quotes"
    ]


def test_unreadable_character() -> None:
    """A control character is told with its line."""
    assert problems("saga: order\nversion: \x07") == [
        "order.yaml:2: not YAML: special characters are not allowed; remove the character"
    ]


def test_several_documents() -> None:
    """A file may hold several sagas; empty documents between them do not count."""
    second = ORDER.replace("saga: order", "saga: other").replace("shop.Ordered", "shop.Wished")
    reading = read(f"# two sagas\n---\n{ORDER}---\n---\n{second}")
    assert [one.model.saga for one in reading.models()] == ["order", "other"]


def test_place_in_a_later_document() -> None:
    """Places count from the file's begin, not from the document's."""
    assert problems(f"{ORDER}---\nsaga: other\n") == [
        "order.yaml:20:1: starts_on is missing; add `starts_on:`",
        "order.yaml:20:1: steps is missing; add `steps:`",
        "order.yaml:20:1: version is missing; add `version:`",
    ]


def test_empty_file() -> None:
    """A file without a definition is refused."""
    assert problems("# nothing yet\n") == ["order.yaml: holds no definition; start with `saga: NAME`"]


def test_missing_file(tmp_path: Path) -> None:
    """A file that can't be read is a problem, not a traceback."""
    reading = Reading()
    yaml_source.load(tmp_path / "none.yaml", reading)
    assert "none.yaml: can't be read" in str(reading.problems[0])
