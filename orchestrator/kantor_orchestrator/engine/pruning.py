"""Marks of source topics that are gone: a shard forgets them once no replay of their records can come any more (journal-15).

Members of intake say which topics they read, by id, in the topic of watermarks. A topic that was deleted, or recreated under
another id, is in none of these lists, and never will be: no id is given twice.
"""

from __future__ import annotations

from collections.abc import Collection

from kantor_orchestrator.core.decide import OLD_START
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.formats.watermarks import Statements

#: Seconds between looks.
LOOK = 600.0
#: For how long (ms) nobody must have read a topic until its marks are forgotten. No member of intake that hung keeps its records
#: for so long; and should one of them be journaled again all the same, it is too old to start anything.
GONE = OLD_START
#: What stands for a topic's id where the broker gives none begins with this. It may be given again.
_NO_ID = "name:"


class Pruner:
    """Of one engine; owned by its thread."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._absent: dict[
            str, tuple[float, int]
        ] = {}  # by topic id: since when, monotonic (s) and the broker's (ms)

    def look(self, shards: Collection[Shard], told: Statements, now: float, time: int) -> None:
        """Call it as often as you like, once the watermarks have been read. ``now``: monotonic (s); ``time``: the broker's (ms)."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK
        read = told.topics_read()
        if read is None:
            return
        marked = {source.rpartition("/")[0] for shard in shards for source in shard.marks}
        absent = {id_ for id_ in marked - read if not id_.startswith(_NO_ID)}
        self._absent = {id_: self._absent.get(id_, (now, time)) for id_ in absent}
        for shard in shards:
            gone = {
                id_
                for id_, (since, at) in self._absent.items()
                # The second: what was journaled by then, the shard has processed.
                if now - since >= GONE / 1000 and shard.clock >= at + GONE
            }
            shard.forget_marks([source for source in shard.marks if source.rpartition("/")[0] in gone])
