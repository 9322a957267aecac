"""A group's positions that were asked to be committed, until the broker has confirmed them (kit-3; words-3).

A commit that nobody waits for may be lost: with its connection, or because the group was about to be rebalanced. The next one
makes up for it only where something more comes; in a partition that stays still nothing would, and whoever looks at the group's
lag were told a falsehood for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from kantor.clients import Partition

#: Seconds until what failed is asked again.
AGAIN = 1.0


class Positions:
    """Of one consumer; its owner's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[Partition, int] = {}
        self._open: set[Partition] = set()  # not confirmed
        self._again_at = 0.0  # 0: nothing has failed

    def asked(self, positions: Mapping[Partition, int]) -> None:
        """A commit of these is on its way."""
        self._latest.update(positions)
        self._open.update(positions)

    def told(self, partition: Partition, position: int, *, is_committed: bool) -> None:
        """What became of one. An older one that comes in behind the latest has set the group back."""
        latest = self._latest.get(partition)
        if latest is None:
            return
        if is_committed and position == latest:
            self._open.discard(partition)
        else:
            self._open.add(partition)
            self._again_at = self._again_at or self._clock() + AGAIN

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These are another member's to commit."""
        for partition in partitions:
            self._latest.pop(partition, None)
            self._open.discard(partition)

    def due(self) -> dict[Partition, int]:
        """What has to be asked again now; told once."""
        if not self._again_at or self._clock() < self._again_at:
            return {}
        self._again_at = 0.0
        return {partition: self._latest[partition] for partition in self._open}
