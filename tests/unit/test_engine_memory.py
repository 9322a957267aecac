"""When a shard looks at a transaction again: its timers and its retained record's expiry, as the store has them (shard-10)."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.engine.memory import expiry, next_due


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.COMPENSATED, Status.CLOSED])
def test_a_stub_expires_unless_it_is_held(status: Status) -> None:
    """While it is held it has no expiry: else the oldest of all, it would be looked at with every checkpoint, before others."""
    assert expiry(Transaction("t", "s", 1, status, expires_at=7)) == 7
    assert expiry(Transaction("t", "s", 1, status, expires_at=0, held="held by ann: why")) is None


def test_what_is_alive_does_not_expire() -> None:
    """Only retained records do."""
    assert expiry(Transaction("t", "s", 1, Status.RUNNING, expires_at=7)) is None


def test_timers_of_a_held_transaction_are_due_after_all_others() -> None:
    """None of them before the release, its deadline neither."""
    running = Transaction("t", "s", 1, Status.RUNNING, deadline=9)
    held = Transaction("t", "s", 1, Status.RUNNING, deadline=9, held="held by ann: why")
    due = next_due(held)
    assert next_due(running) == 9
    assert due is not None
    assert due > 1 << 60
