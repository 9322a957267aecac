"""A shard that can't be taken is named to everybody who watches, within ten seconds; its engine goes on with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import TopicSpec
from kantor.clock import Clock
from kantor.codec import MemorySchemas
from kantor.errors import KafkaUnavailableError
from kantor.testing import MemoryBroker
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.formats import marks, topics, watermarks
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.operations import standing
from kantor_orchestrator.process.wellness import Wellness

GOOD, BAD = 0, 1
JOURNAL = [(topics.JOURNAL, GOOD), (topics.JOURNAL, BAD)]


class Refusing(Executor):
    """Runs what it gets at once; but taking ``BAD`` fails, 21 seconds after it was begun."""

    def __init__(self, clock: Clock) -> None:
        self.refuses = True
        self._clock = clock
        self._waiting: list[tuple[float, Future[Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.refuses and fn.__name__ == "take" and args[0] == BAD:
            self._waiting.append((self._clock.monotonic() + 21, future))
        else:
            future.set_result(fn(*args, **kwargs))
        return future

    def tend(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._clock.monotonic():
            self._waiting.pop(0)[1].set_exception(
                KafkaUnavailableError("_TIMED_OUT: the coordinator is not there")
            )


class Running:
    """An engine with two shards, one of which can't be taken."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker()
        config = {"message.timestamp.type": "LogAppendTime"}
        names = (topics.JOURNAL, topics.STATE, topics.HISTORY)
        specs = [*(TopicSpec(name, 2, config) for name in names), TopicSpec(topics.WATERMARKS, 1, config)]
        self.broker.clients().admin().create_topics(specs)
        self.jobs = Refusing(self.broker.clock)
        self.registry = CollectorRegistry()
        self.wellness = Wellness(self.broker.clock.monotonic)
        self.engine = Engine(
            self.broker.clients(),
            2,
            folder,
            MemorySchemas(),
            Definitions(),
            EngineMetrics(self.registry),
            clock=self.broker.clock,
            jobs=self.jobs,
            wellness=self.wellness,
        )
        self.engine.start(lambda: None)

    def turn(self, seconds: float) -> None:
        until = self.broker.clock.monotonic() + seconds
        while self.broker.clock.monotonic() < until:
            self.jobs.tend()
            self.engine.turn()

    def untaken_seconds(self) -> float:
        return self.registry.get_sample_value("kantor_engine_untaken_seconds") or 0.0

    def told(self) -> list[tuple[int, str]]:
        """What ``kantor status`` makes of what the topic of watermarks says."""
        told = watermarks.read(self.broker.clients(), "test", self.broker.clock)
        found = standing.stand(told, 2, {"engine": JOURNAL}, self.broker.clock.now())
        return [(one.shard, one.why) for one in found.untaken]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.jobs.refuses = False
    running.engine.close()


def test_it_is_told_within_ten_seconds(running: Running) -> None:
    """In ``/readyz`` as something to wait for, in the metric, in ``kantor status``; a failed try then says why."""
    running.turn(9)
    (reason,) = running.wellness.waits()
    assert reason.startswith("shard 1 is not taken: ")
    assert running.untaken_seconds() >= 7
    assert [number for number, _ in running.told()] == [BAD]
    running.turn(21)
    assert "the coordinator is not there, for 30 s" in running.wellness.waits()[0]
    assert running.told() == [(BAD, "_TIMED_OUT: the coordinator is not there")]


def test_the_engine_is_not_to_be_replaced(running: Running) -> None:
    """It has the other shard, which would stand still for nothing."""
    running.turn(60)
    assert running.wellness.reasons() == []
    assert list(running.engine._shards) == [GOOD]


def test_all_is_well_once_it_is_taken(running: Running) -> None:
    """And an engine that ends takes back what it said."""
    running.turn(30)
    running.jobs.refuses = False
    running.turn(30)
    assert (running.wellness.waits(), running.untaken_seconds(), running.told()) == ([], 0.0, [])
    running.engine.close()
    assert watermarks.read(running.broker.clients(), "test", running.broker.clock).engines == {}


def test_an_engine_that_is_gone_is_told(running: Running) -> None:
    """Killed, it takes nothing back; but it has said nothing for too long."""
    running.jobs.refuses = False
    running.turn(5)
    running.broker.clock.sleep(30)
    assert running.told() == [(GOOD, SILENT), (BAD, SILENT)]


SILENT = "its engine has not reported"


def test_who_took_it_last_has_it(running: Running) -> None:
    """Two engines name one shard where the first was killed: the later word counts."""
    said = marks.Shards([GOOD], {BAD: (0, "no luck")}).dump()
    told = watermarks.Statements()
    told.take(b"engine/first", said, 1_000)
    told.take(b"engine/second", marks.Shards([BAD], {}).dump(), 2_000)
    assert standing.stand(told, 2, {"engine": JOURNAL}, 3_000).untaken == []


def test_a_shard_that_was_given_to_no_engine_is_told() -> None:
    """So it is while engines begin: nobody says that all is well."""
    told = watermarks.Statements()
    begins = standing.stand(told, 2, {"a": [], "b": []}, 1_000)
    assert [one.shard for one in begins.untaken] == [GOOD, BAD]
    (problem, *_) = standing.problems(begins)
    assert problem[0] == (
        "shards 0, 1 have no working engine: the group of engines has not assigned it to a member"
    )
    given = standing.stand(told, 2, {"a": JOURNAL}, 1_000)
    assert [one.why for one in given.untaken] == ["its engine is starting and has not reported it yet"] * 2


