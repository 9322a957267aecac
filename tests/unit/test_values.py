"""Captured values as JSON text."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kantor_orchestrator.core.values import dump, load


@pytest.mark.parametrize("kind", ["$decimal", "$bytes", "$date", "$datetime", "$time", "$uuid"])
def test_a_map_of_somebodys_own_that_looks_like_a_value_of_ours(kind: str) -> None:
    """What was written can be read, whatever keys a message's map has: else the state that holds it could not be restored."""
    for value in ({kind: "no such value"}, {kind: 7}, {kind: None}):
        assert load(dump({"map": value})) == {"map": value}


def test_values_that_json_lacks() -> None:
    """They come back as they were."""
    assert load(dump({"amount": Decimal("1.10")})) == {"amount": Decimal("1.10")}
