"""A commit that nobody waits for is asked again until it is confirmed (kit-3)."""

from __future__ import annotations

import pytest

from kantor.positions import AGAIN, Positions

A, B = ("t", 0), ("t", 1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def positions(clock: Clock) -> Positions:
    found = Positions(clock)
    found.asked({A: 5, B: 8})
    return found


def due_later(positions: Positions, clock: Clock) -> dict[tuple[str, int], int]:
    assert positions.due() == {}  # not at once
    clock.now += AGAIN
    return positions.due()


def test_what_is_confirmed_is_done(positions: Positions, clock: Clock) -> None:
    """It is never asked again."""
    positions.told(A, 5, is_committed=True)
    positions.told(B, 8, is_committed=True)
    assert due_later(positions, clock) == {}


def test_what_failed_is_asked_again(positions: Positions, clock: Clock) -> None:
    """After a pause, and again if it fails again."""
    positions.told(A, 5, is_committed=True)
    positions.told(B, 8, is_committed=False)
    for _ in range(2):
        assert due_later(positions, clock) == {B: 8}
        assert positions.due() == {}
        positions.told(B, 8, is_committed=False)


def test_the_latest_is_asked_again(positions: Positions, clock: Clock) -> None:
    """Not the one that failed."""
    positions.told(B, 8, is_committed=True)
    positions.asked({A: 6})
    positions.told(A, 5, is_committed=False)
    assert due_later(positions, clock) == {A: 6}


def test_an_older_one_that_comes_in_late(positions: Positions, clock: Clock) -> None:
    """It has set the group back: the latest is asked again, though it was confirmed."""
    positions.told(B, 8, is_committed=True)
    positions.asked({A: 6})
    positions.told(A, 6, is_committed=True)
    positions.told(A, 5, is_committed=True)
    assert due_later(positions, clock) == {A: 6}


def test_what_is_another_members_is_forgotten(positions: Positions, clock: Clock) -> None:
    """Its new owner may have committed more."""
    positions.told(A, 5, is_committed=False)
    positions.told(B, 8, is_committed=False)
    positions.forget([A])
    positions.told(A, 5, is_committed=False)
    assert due_later(positions, clock) == {B: 8}
