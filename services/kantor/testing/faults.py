"""What may go wrong between a client and the broker in memory, and when."""

from __future__ import annotations

from typing import Protocol

from kantor.testing.clock import VirtualClock
from kantor.testing.log import Partition


class Faults(Protocol):
    """What goes wrong. Called in an order that depends on nothing but the calls: the same answers, the same run."""

    def before(self, call: str) -> None:
        """A call is about to take effect. May raise ``KafkaUnavailableError``: it does not."""

    def after(self, call: str) -> None:
        """A call took effect. May raise ``KafkaUnavailableError``: its caller does not learn that."""

    def lag(self, partition: Partition) -> float:
        """Seconds until a record that is appended now can be read."""

    def marker_lag(self) -> float:
        """Seconds until the markers of a Kafka transaction that is committed now are written."""

    def leaves(self, queued: int) -> int:
        """How many of a producer's queued records the broker gets by the time that somebody polls it."""

    def order(self, partitions: list[Partition]) -> None:
        """Put partitions into the order in which they are fetched; leave out those that bring nothing this time."""

    def wait(self, seconds: float, *, is_member: bool) -> None:
        """A poll found nothing: let time pass, or not."""


class Calm:
    """Nothing goes wrong; whoever waits makes the clock go on."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def before(self, call: str) -> None: ...
    def after(self, call: str) -> None: ...
    def lag(self, partition: Partition) -> float:
        return 0.0

    def marker_lag(self) -> float:
        return 0.0

    def leaves(self, queued: int) -> int:
        return queued

    def order(self, partitions: list[Partition]) -> None: ...
    def wait(self, seconds: float, *, is_member: bool) -> None:
        self._clock.sleep(seconds)
