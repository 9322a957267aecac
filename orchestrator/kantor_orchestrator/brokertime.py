"""The broker's time, told from what it has stamped.

Every time that two processes compare is the broker's: entries of the journal, what is due, watermarks. A process's own
clock may be minutes off; how fast it runs can be relied on. A record that was read, or acknowledged, just now was stamped
a little earlier: the stamp that is latest by this process's own running clock is the closest that is known, and never
ahead of the broker's time.
"""

from __future__ import annotations

from kantor.clock import Clock

#: Seconds after which an old stamp no longer counts, in case that clocks drift or are set: twice this at most.
_WINDOW = 300.0


class BrokerTime:
    """One for a process. Any thread may ask or tell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: float | None = None  # of the running clock, ms: the best stamp of this window
        self._before: float | None = None  # of the window before
        self._best: float | None = None  # of both
        self._since = clock.monotonic()

    def observe(self, stamped: int) -> None:
        """The broker stamped this (ms since the epoch), and not later than now."""
        now = self._clock.monotonic()
        ahead = stamped - now * 1000
        if now - self._since > _WINDOW:
            self._before, self._ahead, self._since = self._ahead, None, now
        if self._ahead is None or ahead > self._ahead:
            self._ahead = ahead
            self._best = ahead if self._before is None else max(ahead, self._before)

    def now(self) -> int:
        """ms since the epoch, not ahead of the broker; this machine's own time until a stamp was seen."""
        best = self._best
        return self._clock.now() if best is None else int(best + self._clock.monotonic() * 1000)
