"""What one entry costs the engine, CPU microseconds: deciding, encoding, the shard's books; without Kafka.

    python tests/bench/engine_cost.py [sagas] [--profile]

The real engine's code on the journal that ``recorded`` makes, one shard, turns of 500 entries, a cut now and then; what it would send is thrown away.
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
from kantor_orchestrator import topics  # noqa: E402
from kantor_orchestrator.definitions import bundle as bundles  # noqa: E402
from kantor_orchestrator.definitions.catalogue import Definitions  # noqa: E402
from kantor_orchestrator.definitions.dsl import Saga  # noqa: E402
from kantor_orchestrator.engine.cut import MOST_ENTRIES  # noqa: E402
from kantor_orchestrator.engine.loop import TURN, Engine  # noqa: E402
from kantor_orchestrator.engine.taking import Taking, take  # noqa: E402
from kantor_orchestrator.metrics import EngineMetrics  # noqa: E402

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
        self._told: Any = None

    def produce(self, *_: Any, on_delivery: Any = None, **__: Any) -> None:
        self.produced += 1
        self._end += 1
        if on_delivery is not None:
            self._told = on_delivery

    def flush(self, _: float = 0) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(None, Acked(self._end - 1, 0))

    def done(self) -> int:
        return self.produced

    def poll(self, _: float = 0) -> None:
        self.flush()

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def purge(self) -> None: ...


class AtOnce(Executor):
    """Instead of threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def run(sagas: int, folder: Path) -> tuple[float, int, int]:
    """CPU seconds, entries, records written."""
    broker = MemoryBroker()
    admin = broker.clients().admin()
    admin.create_topics(
        [TopicSpec(name, 1) for name in (topics.JOURNAL, topics.STATE, topics.HISTORY, topics.WATERMARKS)]
    )
    schemas = MemorySchemas()
    now = int(time.time() * 1000)
    bundle = bundles.bundle(Saga.load(CHECKOUT).model, kantor_schemas.example("checkout"), 1)
    metrics = EngineMetrics(CollectorRegistry())
    engine = Engine(broker.clients(), 1, folder, schemas, Definitions([bundle]), metrics, jobs=AtOnce())
    shard = take(0, engine._means, Taking(0.0))
    silent = [Silent(shard.log.end), Silent(), Silent()]
    shard.log._producer, shard.sender._producer, shard.cutter.producer = silent  # type: ignore[assignment]
    entries = Recording(Codec(schemas), dict(zip(TOPICS, TOPICS, strict=True)), 1).entries(sagas)
    records = [Journaled(offset, now, entry) for offset, entry in enumerate(entries)]
    start = time.process_time()
    for first in range(0, len(records), TURN):
        shard.pending.extend(records[first : first + TURN])
        engine._process(shard)
        shard.sender.poll()
        if first % MOST_ENTRIES == 0:
            shard.take_cut(0.0)
            while shard._cut is not None:
                shard.tend_cut(0.0)
    return time.process_time() - start, len(records), sum(one.produced for one in silent)


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    sagas = numbers[0] if numbers else 8_000
    profile = cProfile.Profile() if "--profile" in sys.argv else None
    with tempfile.TemporaryDirectory() as folder:
        if profile is not None:
            profile.enable()
        spent, entries, written = run(sagas, Path(folder))
        if profile is not None:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    print(f"{spent / entries * 1e6:.1f} us an entry, {written / entries:.2f} records written for each")


if __name__ == "__main__":
    main()
