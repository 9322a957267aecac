"""Timers that are due: what the engine's thread waits for, and what it does not (shard-18,
shard-19, watermarks-1, watermarks-2).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import Admin
from kantor.errors import KafkaUnavailableError
from kantor.testing.clock import EPOCH, VirtualClock
from kantor_orchestrator.core.transaction import StepState, StepStatus, Transaction
from kantor_orchestrator.engine.appending import EngineEntries
from kantor_orchestrator.engine.firing import Firing
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.timers import ShardTimers
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.watermarks import Watermarks
from kantor_orchestrator.metrics import EngineMetrics

NOW = EPOCH
DUE = NOW


class Later(Executor):
    """Does nothing until it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.asked.append((future, function, arguments))
        return future

    def answer(self) -> None:
        future, function, arguments = self.asked.pop()
        try:
            future.set_result(function(*arguments))
        except KafkaUnavailableError as error:
            future.set_exception(error)


class Place:
    """A firing with a shard whose step has timed out; ``end``: the journal's, None: Kafka is away; ``low``: intake's."""

    def __init__(self) -> None:
        self.end: int | None = 5
        self.low, self.wanted = DUE + 1, list[int]()
        self.fired: list[str] = []
        self.lost: list[Callable[[], None]] = []
        self.later = Later()
        watermarks = SimpleNamespace(low=lambda: self.low, want=self.wanted.append)
        appender = SimpleNamespace(timer=self._append)
        self.clock = VirtualClock()
        self.time = time = BrokerTime(self.clock)
        time.writing()(NOW + 1_000)
        self.firing = Firing(
            cast("EngineEntries", appender),
            cast("Admin", self),
            self.later,
            cast("Watermarks", watermarks),
            EngineMetrics(CollectorRegistry()),
            time,
        )
        step = StepState(status=StepStatus.ACTIVE, due=DUE, timer="timeout", round=1, attempt=1)
        txn = Transaction("t", "s", 1, steps={"a": step})
        timers = ShardTimers(horizon=1 << 60)
        timers.set((DUE, "t", "timeout", "a", 1, 1))
        self.shard = SimpleNamespace(
            number=0, position=5, sampled_end=None, sampled_at=0.0, timers=timers, load_timers=lambda _: None, pending=[],
            load_released=lambda _: None, timed=lambda _: txn, is_behind=False, not_before=0.0,
        )  # fmt: skip

    def _append(
        self,
        _shard: int,
        id_: str,
        _timer: Any,
        written: Callable[[int], None],
        lost: Callable[[], None],
    ) -> None:
        self.written = written
        self.fired.append(id_)
        self.lost.append(lost)

    def ends(self, partitions: list[tuple[str, int]], timeout: float) -> dict[tuple[str, int], int]:
        if self.end is None:
            raise KafkaUnavailableError("away")
        return dict.fromkeys(partitions, self.end)

    def fire(self) -> None:
        self.firing.fire_due(cast("Shard", self.shard))


@pytest.fixture
def place() -> Place:
    return Place()


def test_the_journals_end_is_not_waited_for(place: Place) -> None:
    """It is asked for once, by another thread; the timeout is told when its answer is there."""
    place.fire()
    place.fire()
    assert (len(place.later.asked), place.fired) == (1, [])
    place.later.answer()
    place.fire()
    assert place.fired == ["t"]


def test_a_timeout_waits_until_the_journal_was_read_up_to_the_end(place: Place) -> None:
    """Up to the one that was asked for: what comes meanwhile does not hold it up."""
    place.end = 7
    place.fire()
    place.later.answer()
    place.fire()
    place.end = 9
    assert place.fired == []
    place.shard.position = 7
    place.fire()
    assert (place.fired, place.later.asked) == (["t"], [])


def test_it_is_asked_again_where_kafka_did_not_answer(place: Place) -> None:
    """Nothing goes off by the clock alone."""
    place.end = None
    place.fire()
    place.later.answer()
    place.fire()
    assert place.fired == []
    place.end = 5
    place.fire()
    place.later.answer()
    place.fire()
    assert place.fired == ["t"]


def test_a_verdict_waits_for_what_intake_has_not_journaled(place: Place) -> None:
    """An answer may be in there: intake is asked how far it is, and nothing goes off."""
    place.low = DUE - 1
    place.fire()
    assert (place.wanted, place.later.asked, place.fired) == ([0], [], [])


