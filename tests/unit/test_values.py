"""Captured values as JSON text."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kantor_orchestrator.core.values import dump, load, plain


@pytest.mark.parametrize("kind", ["$decimal", "$bytes", "$date", "$datetime", "$time", "$uuid"])
def test_a_map_of_somebodys_own_that_looks_like_a_value_of_ours(kind: str) -> None:
    """What was written can be read, whatever keys a message's map has: else the state that holds it could not be restored."""
    for value in ({kind: "no such value"}, {kind: 7}, {kind: None}):
        assert load(dump({"map": value})) == {"map": value}


def test_values_that_json_lacks() -> None:
    """They come back as they were."""
    assert load(dump({"amount": Decimal("1.10")})) == {"amount": Decimal("1.10")}


def test_what_is_nested_is_looked_at_once() -> None:
    """Else twenty levels cost a second, and thirty an hour of everybody's time."""
    value: object = 1 << 64
    for _ in range(90):
        value = {"a": [value]}
    assert load(dump(value)) == value


def test_what_is_too_deep_to_be_read_again_is_not_written() -> None:
    """A state that can't be read would stop its shard."""
    value: object = "$"
    for _ in range(300):
        value = [value]
    with pytest.raises(ValueError, match="nested more than 200 deep"):
        plain(value)
