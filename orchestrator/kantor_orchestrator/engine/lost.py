"""What Kafka has deleted of a shard's journal and history before an engine that takes it had read it: passed over, and said."""

from __future__ import annotations

import logging

from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.formats import topics

log = logging.getLogger("kantor.shard")


def pass_lost_entries(shard: Shard, start: int) -> None:
    """The journal has lost entries that nobody has looked at: its retention overtook the engine."""
    if start <= shard.position:
        return
    shard.fold_up_to(start - 1)
    log.error(
        "%s/%d has lost the entries from %d to %d, which no engine had read: its retention is shorter than the time "
        "that engines were down; transactions wait for the lost events until a timeout",
        topics.JOURNAL,
        shard.number,
        shard.position,
        start,
        extra={"action": "journal_lost", "shard": shard.number},
    )
    shard.lost_entries = start - shard.position
    shard.position = start


def tell_lost_decisions(shard: Shard, position: int, start: int) -> None:
    """The history has lost decisions behind the last checkpoint, which is at ``position`` in it: what they were about is decided again."""
    if start <= position:
        return
    shard.recreated.append(topics.HISTORY)
    log.error(
        "%s/%d has lost the decisions from %d to %d, which no checkpoint contains: somebody deleted them, or its retention is too short; "
        "the engine decides again on their entries, and their messages may be sent again in another form",
        topics.HISTORY,
        shard.number,
        position,
        start,
        extra={"action": "history_lost", "shard": shard.number},
    )
