"""What one entry costs the engine, CPU microseconds: deciding, encoding, the shard's books; without Kafka.

    python tests/bench/engine_cost.py [sagas] [--profile]

The real engine's code on the journal that ``recorded`` makes, one shard, turns of 500 entries, a checkpoint now and then; what it would send is thrown away.
What threads beside the engine's do counts, too, and comes after each turn: so the log is written by the turn, as under load. The best of
five parts is told: whatever else the machine does makes it slower, never faster.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import cProfile  # noqa: E402
import pstats  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import Executor, Future  # noqa: E402
from typing import Any  # noqa: E402

from prometheus_client import CollectorRegistry  # noqa: E402

import kantor_schemas  # noqa: E402
from bench.recorded import TOPICS, Entry, Recording  # noqa: E402
from kantor.clients import TopicSpec  # noqa: E402
from kantor.codec import Codec, MemorySchemas  # noqa: E402
from kantor.testing import MemoryBroker  # noqa: E402
from kantor_orchestrator.definitions import bundle as bundles  # noqa: E402
from kantor_orchestrator.definitions.catalogue import Definitions  # noqa: E402
from kantor_orchestrator.definitions.dsl import Saga  # noqa: E402
from kantor_orchestrator.engine.checkpoint import MOST_ENTRIES  # noqa: E402
from kantor_orchestrator.engine.loop import TURN, Engine  # noqa: E402
from kantor_orchestrator.engine.taking import Taking, take  # noqa: E402
from kantor_orchestrator.formats import topics  # noqa: E402
from kantor_orchestrator.metrics import EngineMetrics  # noqa: E402
from kantor_orchestrator.running.roles import collect_seldom  # noqa: E402

#: Parts that are measured one by one; each has several checkpoints.
PARTS = 5
CHECKOUT = Path(__file__).parents[2] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"


class Journaled:
    """A record of the journal."""

    def __init__(self, offset: int, at: int, entry: Entry) -> None:
        self._offset, self._at = offset, at
        self._value, self._key, self._headers, _ = entry

    def topic(self) -> str:
        return topics.JOURNAL

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Any:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 2, self._at


class Acked:
    """What the broker says of the last record."""

    def __init__(self, offset: int, at: int) -> None:
        self._offset, self._at = offset, at

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 2, self._at


class Silent:
    """A producer that counts, and says at once that the broker has it."""

    def __init__(self, end: int = 0) -> None:
        self.produced = 0
        self._end = end
        self._told: list[tuple[Any, int]] = []

    def produce(self, *_: Any, on_delivery: Any = None, **__: Any) -> None:
        self.produced += 1
        self._end += 1
        if on_delivery is not None:
            self._told.append((on_delivery, self._end - 1))

    def flush(self, _: float = 0) -> None:
        told, self._told = self._told, []
        for on_delivery, offset in told:
            on_delivery(None, Acked(offset, 0))

    def done(self) -> int:
        return self.produced

    def poll(self, _: float = 0) -> None:
        self.flush()

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def purge(self) -> None: ...


class AfterTurn(Executor):
    """Instead of threads."""

    def __init__(self) -> None:
        self._asked: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._asked.append(lambda: future.set_result(fn(*args, **kwargs)))
        return future

    def run(self) -> None:
        """All that was asked for."""
        while self._asked:
            self._asked.pop(0)()


def run(sagas: int, folder: Path) -> tuple[float, float]:
    """CPU seconds for an entry; records written for each."""
    broker = MemoryBroker()
    admin = broker.clients().admin()
    admin.create_topics(
        [TopicSpec(name, 1) for name in (topics.JOURNAL, topics.STATE, topics.HISTORY, topics.WATERMARKS)]
    )
    schemas = MemorySchemas()
    now = int(time.time() * 1000)
    bundle = bundles.bundle(Saga.load(CHECKOUT).model, kantor_schemas.example("checkout"), 1)
    metrics = EngineMetrics(CollectorRegistry())
    jobs = AfterTurn()
    engine = Engine(broker.clients(), 1, folder, schemas, Definitions([bundle]), metrics, jobs=jobs)
    shard = engine._shards[0] = take(0, engine._means, Taking(0.0))
    silent = [Silent(shard.log.end), Silent(), Silent()]
    shard.log._producer, shard.sender._producer, shard.checkpointer.producer = silent  # type: ignore[assignment]
    entries = Recording(Codec(schemas), dict(zip(TOPICS, TOPICS, strict=True)), 1).entries(sagas)
    records = [Journaled(offset, now, entry) for offset, entry in enumerate(entries)]
    collect_seldom()
    parts = []
    begun, before = time.process_time(), 0
    for first in range(0, len(records), TURN):
        for record in records[first : first + TURN]:
            shard.pending.append(record)
        engine._process(shard)
        jobs.run()
        shard.sender.poll()
        if shard._entries >= MOST_ENTRIES:
            shard.take_checkpoint(0.0)
            while shard._checkpoint is not None:
                jobs.run()
                shard.tend_checkpoint(0.0)
        done = first + TURN
        if done - before >= len(records) / PARTS:
            ended = time.process_time()
            parts.append((ended - begun) / (done - before))
            begun, before = ended, done
    return min(parts), sum(one.produced for one in silent) / len(records)


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    sagas = numbers[0] if numbers else 20_000
    profile = cProfile.Profile() if "--profile" in sys.argv else None
    with tempfile.TemporaryDirectory() as folder:
        if profile is not None:
            profile.enable()
        spent, written = run(sagas, Path(folder))
        if profile is not None:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    print(f"{spent * 1e6:.1f} us an entry, {written:.2f} records written for each")


if __name__ == "__main__":
    main()
