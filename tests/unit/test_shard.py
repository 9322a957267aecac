"""When a shard looks at a transaction again: its timers and its stub's expiry, as the store has them."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.shard import _expiry, _next_due


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.COMPENSATED, Status.CLOSED])
def test_a_stub_expires_unless_it_is_held(status: Status) -> None:
    """While it is held it has no expiry: else the oldest of all, it would be looked at with every batch, before others."""
    assert _expiry(Transaction("t", "s", 1, status, expires_at=7)) == 7
    assert _expiry(Transaction("t", "s", 1, status, expires_at=0, held="held by ann: why")) is None


def test_what_is_alive_does_not_expire() -> None:
    """Only stubs do."""
    assert _expiry(Transaction("t", "s", 1, Status.RUNNING, expires_at=7)) is None


def test_timers_of_a_held_transaction_are_due_after_all_others() -> None:
    """None of them before the release, its deadline neither."""
    running = Transaction("t", "s", 1, Status.RUNNING, deadline=9)
    held = Transaction("t", "s", 1, Status.RUNNING, deadline=9, held="held by ann: why")
    due = _next_due(held)
    assert _next_due(running) == 9
    assert due is not None
    assert due > 1 << 60
