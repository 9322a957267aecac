"""Timers that are due become entries of the journal (DESIGN section 7, rule 7)."""

from __future__ import annotations

import logging
from concurrent.futures import Executor

from kantor.clients import Admin, Clients
from kantor.clock import Clock
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator import journal, topics
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.shard import Shard
from kantor_orchestrator.timers import Timers

log = logging.getLogger("kantor.engine")


class Firing:
    """Appends with a producer of its own, outside the shards' Kafka transactions: an entry may come twice, and what is
    early or stale does nothing (rule 7a.8)."""

    def __init__(
        self, clients: Clients, admin: Admin, asking: Executor, metrics: EngineMetrics, clock: Clock
    ) -> None:
        """``admin`` is asked for the journal's end, by ``asking``. Not the engine's consumer, and not by the engine's own
        thread: a broker answers a connection's requests one after the other, and the consumer's waits for records."""
        self._admin = admin
        self._asking = asking
        self._clock = clock
        self._producer = clients.producer("kantor-engine-timers", linger_ms=0)
        self._metrics = metrics

    def poll(self) -> None:
        self._producer.poll()

    def fire_due(self, shard: Shard) -> None:
        """Append an entry for each timer that is due. Only between two batches: what is not committed yet is not in the
        store.

        One that ends in a verdict (a timeout, a deadline) has two conditions more than the clock: intake's lowest
        watermark has passed the due time, and the shard has processed the journal up to an end that was sampled after
        it was due. So lag never compensates. A pause between two attempts needs neither.
        """
        now = self._clock.now()
        shard.load_timers(now)
        shard.load_released(now)
        self._fire(shard, shard.pauses, now, now)
        first = shard.verdicts.first()
        if not first or first > min(now, shard.low_watermark()):
            return
        if shard.fence is None:
            shard.fence = self._asking.submit(self._sample, shard.number)
        if not shard.fence.done():
            return
        try:
            sampled, end = shard.fence.result()
        except KafkaUnavailableError as error:
            log.warning("timers wait: %s", error, extra={"action": "timers_wait"})
            shard.fence = None
            return
        if shard.position >= end:
            shard.fence = None
            self._fire(shard, shard.verdicts, min(sampled, shard.low_watermark()), now)

    def _sample(self, number: int) -> tuple[int, int]:
        now, place = self._clock.now(), (topics.JOURNAL, number)
        end = self._admin.ends([place], timeout=1.0).get(place)
        if end is None:
            raise KafkaUnavailableError(f"{topics.JOURNAL}/{number} is gone")
        return now, end

    def _fire(self, shard: Shard, timers: Timers, until: int, now: int) -> None:
        for due, id_, kind, step, round_, attempt in timers.due(until, now, shard.timed):
            fired = journal.Timer(kind, step, round_, attempt, due)
            self._producer.produce(
                topics.JOURNAL, fired.dump(), id_.encode(), journal.TIMER_HEADERS, shard.number
            )
            self._metrics.timer_lateness.observe((now - due) / 1000)
