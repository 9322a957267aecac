"""How an engine's shards stand, for whoever watches: looked at now and then by the engine's own thread."""

from __future__ import annotations

from collections.abc import Collection

from kantor_orchestrator import topics
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.wellness import Wellness

#: Seconds between looks: nobody scrapes more often.
LOOK = 1.0


def look(shards: Collection[Shard], taking: Collection[int], metrics: EngineMetrics, now: int) -> None:
    """``taking``: shards that are ours and not taken yet. ``now``: ms since the epoch, the broker's."""
    metrics.shards.set(len(shards))
    metrics.cached.set(sum(len(shard.transactions) for shard in shards))
    metrics.waiting.set(sum(1 for shard in shards if shard.not_before) + len(taking))
    heads = [shard.pending[0].timestamp()[1] for shard in shards if shard.pending]
    metrics.behind.set(_age(min(heads, default=now), now))
    timers = [
        due for shard in shards for due in (shard.timers.verdicts.first(), shard.timers.pauses.first()) if due
    ]
    metrics.overdue.set(_age(min(timers, default=now), now))


def tell(shards: Collection[Shard], wellness: Wellness) -> None:
    """How far each shard has committed. One that waits for the registry or a definition stands still for a reason that is
    told already, and that no new process mends."""
    for shard in shards:
        name = f"shard {shard.number}"
        if shard.not_before:
            wellness.forget(name)
        else:
            place = (topics.JOURNAL, shard.number)
            wellness.position(name, shard.committed_position, shard.position, place)


def _age(at: int, now: int) -> float:
    """Seconds since then; 0 if it is still to come."""
    return max(0.0, (now - at) / 1000)
