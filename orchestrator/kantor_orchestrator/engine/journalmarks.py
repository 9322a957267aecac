"""Watermarks as the journal's entries tell them, until they have a topic of their own."""

from __future__ import annotations

from kantor_orchestrator.journal import Watermark


class JournalMarks:
    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._sources = 1 << 30

    def take(self, found: Watermark) -> None:
        self._sources = found.sources
        existing = set(found.topics)
        for partition in [p for p in self._known if p.rpartition("/")[0] not in existing]:
            del self._known[partition]
        for partition in found.partitions:
            if found.clock > self._known.get(partition, 0):
                self._known[partition] = found.clock

    def low(self) -> int:
        if len(self._known) < self._sources:
            return 0
        return min(self._known.values(), default=0)

    def want(self, shard: int) -> None: ...
