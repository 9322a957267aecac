"""How long entries of the journal wait for their shard, in simulated time.

It is measured while the shard's engine is up: the time between two turns in which one process has the shard. One that
stands still, is down, or may not read the journal takes no turns: a gap longer than what an idle world jumps at a time does
not count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kantor_orchestrator.formats import topics

if TYPE_CHECKING:
    from kantor.testing import MemoryBroker
    from kantor_orchestrator.engine.shard import Shard
    from simulation.world import World

#: Seconds that an entry may wait. An idle world jumps up to one, and a process may be just short of standing still.
LIMIT = 3.0


class _Line:
    """The entries of one shard that wait."""

    __slots__ = ("entries", "next", "owner", "seen_at", "up")

    def __init__(self) -> None:
        self.up = 0.0  # s for which it had an engine
        self.owner = ""
        self.seen_at = 0.0
        self.next = 0  # the first entry that nobody could read yet
        self.entries: deque[tuple[int, float]] = deque()  # (offset, ``up`` when it came)


class Waits:
    """Of all shards. ``longest``: (s, shard, offset)."""

    def __init__(self, broker: MemoryBroker, shards: int, longest_gap: float) -> None:
        """``longest_gap``: the time between two turns up to which it counts (s)."""
        self._logs = [broker.log((topics.JOURNAL, number)) for number in range(shards)]
        self._lines = [_Line() for _ in range(shards)]
        self._gap = longest_gap
        self.longest = (0.0, 0, 0)

    def turn(self, owner: str, shard: Shard, now: float, *, reads: bool) -> None:
        """Its owner has had a turn. ``reads``: it may read the journal."""
        number = shard.number
        line, log = self._lines[number], self._logs[number]
        if line.owner == owner and reads and now - line.seen_at <= self._gap:
            line.up += now - line.seen_at
        line.owner, line.seen_at = owner, now
        entries, position = line.entries, shard.position
        while entries and entries[0][0] < position:
            offset, came = entries.popleft()
            self._passed(line.up - came, number, offset)
        if line.next < log.end:
            found, line.next, _ = log.read(line.next, 10_000, now, committed=True)
            entries.extend((entry.offset(), line.up) for entry in found if entry.offset() >= position)

    def finish(self) -> None:
        """Those that still wait."""
        for number, line in enumerate(self._lines):
            for offset, came in line.entries:
                self._passed(line.up - came, number, offset)

    def _passed(self, waited: float, number: int, offset: int) -> None:
        if waited > self.longest[0]:
            self.longest = waited, number, offset


def nobody_waits(world: World) -> Iterator[str]:
    """No entry of any transaction waited longer than ``LIMIT``, whatever was wrong with those before it."""
    world.waits.finish()
    waited, number, offset = world.waits.longest
    if waited > LIMIT:
        yield f"entry {offset} of shard {number} waited for {waited:.1f} s while its engine was up"
