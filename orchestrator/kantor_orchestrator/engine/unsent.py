"""Messages that do not leave because Kafka accepts none for their topic just now: a broker is down, or too few replicas are in sync. The
shard commits no checkpoint meanwhile, and goes on with everything else. A new engine in place of this one would wait, too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from concurrent.futures import Executor, Future

from kantor.clients import Admin
from kantor.errors import KantorError
from kantor_orchestrator.engine.shard import Shard

log = logging.getLogger("kantor.engine")

#: Seconds after which it is asked why a message does not leave, and between questions.
LONG, ASK = 4.0, 5.0


class Unsent:
    """Of one engine: which shards wait for Kafka to accept their messages, since when and why."""

    def __init__(self, admin: Admin, jobs: Executor) -> None:
        """``jobs`` asks."""
        self._admin = admin
        self._jobs = jobs
        self._oldest: dict[int, tuple[int, str, float]] = {}  # by shard: message, topic, since (s, monotonic)
        self._closed: dict[str, str] = {}
        self._job: Future[dict[str, str]] | None = None
        self._ask_at = 0.0

    def look(self, shards: Collection[Shard], now: float) -> dict[int, tuple[float, str]]:
        """By shard: since when (s, monotonic), and what it waits for. What nobody has confirmed is not told: then it may be this process's
        client that hangs."""
        found: dict[int, tuple[int, str, float]] = {}
        for shard in shards:
            if (oldest := shard.sender.oldest) is not None:
                before = self._oldest.get(shard.number)
                found[shard.number] = before if before and before[:2] == oldest else (*oldest, now)
        self._oldest = found
        late = {number: one for number, one in found.items() if now - one[2] > LONG}
        self._ask({topic for _, topic, _ in late.values()}, now)
        return {
            number: (since, f"waits until Kafka accepts messages for {topic}: {self._closed[topic]}")
            for number, (_, topic, since) in late.items()
            if topic in self._closed
        }

    def _ask(self, topics: Collection[str], now: float) -> None:
        job = self._job
        if job is not None and job.done():
            self._job = None
            try:
                self._closed = job.result()
            except KantorError as error:
                log.info(
                    "why messages do not leave is unknown: %s", error, extra={"action": "closed_unknown"}
                )
        if not topics:
            self._closed = {}
        elif self._job is None and now >= self._ask_at:
            self._ask_at = now + ASK
            self._job = self._jobs.submit(self._admin.closed, sorted(topics))
