"""Fields tagged as personal data, wherever a schema may hold them."""

from __future__ import annotations

from typing import Any

import pytest

from kantor_orchestrator.definitions.personal import MASK, masked, personal_names

TAGGED = {"confluent:tags": ["PII"]}


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "shop.Order", "fields": list(fields)}


PERSON = {
    "type": "record",
    "name": "Person",
    "fields": [{"name": "name", "type": "string", **TAGGED}, {"name": "age", "type": "int"}],
}


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ({"name": "f", "type": "string", **TAGGED}, "x", MASK),
        ({"name": "f", "type": "string"}, "x", "x"),
        ({"name": "f", "type": "string", "confluent:tags": ["OTHER"]}, "x", "x"),
        ({"name": "f", "type": ["null", "string"], **TAGGED}, None, MASK),
        ({"name": "f", "type": {"type": "string", **TAGGED}}, "x", MASK),
        ({"name": "f", "type": ["null", {"type": "string", **TAGGED}]}, "x", MASK),
        ({"name": "f", "type": ["null", {"type": "string", **TAGGED}]}, None, None),
        ({"name": "f", "type": PERSON}, {"name": "ann", "age": 3}, {"name": MASK, "age": 3}),
        ({"name": "f", "type": ["null", PERSON]}, {"name": "ann", "age": 3}, {"name": MASK, "age": 3}),
        (
            {"name": "f", "type": {"type": "array", "items": PERSON}},
            [{"name": "ann", "age": 3}],
            [{"name": MASK, "age": 3}],
        ),
        (
            {"name": "f", "type": {"type": "map", "values": PERSON}},
            {"a": {"name": "b", "age": 1}},
            {"a": {"name": MASK, "age": 1}},
        ),
        (
            {"name": "f", "type": {"type": "map", "values": {"type": "string", **TAGGED}}},
            {"a": "b"},
            {"a": MASK},
        ),
    ],
)
def test_what_is_tagged_is_masked_and_the_rest_is_not(field: dict[str, Any], value: Any, shown: Any) -> None:
    """In records, arrays, maps and unions."""
    found, clean = masked({"f": value, "other": 1}, record(field, {"name": "other", "type": "int"}))
    assert found == {"f": shown, "other": 1}
    assert clean is ("PII" not in repr(field))


def test_a_type_that_is_used_again_by_name_is_masked_there_too() -> None:
    """Avro defines a named type once."""
    schema = record(
        {"name": "a", "type": PERSON}, {"name": "b", "type": "shop.Person"}, {"name": "c", "type": "Person"}
    )
    someone = {"name": "ann", "age": 3}
    found, _ = masked({"a": someone, "b": someone, "c": someone}, schema)
    assert found == {key: {"name": MASK, "age": 3} for key in "abc"}


def test_keys_are_personal_if_a_message_says_so() -> None:
    """Captured fields keep their names."""
    schemas = [
        record({"name": "email", "type": "string", **TAGGED}),
        record({"name": "order_id", "type": "string"}),
    ]
    assert personal_names(schemas) == {"email"}
