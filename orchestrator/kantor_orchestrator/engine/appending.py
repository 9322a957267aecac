"""What the engine itself puts into the journal: timers that fire, messages that Kafka refused (journal-17)."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from kantor.clients import STUCK, Clients
from kantor.clock import Clock
from kantor.envelope import shard_of
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Outgoing

log = logging.getLogger("kantor.engine")

#: Seconds until what the journal did not take is tried again.
_AGAIN = 1.0


class EngineEntries:
    """One for a process, with a producer of its own. An entry may come twice, and may be lost with the process: whoever
    appends knows it from the state that waits for it."""

    def __init__(self, clients: Clients, shards: int, clock: Clock) -> None:
        self._shards = shards
        self._clock = clock
        self._again: deque[tuple[float, Callable[[], None]]] = deque()  # from when on (s, monotonic)
        self._producer = clients.producer(
            "kantor-engine-journal",
            linger_ms=0,
            extra={"delivery.report.only.error": False, "message.max.bytes": topics.LARGEST},
        )

    def poll(self) -> None:
        """Serve the client: callbacks run here. Raises ``KantorError``: start the engine again."""
        self._producer.poll()
        while self._again and self._again[0][0] <= self._clock.monotonic():
            self._again.popleft()[1]()

    def timer(
        self,
        shard: int,
        transaction: str,
        timer: journal.TimerEntry,
        written: Callable[[int], None],
        lost: Callable[[], None],
    ) -> None:
        """A timer fires. ``written`` hears when the broker stamped its entry; ``lost`` is called if that did not get into the
        journal."""

        def delivered(error: Any, record: Any) -> None:
            if error is None:
                written(record.timestamp()[1])
            else:
                log.warning("a timer's entry is lost: %s", error, extra={"action": "timer_lost"})
                lost()

        self._producer.produce(
            topics.JOURNAL, timer.dump(), transaction.encode(), journal.TIMER_HEADERS, shard, delivered
        )

    def refused(self, transaction: str, message: Outgoing, why: str, done: Callable[[], None]) -> None:
        """Kafka did not take this message. ``done`` is called once its transaction's journal says so; until then it is
        tried again."""
        headers = dict(message.headers)
        value = json.dumps(
            {
                "id": headers.get("ce_id", b"").decode("utf-8", "replace"),
                "type": headers.get("ce_type", b"").decode("utf-8", "replace"),
                "topic": message.topic,
                "why": why,
            }
        ).encode()
        shard = shard_of(transaction, self._shards)

        def append() -> None:
            self._producer.produce(
                topics.JOURNAL, value, transaction.encode(), journal.REFUSED_HEADERS, shard, delivered
            )

        def delivered(error: Any, _record: Any) -> None:
            if error is None:
                done()
            else:
                facts = {"action": "refusal_untold", "transaction": transaction}
                log.warning("a refusal by Kafka can't be written to the journal yet: %s", error, extra=facts)
                self._again.append((self._clock.monotonic() + _AGAIN, append))

        append()

    def copy(
        self, shard: int, transaction: str, value: bytes | None, headers: list[tuple[str, bytes | None]]
    ) -> None:
        """A copy of an entry that was deferred; any thread may say so."""
        self._producer.produce(topics.JOURNAL, value, transaction.encode(), headers, shard)

    def flush(self) -> None:
        """Wait for the broker; any thread may. Raises ``KantorError``: something of what it had may be lost."""
        self._producer.flush(STUCK)

    def close(self) -> None:
        self._producer.purge()
