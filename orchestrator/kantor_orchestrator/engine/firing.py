"""Timers that are due become entries of the journal.

``due`` is the broker's time, as entries are stamped; this process's clock decides only when to look, and that a broker's clock which
leaps ahead makes nothing go off (``BrokerTime.certain``). A timer that ends in a
verdict (a timeout, a deadline, that no start comes) has two conditions more: intake's lowest watermark has passed the due time, and the shard has
processed the journal up to an end that was sampled after that was known. So lag never compensates. A pause between two attempts
needs neither. A shard that can't process (it waits, it lags) fires nothing.
"""

from __future__ import annotations

import logging
from concurrent.futures import Executor

from kantor.clients import Admin
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.engine.appending import EngineEntries
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.timers import Timers
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.watermarks import Watermarks
from kantor_orchestrator.metrics import EngineMetrics

log = logging.getLogger("kantor.engine")

#: A shard with more entries waiting than this lags, and fires nothing.
_LAGS = 2_000
#: Seconds that asking for the journal's end may take: more than its client gives it. Then it is asked again.
_HANGS = 20.0


class Firing:
    """Fires the timers of all shards of a process."""

    def __init__(
        self,
        appender: EngineEntries,
        admin: Admin,
        asking: Executor,
        watermarks: Watermarks,
        metrics: EngineMetrics,
        time: BrokerTime,
    ) -> None:
        """``admin`` is asked for the journal's end, by ``asking``. Not the engine's consumer, and not by the engine's own
        thread: a broker answers a connection's requests one after the other, and the consumer's waits for records."""
        self._appender = appender
        self._admin = admin
        self._asking = asking
        self._watermarks = watermarks
        self._metrics = metrics
        self._time = time

    def fire_due(self, shard: Shard) -> None:
        """Append an entry for each timer that is due."""
        now = self._time.certain()
        shard.load_timers(now)
        if shard.is_behind or shard.not_before or len(shard.pending) > _LAGS:
            return
        shard.load_released(now)
        timers = shard.timers
        if 0 < timers.pauses.first() <= now:
            self._fire(shard, timers.pauses, now, now)
        first = timers.verdicts.first_set(now, shard.timed)
        if not first:
            return
        # A mark may lie in the future, if a broker's clock did for a while: what went off by it would come too early, again and
        # again, as fast as entries can be written.
        low = min(self._watermarks.low(), now)
        if first > low:
            if first <= now:
                self._watermarks.want(shard.number)
            return
        if shard.sampled_end is None:
            shard.sampled_end = self._asking.submit(self._sample, shard.number, low)
            shard.sampled_at = self._time.running()
        if not shard.sampled_end.done():
            if self._time.running() - shard.sampled_at > _HANGS:
                what = f"the end of {topics.JOURNAL}/{shard.number} has been unknown for {_HANGS:.0f} s"
                log.warning("timers wait: %s; it is asked again", what, extra={"action": "timers_wait"})
                shard.sampled_end = None
            return
        try:
            low, end = shard.sampled_end.result()  # the watermark that was known before the end was asked for
        except KafkaUnavailableError as error:
            log.warning("timers wait: %s", error, extra={"action": "timers_wait"})
            shard.sampled_end = None
            return
        if shard.position >= end:
            shard.sampled_end = None
            self._fire(shard, timers.verdicts, low, now)

    def _sample(self, number: int, low: int) -> tuple[int, int]:
        place = (topics.JOURNAL, number)
        end = self._admin.ends([place], timeout=1.0).get(place)
        if end is None:
            raise KafkaUnavailableError(f"{topics.JOURNAL}/{number} is gone")
        return low, end

    def _fire(self, shard: Shard, timers: Timers, until: int, now: int) -> None:
        fired, written = shard.timers.fired, self._time.writing()
        for due, id_, kind, step, round_, attempt in timers.due(until, shard.timed):
            identity = id_, kind, step, round_, attempt
            if identity in fired:
                continue
            fired.add(identity)

            def lost(identity: tuple[str, str, str, int, int] = identity, due: int = due) -> None:
                fired.discard(identity)
                timers.add((due, *identity))

            timer = journal.TimerEntry(kind, step, round_, attempt, due)
            self._appender.timer(shard.number, id_, timer, written, lost)
            self._metrics.timer_lateness.observe((now - due) / 1000)
