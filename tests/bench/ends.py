"""The ends of transactions, as a ``read_committed`` consumer of ``sys.kantor.history`` sees them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping

from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ENDED
from kantor.kafka import Admin, Consumer, KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator import topics

_ENDED = [("ce_type", TRANSACTION_ENDED.encode())]


class BenchError(Exception):
    """What was measured does not count."""


class Ends:
    """Sees what ends after it was made. One thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        admin = Admin(settings, "bench-ends")
        shards = [(topics.HISTORY, number) for number in range(admin.topics()[topics.HISTORY])]
        self._codec = Codec(schema_store(settings))
        self._consumer = Consumer(settings, "bench-ends")
        self._consumer.assign(admin.ends(shards))
        #: By transaction: when we saw its end (``time.monotonic_ns``), and the record's value.
        self.seen: dict[str, tuple[int, bytes]] = {}
        self._again: Counter[str] = Counter()

    def wait(self, count: int, timeout: float) -> None:
        """Until ``count`` transactions have ended since the last :meth:`forget`. Raises ``BenchError``."""
        deadline = time.monotonic() + timeout
        seen = self.seen
        while len(seen) < count:
            batch = self._consumer.poll(0.5, 10_000)
            now = time.monotonic_ns()
            for record in batch.records:
                if record.headers() == _ENDED:
                    id_ = (record.key() or b"").decode()
                    if id_ in seen:
                        self._again[id_] += 1
                    seen[id_] = now, record.value() or b""
            if time.monotonic() > deadline:
                raise BenchError(
                    f"{count - len(seen)} of {count} transactions did not end in {timeout:.0f} s"
                )

    def check(self, ids: Collection[str], status: str) -> None:
        """Exactly these transactions ended, once, all with ``status``. Raises ``BenchError``."""
        if self._again:
            raise BenchError(f"transactions ended twice: {', '.join(list(self._again)[:5])}")
        if self.seen.keys() != set(ids):
            raise BenchError(
                f"other transactions ended: {', '.join(sorted(self.seen.keys() ^ set(ids))[:5])}"
            )
        found = Counter(self._codec.decode(value)["status"] for _, value in self.seen.values())
        if found != {status: len(ids)}:
            raise BenchError(f"all should be {status}, but they are {dict(found)}")

    def moments(self) -> Mapping[str, int]:
        return {id_: at for id_, (at, _) in self.seen.items()}

    def forget(self) -> None:
        self.seen = {}

    def close(self) -> None:
        self._consumer.close()