def test_nobody_is_asked_about_a_step_that_is_done(place: Place) -> None:
    """Its timer is still there when its time comes, as each step leaves one: intake would be asked without a pause."""
    place.low = DUE - 1
    place.shard.timed(0).steps["a"].status = StepStatus.SUCCEEDED
    place.shard.timed(0).steps["a"].timer = ""
    place.fire()
    assert (place.wanted, place.later.asked, place.fired) == ([], [], [])
    assert place.shard.timers.verdicts.first() == 0


def test_a_mark_from_the_future_lets_nothing_go_off_early(place: Place) -> None:
    """A broker's clock was ahead when it stamped the question: a timer that is not due by now is not due."""
    place.low = 1 << 62
    place.shard.timers.set((DUE + 60_000, "t", "timeout", "b", 1, 1))
    place.shard.timed(0).steps["b"] = StepState(
        status=StepStatus.ACTIVE, due=DUE + 60_000, timer="timeout", round=1, attempt=1
    )
    for _ in range(3):
        place.fire()
        for _ in list(place.later.asked):
            place.later.answer()
    assert place.fired == ["t"]
    assert place.shard.timers.verdicts.first() == DUE + 60_000


def test_a_timer_whose_entry_was_lost_fires_again(place: Place) -> None:
    """It is written once, unless the broker did not take it."""
    for _ in range(2):
        place.fire()
        place.later.answer()
        place.fire()
        place.fire()
        assert place.later.asked == []
        place.lost[-1]()
    assert place.fired == ["t", "t"]


@pytest.mark.parametrize("facts", [{"is_behind": True}, {"not_before": 1.0}, {"pending": range(100_000)}])
def test_a_shard_that_cannot_process_fires_nothing(place: Place, facts: dict[str, Any]) -> None:
    """Its entries would pile up behind what it can't look at."""
    vars(place.shard).update(facts)
    place.fire()
    assert (place.fired, place.later.asked) == ([], [])


def test_what_became_known_while_the_end_was_asked_for_counts_for_the_next_time(place: Place) -> None:
    """The end belongs to the watermark that was known before it was asked for: an answer may lie behind it."""
    place.low = DUE
    place.shard.timers.set((DUE + 50, "t", "timeout", "b", 1, 1))
    place.fire()
    place.low = DUE + 100
    place.later.answer()
    place.fire()
    assert place.fired == ["t"]
    assert place.shard.timers.verdicts.first() == DUE + 50


def test_a_broker_whose_clock_leaps_ahead_lets_nothing_go_off_early(place: Place) -> None:
    """Neither a timeout of seconds nor one of days; when that time has passed for this machine, too, they go off."""
    due = DUE + 30_000
    place.shard.timers.verdicts._heap.clear()
    place.shard.timers.set((due, "t", "timeout", "a", 1, 1))
    place.shard.timed(0).steps["a"].due = due
    place.time.writing()(DUE + 86_400_000)
    place.low = DUE + 86_400_000
    place.fire()
    assert (place.later.asked, place.wanted, place.fired) == ([], [], [])
    place.clock.sleep(30)
    place.fire()
    place.later.answer()
    place.fire()
    assert place.fired == ["t"]


def test_a_clock_that_went_back_is_noticed_with_the_first_entry(place: Place) -> None:
    """It was stamped before the timer was due: nothing more goes off until that is so. It would go off as fast as entries can be
    written, each of which comes too early."""
    place.fire()
    place.later.answer()
    place.fire()
    assert place.time.now() > NOW
    place.written(NOW - 500)
    assert place.time.now() == NOW - 500
    place.shard.timers.fired.clear()
    place.shard.timers.set((DUE, "t", "timeout", "a", 1, 1))
    place.fire()
    assert place.later.asked == []


def test_an_answer_that_never_comes_is_not_waited_for_for_ever(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client hangs: the end is asked for again, and the timeout goes off."""
    place.fire()
    place.clock.sleep(19)
    place.fire()
    assert len(place.later.asked) == 1
    place.clock.sleep(2)
    place.fire()
    place.fire()
    assert len(place.later.asked) == 2
    assert "timers wait" in caplog.text
    place.later.answer()
    place.fire()
    assert place.fired == ["t"]


def test_a_release_that_is_due_at_once_holds_up_no_other_timer(place: Place) -> None:
    """It is due at 0, which is not the same as that nothing is due: no pause of its shard would end any more."""
    place.shard.timed = lambda _: Transaction("h", "s", 1, held="ann: wait")
    place.shard.timers.set_all(place.shard.timed("h"))
    place.fire()
    assert place.fired == ["h"]
