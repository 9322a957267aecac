"""A commit that never comes back costs its shard seconds, and neither the engine nor its process anything (shard-6)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import kantor_schemas
from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.testing import MemoryBroker
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.dsl import Saga
from kantor_orchestrator.engine import checkpoint as checkpoints
from kantor_orchestrator.engine import loop
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import is_epoch
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.process.aside import Aside
from kantor_orchestrator.process.wellness import Wellness
from unit.core_kit import EXAMPLE

SCHEMAS = MemorySchemas()


class Hanging(Executor):
    """Does what it is asked for at once; but the first commit never comes back, done or not."""

    def __init__(self, *, is_done: bool) -> None:
        self.hangs = 1
        self._is_done = is_done

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        hangs = self.hangs and fn.__name__ == "commit"
        if not hangs or self._is_done:
            answer = fn(*args, **kwargs)
        if hangs:
            self.hangs -= 1
        else:
            future.set_result(answer)
        return future


class Running:
    """An engine in memory, asked once for a transaction that it does not know: it answers in the history."""

    def __init__(self, folder: Path, jobs: Hanging) -> None:
        self.jobs = jobs
        self.broker = MemoryBroker()
        names = (topics.JOURNAL, topics.STATE, topics.HISTORY, topics.WATERMARKS)
        self.broker.clients().admin().create_topics([TopicSpec(name, 1) for name in names])
        producer = self.broker.clients().producer("people")
        act = journal.ActEntry("a-1", core.RETRY, "ann", "please")
        producer.produce(topics.JOURNAL, act.dump(), b"nobody", journal.ACT_HEADERS, 0)
        producer.flush()
        bundle = bundles.bundle(Saga.load(EXAMPLE).model, kantor_schemas.example("checkout"), 1)
        self.metrics = EngineMetrics(CollectorRegistry())
        self.wellness = Wellness(self.broker.clock.monotonic)
        self.engine = Engine(
            self.broker.clients(),
            1,
            folder,
            SCHEMAS,
            Definitions([bundle]),
            self.metrics,
            clock=self.broker.clock,
            jobs=jobs,
            wellness=self.wellness,
        )
        self.engine.start(lambda: None)

    def answers(self) -> list[str]:
        found = self.broker.topics[topics.HISTORY].logs[0].read(0, 100, 1e12, committed=True)[0]
        decisions = [record for record in found if not is_epoch(record)]
        return [Codec(SCHEMAS).decode(record.value())["message_id"] for record in decisions]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(20_000):
            if condition():
                return
            self.engine.turn()
        raise AssertionError("it does not come")


@pytest.fixture(params=[False, True], ids=["it is not done", "it is done"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, Hanging(is_done=request.param))
    yield running
    running.engine.close()


def test_a_shard_whose_commit_hangs_is_taken_anew(running: Running) -> None:
    """With a new producer, after the commit's patience; what was decided is there once."""
    running.turn_until(lambda: bool(running.metrics.retaken._value.get()))
    assert running.broker.clock.monotonic() > checkpoints.HANGS
    running.turn_until(lambda: bool(running.engine._shards))
    (shard,) = running.engine._shards.values()
    running.turn_until(lambda: shard.committed_position == 1)
    assert running.answers() == ["a-1"]


def test_the_engine_is_not_ready_while_a_commit_hangs(running: Running) -> None:
    """It says which shard stands where; and is ready again when the shard has been retaken."""
    running.turn_until(lambda: bool(running.wellness.reasons()))
    assert running.wellness.reasons() == ["shard 0 has been at 0 for 7 s; the end is 1"]
    assert not running.metrics.retaken._value.get()
    running.turn_until(lambda: running.answers() == ["a-1"])
    running.turn_until(lambda: not running.wellness.reasons())


def test_giving_a_shard_back_does_not_wait_for_a_commit_that_hangs(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the next owner settles it."""
    monkeypatch.setattr(loop, "FAREWELL", 0.01)
    running.turn_until(lambda: not running.jobs.hangs)
    running.engine.close()
    assert "shard 0 is given back without its last checkpoint" in caplog.text
    assert running.engine._shards == {}


def test_work_aside_waits_for_no_other() -> None:
    """One that hangs has a thread of its own; idle threads are used again."""
    aside, over = Aside("test"), threading.Event()
    hanging = aside.submit(over.wait)
    assert [aside.submit(int, text).result(30) for text in "123"] == [1, 2, 3]
    assert not hanging.done()
    assert aside._threads <= 4
    failed = aside.submit(int, "x")
    assert isinstance(failed.exception(30), ValueError)
    aside.shutdown()
    over.set()
    assert hanging.result(30)
    with pytest.raises(RuntimeError, match="takes no more work"):
        aside.submit(int, "1")


def test_a_process_ends_though_work_aside_hangs() -> None:
    """Its threads are not waited for."""
    program = (
        "import threading\nfrom kantor_orchestrator.process.aside import Aside\n"
        "aside = Aside('test')\naside.submit(threading.Event().wait)\naside.shutdown()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == 0
