"""Timers that are due: what the engine's thread waits for, and what it does not."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import Admin, Clients
from kantor.clock import SYSTEM_CLOCK
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.core.transaction import StepState, StepStatus, Transaction
from kantor_orchestrator.firing import Firing
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.shard import Shard
from kantor_orchestrator.timers import Timers

DUE = 1_000


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
    """A firing with a shard whose step has timed out; ``end``: the journal's, None: Kafka is away."""

    def __init__(self) -> None:
        self.end: int | None = 5
        self.fired: list[bytes] = []
        self.later = Later()
        producer = SimpleNamespace(produce=lambda _topic, _value, key, *_: self.fired.append(key))
        clients = SimpleNamespace(producer=lambda *_, **__: producer)
        metrics = EngineMetrics(CollectorRegistry())
        self.firing = Firing(cast("Clients", clients), cast("Admin", self), self.later, metrics, SYSTEM_CLOCK)
        step = StepState(status=StepStatus.ACTIVE, due=DUE, timer="timeout", round=1, attempt=1)
        txn = Transaction("t", "s", 1, steps={"a": step})
        verdicts = Timers()
        verdicts.add((DUE, "t", "timeout", "a", 1, 1))
        self.shard = SimpleNamespace(
            number=0, position=5, fence=None, verdicts=verdicts, pauses=Timers(), load_timers=lambda _: None,
            load_released=lambda _: None, low_watermark=lambda: DUE + 1, timed=lambda _: txn,
        )  # fmt: skip

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
    assert place.fired == [b"t"]


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
    assert (place.fired, place.later.asked) == ([b"t"], [])


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
    assert place.fired == [b"t"]
