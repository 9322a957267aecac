"""What one entry costs the engine, CPU microseconds: deciding, encoding, the shard's books; without Kafka.

    python tests/bench/engine_cost.py [sagas] [--profile]

The real engine's code on the journal that ``recorded`` makes, one shard, batches of 500; what it would send is thrown away.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import cProfile  # noqa: E402
import pstats  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
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
from kantor_orchestrator.engine import BATCH, Engine  # noqa: E402
from kantor_orchestrator.metrics import EngineMetrics  # noqa: E402
from kantor_orchestrator.shard import Batch  # noqa: E402

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


class Silent:
    """A producer that counts."""

    def __init__(self) -> None:
        self.produced = 0

    def produce(self, *_: Any, **__: Any) -> None:
        self.produced += 1

    def commit(self) -> None: ...
    def send_offsets(self, *_: Any) -> None: ...


def run(sagas: int, folder: Path) -> tuple[float, int, int]:
    """CPU seconds, entries, records written."""
    broker = MemoryBroker()
    admin = broker.clients().admin()
    admin.create_topics([TopicSpec(name, 1) for name in (topics.JOURNAL, topics.STATE, topics.HISTORY)])
    schemas = MemorySchemas()
    now = int(time.time() * 1000)
    bundle = bundles.bundle(Saga.load(CHECKOUT).model, kantor_schemas.example("checkout"), 1)
    metrics = EngineMetrics(CollectorRegistry())
    engine = Engine(broker.clients(), 1, folder, schemas, Definitions([bundle]), metrics)
    shard = engine._take(0)
    producer = Silent()
    shard.producer = producer  # type: ignore[assignment]
    entries = Recording(Codec(schemas), dict(zip(TOPICS, TOPICS, strict=True)), 1).entries(sagas)
    records = [Journaled(offset, now, entry) for offset, entry in enumerate(entries)]
    start = time.process_time()
    for first in range(0, len(records), BATCH):
        shard.pending.extend(records[first : first + BATCH])
        batch = Batch(None, 0)
        engine._process(shard, batch)
        shard.drop_expired()
        shard.write(batch.changed, batch.marks)
        shard.commit(None)
        shard.keep()
    return time.process_time() - start, len(records), producer.produced


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
