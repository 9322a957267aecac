"""What the log has, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from simulation.world import World


def nothing_leaves_unlogged(world: World) -> Iterator[str]:
    """Every message of the engine is in a valid decision, byte for byte; and what is logged has left."""
    ledger = world.ledger
    logged = {
        (m.topic, m.key, tuple(m.headers), m.value)
        for decisions in ledger.decisions.values()
        for decision in decisions
        for m in decision.messages
    }
    sent = set()
    for command in ledger.commands:
        c = command.content
        found = (c.topic, c.key, tuple(c.headers), c.value)
        sent.add(found)
        if found not in logged:
            yield f"{command.transaction}: {command.type} {command.id} at {command.place} is in no decision"
    for topic, _, headers, _ in logged - sent:
        yield f"{dict(headers)['ce_id']!r} for {topic} is logged, and was never sent"


def in_order(world: World) -> Iterator[str]:
    """The log has one decision for an entry, in the order of the journal."""
    for shard, decisions in world.ledger.decisions.items():
        offsets = [decision.journal_offset for decision in decisions]
        if any(one >= other for one, other in pairwise(offsets)):
            yield f"shard {shard}: the log's decisions are on the entries {offsets}"
