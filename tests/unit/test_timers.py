"""A shard's timers in memory."""

from __future__ import annotations

from kantor_orchestrator.core.transaction import Status, StepState, StepStatus, Transaction
from kantor_orchestrator.timers import REFIRE, Timer, Timers


def waiting(due: int, attempt: int = 1) -> Transaction:
    step = StepState(StepStatus.ACTIVE, attempt=attempt, timer="timeout", due=due)
    return Transaction("t", saga="s", version=1, status=Status.RUNNING, steps={"pay": step})


def timer(due: int, attempt: int = 1) -> Timer:
    return due, "t", "timeout", "pay", 1, attempt


def test_a_timer_is_not_due_early() -> None:
    """None early."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(99, 99, lambda _: waiting(100)) == []


def test_a_due_timer_comes_with_what_it_was_set_for() -> None:
    """The entry that it becomes tells which attempt it ends."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(100, 100, lambda _: waiting(100)) == [timer(100)]


def test_a_fired_timer_comes_again_until_it_is_applied() -> None:
    """None lost: the firing's entry may never have reached the journal."""
    timers = Timers()
    timers.add(timer(100))
    timers.due(100, 100, lambda _: waiting(100))
    assert timers.due(100 + REFIRE, 100 + REFIRE, lambda _: waiting(100)) == [timer(100)]


def test_a_timer_whose_attempt_is_over_is_dropped() -> None:
    """A newer attempt has a timer of its own."""
    timers = Timers()
    timers.add(timer(100, attempt=1))
    assert timers.due(200, 200, lambda _: waiting(500, attempt=2)) == []
    assert timers.first() == 0


def test_a_timer_of_a_transaction_that_is_gone_is_dropped() -> None:
    """An ended transaction's timers do nothing."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(200, 200, lambda _: None) == []


def test_a_timer_that_was_set_to_a_later_time_waits_for_it() -> None:
    """Progress may push a timeout: the old time no longer counts."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(150, 150, lambda _: waiting(300)) == []
