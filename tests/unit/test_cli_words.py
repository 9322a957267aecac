"""How the terminal says durations."""

from __future__ import annotations

import pytest

from kantor_orchestrator.words import count, duration


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_250, "1.25 s"),
        (59_999, "60 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (3_600_000, "1 h"),
        (187_200_000, "2 d 4 h"),
        (-1_500, "-1.5 s"),
    ],
)
def test_durations_have_at_most_two_parts(milliseconds: int, text: str) -> None:
    """Short enough for a column, exact enough to compare."""
    assert duration(milliseconds) == text


def test_one_is_singular() -> None:
    """And large numbers are grouped."""
    assert (count(1, "record"), count(1_234, "record")) == ("1 record", "1,234 records")