def test_a_watermark_that_stands_names_its_partition() -> None:
    """Two partitions, of which a member covers one; nobody covers the other."""
    told = watermarks.Statements()
    about = marks.About({"evt.x.v1": 2}, {"evt.x.v1": [0]}).dump()
    told.take(b"about/intake-1", about, 1_000)
    told.take(b"mark/intake-1", marks.Mark(900, marks.fingerprint(about)).dump(), 1_000)
    found = standing.stand(told, 0, {}, 61_000)
    assert [(one.name, one.partitions, one.age) for one in found.members] == [("intake-1", 1, 60_100)]
    ((what, _),) = standing.problems(found)
    assert (
        what
        == "every timeout waits: no topic is known to be journaled completely yet; evt.x.v1/1 holds it up"
    )


def test_a_partition_without_a_leader_is_named_with_what_waits() -> None:
    """A shard, or every timeout."""
    assert standing.leaderless((topics.STATE, 3))[0].startswith("sys.kantor.state/3 has no leader")
    assert "shard 3 waits" in standing.leaderless((topics.STATE, 3))[0]
    assert "every timeout waits" in standing.leaderless(("evt.x.v1", 0))[0]


def test_a_topic_that_was_recreated_is_told_for_a_day() -> None:
    """Whoever has transactions that wait for what was in it finds out why."""
    told = watermarks.Statements()
    said = marks.Shards([0], {}, {f"{topics.HISTORY}/0": 5_000})
    told.take(b"engine/e", said.dump(), 6_000)
    owners = {"e": [(topics.JOURNAL, 0)]}
    found = standing.stand(told, 1, owners, 65_000)
    assert standing.as_json(found)["recreated"] == [{"partition": f"{topics.HISTORY}/0", "age_ms": 60_000}]
    assert any(
        f"{topics.HISTORY}/0 turned out to be a different topic" in what
        for what, _ in standing.problems(found)
    )
    later = standing.stand(told, 1, owners, 90_000_000)
    assert not any("turned out to be a different topic" in what for what, _ in standing.problems(later))


def test_an_engine_that_its_group_has_lost_is_not_ready(running: Running) -> None:
    """It works on nothing, and said that it was ready, for as long as the group's coordinator was away."""
    running.turn(1)
    running.engine._lost(JOURNAL)
    running.turn(9)
    (reason,) = running.wellness.waits()
    assert reason.startswith("the group kantor-engine has lost this process")
    running.engine._assigned([])  # the group's answer, though it gives it nothing
    running.turn(2)
    assert running.wellness.waits() == []


def test_a_shard_that_is_retaken_again_and_again_is_told(running: Running) -> None:
    """It is taken each time, and gets no further: its log refuses a record, for example. `/readyz` said that all is well."""
    running.jobs.refuses = False
    running.turn(2)
    for _ in range(4):
        running.engine._lose(running.engine._shards[GOOD], KafkaUnavailableError("the log takes no more"))
        running.turn(2.5)
    (reason,) = running.wellness.waits()
    assert reason.startswith("shard 0 is retaken again and again at 0: the log takes no more, for ")
    running.turn(31)
    assert running.wellness.waits() == []


def test_a_shard_that_gets_no_further_is_retaken_more_and_more_seldom(running: Running) -> None:
    """Each time appends an epoch to its log: its history refuses each record, say, and would be filled with these."""
    running.jobs.refuses = False
    running.turn(2)
    began, lost = running.broker.clock.monotonic(), 0
    while running.broker.clock.monotonic() < began + 60:
        if (shard := running.engine._shards.get(GOOD)) is not None:
            running.engine._lose(shard, KafkaUnavailableError("the log takes no more"))
            lost += 1
        running.turn(0.1)
    assert 9 <= lost <= 12


def test_a_shard_may_get_no_further_for_as_long_as_it_likes(running: Running) -> None:
    """After two hours the pause was more than a number holds, and the engine ended, with all its other shards."""
    running.jobs.refuses = False
    running.turn(2)
    shard, now = running.engine._shards[GOOD], running.broker.clock.monotonic()
    pauses = [
        running.engine._untaken.retaken(shard, now + 8 * n, KafkaUnavailableError("")) for n in range(1_100)
    ]
    assert (pauses[:7], set(pauses[7:])) == ([0, 0, 1, 2, 4, 8, 8], {8})


def test_the_reason_is_told_while_a_shard_waits_to_be_retaken(running: Running) -> None:
    """It waits for most of the time. `kantor status` said that its turn had not come."""
    running.jobs.refuses = False
    running.turn(2)
    for _ in range(6):
        running.engine._lose(running.engine._shards[GOOD], KafkaUnavailableError("the log takes no more"))
        running.turn(8.5)
    running.engine._lose(running.engine._shards[GOOD], KafkaUnavailableError("the log takes no more"))
    running.turn(2)
    assert running.told() == [(GOOD, "the log takes no more")]
