"""Journal entries that no engine has looked at yet: how many there are by shard, how old the oldest is, and whether its
engine stands still or is only behind. Asked of Kafka alone, for an engine that hangs says nothing of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kantor.clients import Clients, Partition
from kantor.clock import SYSTEM_CLOCK, Clock

#: An entry that has waited for less (ms) is on its way: positions are told once a second.
LATE = 8_000
#: Seconds that an engine with late entries gets to show that it moves, and between looks.
_PATIENCE, _LOOK = 2.5, 0.25
#: Seconds for reading the oldest entries; only when they were appended is wanted, so as little of them as can be.
_READ = 5.0
_SMALL = {"fetch.message.max.bytes": 1_024, "fetch.wait.max.ms": 10}


@dataclass(frozen=True, slots=True)
class Unlooked:
    """Of one shard: ``count`` entries, the oldest ``age`` ms old. ``stands``: its position has not moved meanwhile."""

    shard: int
    position: int
    count: int
    age: int
    stands: bool


def unlooked(
    clients: Clients,
    ends: Mapping[Partition, int],
    ask: Callable[[], Mapping[Partition, int]],
    clock: Clock = SYSTEM_CLOCK,
    *,
    time: Callable[[], int],
) -> list[Unlooked]:
    """The shards with late entries, by number. ``ends``: of the journal's partitions; ``ask`` gives the engines' positions
    now; ``time``: the broker's (ms), which stamped the entries. Takes a moment if there are any. Raises
    ``KafkaUnavailableError``."""
    first = ask()
    waiting = {place: max(0, first.get(place, 0)) for place, end in ends.items() if end > first.get(place, 0)}
    now = time()
    ages = {place: now - at for place, at in _appended(clients, waiting, clock).items() if now - at > LATE}
    if not ages:
        return []
    until, latest = clock.monotonic() + _PATIENCE, ask()
    while clock.monotonic() < until and any(latest.get(place, 0) < ends[place] for place in ages):
        clock.sleep(_LOOK)
        latest = ask()
    found = []
    for (topic, number), age in sorted(ages.items()):
        place, position = (topic, number), max(0, latest.get((topic, number), 0))
        if position < ends[place]:
            stands = position <= waiting[place]
            found.append(Unlooked(number, position, ends[place] - position, age, stands))
    return found


def _appended(clients: Clients, positions: Mapping[Partition, int], clock: Clock) -> dict[Partition, int]:
    """When the first record from each of these positions on was appended (ms)."""
    found: dict[Partition, int] = {}
    if not positions:
        return found
    reader = clients.consumer("kantor-status", extra=_SMALL)
    try:
        reader.assign(positions)
        until = clock.monotonic() + _READ
        while len(found) < len(positions) and clock.monotonic() < until:
            for record in reader.poll(0.2, 100).records:
                found.setdefault((record.topic(), record.partition()), record.timestamp()[1])
    finally:
        reader.close()
    return found
