"""The ends of transactions, as a ``read_committed`` consumer sees them in ``sys.kantor.history`` and announced on
``evt.kantor.transaction.v1``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping

from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ENDED
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.formats import topics

_ENDED = ("ce_type", TRANSACTION_ENDED.encode())


class BenchError(Exception):
    """What was measured does not count."""


class Ends:
    """Sees what ends after it was made. One thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        admin = settings.admin("bench-ends")
        counts = admin.topics()
        shards = [(name, p) for name in (topics.HISTORY, topics.ENDED) for p in range(counts[name])]
        self._codec = Codec(schema_store(settings))
        self._consumer = settings.consumer("bench-ends")
        self._consumer.assign(admin.ends(shards))
        #: By transaction: when we saw its end in the history (``time.monotonic_ns``), and the record's value.
        self.seen: dict[str, tuple[int, bytes]] = {}
        #: By transaction: when we saw that its end was announced.
        self.announced: dict[str, int] = {}
        self._again: Counter[str] = Counter()

    def wait(self, count: int, timeout: float) -> None:
        """Until ``count`` transactions have ended since the last :meth:`forget`, and all of these ends have been announced.
        Raises ``BenchError``."""
        deadline = time.monotonic() + timeout
        seen, announced = self.seen, self.announced
        while len(seen) < count or len(announced) < count:
            batch = self._consumer.poll(0.5, 10_000)
            now = time.monotonic_ns()
            for record in batch.records:
                if _ENDED not in (record.headers() or ()):
                    continue
                id_ = (record.key() or b"").decode()
                if record.topic() == topics.ENDED:
                    self._again[f"{id_} (announced)"] += id_ in announced
                    announced[id_] = now
                else:
                    self._again[id_] += id_ in seen
                    seen[id_] = now, record.value() or b""
            if time.monotonic() > deadline:
                raise BenchError(
                    f"of {count} transactions {len(seen)} ended in {timeout:.0f} s, {len(announced)} were announced"
                )

    def check(self, ids: Collection[str], status: str) -> None:
        """Exactly these transactions ended, once, all with ``status``. Raises ``BenchError``."""
        if again := [id_ for id_, count in self._again.items() if count]:
            raise BenchError(f"transactions ended twice: {', '.join(again[:5])}")
        for what, found_ids in (("ended", self.seen.keys()), ("were announced", self.announced.keys())):
            if found_ids != set(ids):
                others = ", ".join(sorted(found_ids ^ set(ids))[:5])
                raise BenchError(f"other transactions {what}: {others}")
        found = Counter(self._codec.decode(value)["status"] for _, value in self.seen.values())
        if found != {status: len(ids)}:
            raise BenchError(f"all should be {status}, but they are {dict(found)}")

    def moments(self) -> Mapping[str, tuple[int, int]]:
        """By transaction: when its end was seen in the history, and when it was announced."""
        return {id_: (at, self.announced[id_]) for id_, (at, _) in self.seen.items()}

    def forget(self) -> None:
        self.seen, self.announced = {}, {}

    def close(self) -> None:
        self._consumer.close()
