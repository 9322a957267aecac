"""How an engine's shards stand, for whoever watches: looked at now and then, between two batches, by the engine's own thread."""

from __future__ import annotations

from collections.abc import Collection

from kantor_orchestrator import topics
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.shard import Shard
from kantor_orchestrator.wellness import Wellness

#: Seconds between looks: nobody scrapes more often.
LOOK = 1.0


def look(shards: Collection[Shard], metrics: EngineMetrics, now: int) -> None:
    """``now``: ms since the epoch."""
    metrics.shards.set(len(shards))
    metrics.cached.set(sum(shard.cached for shard in shards))
    metrics.waiting.set(sum(1 for shard in shards if shard.not_before))
    heads = [shard.pending[0].timestamp()[1] for shard in shards if shard.pending]
    metrics.behind.set(_age(min(heads, default=now), now))
    timers = [due for shard in shards for due in (shard.verdicts.first(), shard.pauses.first()) if due]
    metrics.overdue.set(_age(min(timers, default=now), now))


def tell(shards: Collection[Shard], wellness: Wellness) -> None:
    """How far each shard has committed. One that waits for a schema or a definition stands still for a reason that is told
    already, and that no new process mends."""
    for shard in shards:
        name = f"shard {shard.number}"
        if shard.not_before:
            wellness.forget(name)
        else:
            wellness.position(name, shard.kept, shard.position, (topics.JOURNAL, shard.number))


def _age(at: int, now: int) -> float:
    """Seconds since then; 0 if it is still to come (the broker's clock may be ahead of ours)."""
    return max(0.0, (now - at) / 1000)
