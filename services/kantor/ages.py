"""Whether this machine's clock is ahead of those that stamp records (kit-26): then commands seem expired that are not."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kantor.clients import Record
from kantor.clock import Clock
from kantor.metrics import Metrics

log = logging.getLogger("kantor.service")

#: Seconds between two verdicts.
_EVERY = 60.0
#: Records that came while nothing waited, which a verdict needs: after an outage a few are old.
_ENOUGH = 3
#: How old (ms) a record that has just come may be: Kafka transactions and slow brokers hold some up.
_OLD = 5_000


class Ages:
    """How old records are that come while nothing waits to be read, by this machine's clock. If even the youngest of a minute is
    old, the clock is wrong, or that of everybody who stamps them. One thread."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._is_waiting = False
        self._since = clock.monotonic()
        self._least = 0
        self._count = 0

    def polled(self, records: Sequence[Record]) -> None:
        """What a poll brought. Those that come behind others may have waited: only the first after none count."""
        if not records:
            self._is_waiting = True
        elif self._is_waiting:
            self._is_waiting = False
            stamps = [time for kind, time in (record.timestamp() for record in records) if kind]
            if stamps:
                age = self._clock.now() - max(stamps)
                self._least = min(self._least, age) if self._count else age
                self._count += 1
        if self._clock.monotonic() - self._since >= _EVERY:
            self._judge()

    def _judge(self) -> None:
        least, count = self._least, self._count
        self._since, self._least, self._count = self._clock.monotonic(), 0, 0
        if count < _ENOUGH:
            return
        self._metrics.clock_ahead.set(max(least, 0) / 1000)
        if least > _OLD:
            log.warning(
                "this machine's clock is ahead: records that have just come are at least %.0f s old by it, so commands may seem "
                "expired, and what they belong to is reversed; run NTP on this machine, on Kafka's and on those that write",
                least / 1000,
                extra={"action": "clock_ahead", "seconds": round(least / 1000)},
            )
