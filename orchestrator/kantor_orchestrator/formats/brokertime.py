"""The broker's time, told from what it has stamped.

Every time that two processes compare is the broker's: entries of the journal, what is due, watermarks. A process's own
clock may be minutes off; how fast it runs can be relied on. A record that was read, or acknowledged, just now was stamped
a little earlier: the stamp that is latest by this process's own running clock is the closest that is known, and never
ahead of the broker's time.
"""

from __future__ import annotations

from collections.abc import Callable

from kantor.clock import Clock

#: Seconds after which an old stamp no longer counts, in case that clocks drift or are set: twice this at most.
_WINDOW = 300.0
#: How far (ms) a process's clock and the brokers' may be apart: within that, nothing is early and nothing late.
SKEW = 120_000
#: How far they have been apart lately, give or take this (ms), and for how long (s) they are something else until that is believed.
_SLACK, _PERSISTS = 2_000, 600.0
#: Seconds that an acknowledgement may take to tell how far they are apart.
_QUICK = 1.0


class BrokerTime:
    """One for a process. Any thread may ask or tell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: float | None = None  # of the running clock, ms: the best stamp of this window
        self._before: float | None = None  # of the window before
        self._best: float | None = None  # of both
        self._since = clock.monotonic()
        self._usual: int | None = None  # how far the broker is ahead of this machine's clock (ms)
        self._unusual_since = 0.0  # monotonic, s; 0: it is as usual

    def observe(self, stamped: int) -> None:
        """The broker stamped this (ms since the epoch), and not later than now."""
        now = self._clock.monotonic()
        ahead = stamped - now * 1000
        if now - self._since > _WINDOW:
            self._before, self._ahead, self._since = self._ahead, None, now
        if self._ahead is None or ahead > self._ahead:
            self._ahead = ahead
            self._best = ahead if self._before is None else max(ahead, self._before)

    def writing(self) -> Callable[[int], None]:
        """A record is handed over now. What is returned wants to hear when the broker stamped it: not before now. So a clock
        that was ahead and went back is noticed at once, and nothing goes off again and again until it is forgotten."""
        began = self._clock.monotonic()

        def written(stamped: int) -> None:
            now = self._clock.monotonic()
            if now - began < _QUICK:
                self._compare(stamped - self._clock.now(), now)
            most = stamped - began * 1000
            if self._best is not None and self._best > most:
                self._ahead = self._best = most
                self._before, self._since = None, now
            else:
                self.observe(stamped)

        return written

    def _compare(self, ahead: int, now: float) -> None:
        usual = self._usual
        if usual is None or ahead < usual + _SLACK:
            self._usual, self._unusual_since = ahead, 0.0
        elif not self._unusual_since:
            self._unusual_since = now
        elif now - self._unusual_since > _PERSISTS:
            self._usual, self._unusual_since = ahead, 0.0

    def now(self) -> int:
        """ms since the epoch, not ahead of the broker; this machine's own time until a stamp was seen."""
        best = self._best
        return self._clock.now() if best is None else int(best + self._clock.monotonic() * 1000)

    def running(self) -> float:
        """Seconds, of this process's running clock."""
        return self._clock.monotonic()

    def ahead(self) -> int:
        """How far (ms) the broker's time is ahead of this machine's clock; negative: behind."""
        return self.now() - self._clock.now()

    def certain(self) -> int:
        """As :meth:`now`, for what can't be taken back: a broker whose clock leaps ahead hastens nothing. No further ahead of this
        machine's clock than it has been lately, and than ``SKEW`` at all: a machine whose clock is further behind than that
        delays."""
        usual = SKEW if self._usual is None else min(SKEW, self._usual + _SLACK)
        return min(self.now(), self._clock.now() + usual)
