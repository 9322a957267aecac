"""A shard's timers in memory (shard-16, shard-17)."""

from __future__ import annotations

from kantor_orchestrator.core.transaction import Status, StepState, StepStatus, Transaction
from kantor_orchestrator.engine.timers import PlannedTimer, ShardTimers, Timers


def waiting(due: int, attempt: int = 1) -> Transaction:
    step = StepState(StepStatus.ACTIVE, attempt=attempt, timer="timeout", due=due)
    return Transaction("t", saga="s", version=1, status=Status.RUNNING, steps={"pay": step})


def timer(due: int, attempt: int = 1) -> PlannedTimer:
    return due, "t", "timeout", "pay", 1, attempt


def test_a_timer_is_not_due_early() -> None:
    """None early."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(99, lambda _: waiting(100)) == []


def test_a_due_timer_comes_with_what_it_was_set_for() -> None:
    """The entry that it becomes tells which attempt it ends."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(100, lambda _: waiting(100)) == [timer(100)]


def test_what_no_longer_counts_is_not_the_first() -> None:
    """Its step was done long before: nobody is asked whether its time has come."""
    timers = Timers()
    timers.add(timer(100))
    timers.add(timer(120, attempt=2))
    assert timers.first_set(110, lambda _: None) == 120
    assert timers.first_set(200, lambda _: waiting(120, attempt=2)) == 120
    assert timers.first_set(200, lambda _: None) == 0


def test_one_that_was_put_off_counts_when_it_is_due_now() -> None:
    """Progress set it again, and the new time has its place, too."""
    timers = Timers()
    timers.add(timer(100))
    timers.add(timer(300))
    assert timers.first_set(110, lambda _: waiting(300)) == 300
    assert timers.due(300, lambda _: waiting(300)) == [timer(300)]


def test_a_timer_is_taken_out_once() -> None:
    """Its entry is on its way: it is written once for each time it fires."""
    timers = Timers()
    timers.add(timer(100))
    timers.due(100, lambda _: waiting(100))
    assert timers.due(1_000_000, lambda _: waiting(100)) == []


def test_a_timer_that_fired_too_early_waits_again() -> None:
    """Progress pushed it while its entry was under way: the entry does nothing, and the timer goes off later."""
    timers = ShardTimers(horizon=1_000)
    timers.fired.add(timer(100)[1:])
    timers.applied(timer(100)[1:], waiting(300))
    assert (timers.fired, timers.verdicts.first()) == (set(), 300)


def test_a_timer_that_did_its_work_is_forgotten() -> None:
    """The transaction has moved on."""
    timers = ShardTimers(horizon=1_000)
    timers.fired.add(timer(100)[1:])
    timers.applied(timer(100)[1:], waiting(300, attempt=2))
    assert (timers.fired, timers.verdicts.first()) == (set(), 0)


def test_a_timer_that_is_due_late_is_left_in_the_store() -> None:
    """Waiting costs disk, not memory."""
    timers = ShardTimers(horizon=1_000)
    timers.set(timer(1_000))
    assert timers.verdicts.first() == 0


def test_a_timer_whose_attempt_is_over_is_dropped() -> None:
    """A newer attempt has a timer of its own."""
    timers = Timers()
    timers.add(timer(100, attempt=1))
    assert timers.due(200, lambda _: waiting(500, attempt=2)) == []
    assert timers.first() == 0


def test_a_timer_of_a_transaction_that_is_gone_is_dropped() -> None:
    """An ended transaction's timers do nothing."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(200, lambda _: None) == []


def test_a_timer_that_was_set_to_a_later_time_waits_for_it() -> None:
    """Progress may push a timeout: the old time no longer counts."""
    timers = Timers()
    timers.add(timer(100))
    assert timers.due(150, lambda _: waiting(300)) == []
