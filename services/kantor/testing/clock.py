"""Time that passes only when somebody says so."""

from __future__ import annotations

#: Any moment will do; this one is in 2027. Milliseconds since the epoch.
EPOCH = 1_800_000_000_000


class VirtualClock:
    """A :class:`kantor.clock.Clock`. Nobody waits: sleeping moves it."""

    __slots__ = ("_milliseconds",)

    def __init__(self) -> None:
        self._milliseconds = 0.0

    def now(self) -> int:
        return EPOCH + int(self._milliseconds)

    def monotonic(self) -> float:
        return self._milliseconds / 1000

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._milliseconds += seconds * 1000


class SkewedClock:
    """The clock of a machine that is wrong about what time it is, not about how fast it passes."""

    __slots__ = ("_ahead", "_clock", "monotonic", "sleep")

    def __init__(self, clock: VirtualClock, ahead: float) -> None:
        self._clock = clock
        self._ahead = int(ahead * 1000)
        self.monotonic = clock.monotonic
        self.sleep = clock.sleep

    def now(self) -> int:
        return self._clock.now() + self._ahead
