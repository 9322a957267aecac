"""The benchmark's measure of the view's lag."""

from __future__ import annotations

import pytest

from bench.view_lag import Look, worst_lag

S = 1_000_000_000


@pytest.mark.parametrize(
    ("looks", "lag"),
    [
        ([(0, 7), (10 * S, 10)], 0.0),  # all three are shown
        ([(0, 7), (3 * S, 7), (10 * S, 10)], 2.0),  # at 3 s the one of 1 s was not
        ([(0, 7), (3 * S, 8), (10 * S, 9)], 5.0),  # at 10 s the one of 5 s was not
        ([(0, 7), (S // 2, 7)], 0.0),  # nothing had ended yet
    ],
)
def test_the_lag_is_the_age_of_the_oldest_end_that_is_not_shown(looks: list[Look], lag: float) -> None:
    """Ends at 1, 2 and 5 s; seven were there before."""
    assert worst_lag(looks, [5 * S, 1 * S, 2 * S]) == lag
