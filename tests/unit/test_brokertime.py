"""What time it is for the broker, and what of that is certain."""

from __future__ import annotations

import pytest

from kantor.testing.clock import EPOCH, SkewedClock, VirtualClock
from kantor_orchestrator.formats.brokertime import SKEW, BrokerTime

HOUR = 3_600_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.mark.parametrize("skew", [-120, -5, 0, 5, 119])
def test_a_machine_that_is_two_minutes_off_is_on_time(clock: VirtualClock, skew: int) -> None:
    """What is due by the broker's clock is due."""
    time = BrokerTime(SkewedClock(clock, -skew))
    time.writing()(EPOCH)
    assert time.certain() == time.now() == EPOCH
    assert time.ahead() == skew * 1000


def test_old_stamps_delay_nothing(clock: VirtualClock) -> None:
    """An engine that lags reads what was stamped hours ago; that says nothing of how far the clocks are apart."""
    time = BrokerTime(clock)
    time.observe(EPOCH - HOUR)
    time.observe(EPOCH)
    assert time.certain() == EPOCH


def test_a_leap_is_not_certain(clock: VirtualClock) -> None:
    """The process begins in the middle of it: two minutes at most. It was there before: moments."""
    begins, was_there = BrokerTime(clock), BrokerTime(clock)
    was_there.writing()(EPOCH)
    for time in (begins, was_there):
        time.writing()(EPOCH + HOUR)
        assert time.now() == EPOCH + HOUR
    assert begins.certain() == EPOCH + SKEW
    assert was_there.certain() <= EPOCH + 2_000


def test_a_leap_that_stays_is_believed_up_to_what_clocks_may_differ(clock: VirtualClock) -> None:
    """The broker's clock was behind, and was set right."""
    time = BrokerTime(clock)
    for minute in range(13):
        time.writing()(clock.now() + (90_000 if minute else 0))
        assert (time.certain() == time.now()) == (minute in (0, 12))
        clock.sleep(60)


def test_a_leap_is_over_at_once_when_the_clock_is_right_again(clock: VirtualClock) -> None:
    """It does not add up with the next one."""
    time = BrokerTime(clock)
    for ahead in (0, HOUR, 0, HOUR, 0):
        clock.sleep(400)
        time.writing()(clock.now() + ahead)
        assert time.certain() <= clock.now() + 2_000


def test_what_was_written_was_stamped_after_it_was_handed_over(clock: VirtualClock) -> None:
    """So a clock that is told to be later than that is ahead; how long the answer took does not matter."""
    time = BrokerTime(clock)
    time.observe(EPOCH + 700)
    written = time.writing()
    clock.sleep(3)
    written(EPOCH + 1_000)
    assert time.now() == EPOCH + 3_700  # it may have been stamped at the end of these 3 s
    written(EPOCH + 200)
    assert time.now() == EPOCH + 3_200


def test_a_slow_answer_does_not_make_the_clocks_differ(clock: VirtualClock) -> None:
    """The broker was busy: what is due is not late because of it."""
    time = BrokerTime(clock)
    written = time.writing()
    written(EPOCH)
    clock.sleep(30)
    written(EPOCH)
    time.writing()(EPOCH + 30_000)
    assert time.certain() == EPOCH + 30_000
