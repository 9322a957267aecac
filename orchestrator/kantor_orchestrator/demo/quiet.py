"""Until nothing is under way: no service has a backlog, nor has intake or the engine, and none of them made new work.

Committed positions alone don't tell: behind the last record of a Kafka transaction lies its commit marker, which no
consumer ever sees, so a group's position stays short of the end. What is left behind the position is therefore read.

The order of looking makes it safe. A group's positions are sampled *before* the ends: a group that is at the ends then
had done everything that was there, and had delivered the results. Then the engine: what lay in the journal. If the
topics' ends are still where they were, that changed nothing, and only a timer could start
anything.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from kantor.clients import Partition
from kantor.kafka import KafkaSettings
from kantor_orchestrator.config import ENGINE_GROUP, INTAKE_GROUP
from kantor_orchestrator.formats import topics

#: Seconds to read a few records that are there.
_READ = 10.0
#: An empty fetch, which tells the end, would wait 500 ms.
_PROMPT = {"fetch.wait.max.ms": 10}


class Quiet:
    """Looks at the groups of the platform and of ``services``: each one's topics."""

    def __init__(self, settings: KafkaSettings, services: Mapping[str, Sequence[str]]) -> None:
        self._admin = settings.admin("kantor-demo")
        self._reader = settings.consumer("kantor-demo", ends=True, extra=_PROMPT)
        self._services = services

    def close(self) -> None:
        self._reader.close()

    def ready(self) -> list[str]:
        """The groups that do not have all their partitions yet."""
        counts = self._admin.topics()
        missing = []
        for group, names in self._groups(counts).items():
            assigned = {p for found in self._admin.group_members(group).values() for p in found}
            if not names or not assigned.issuperset(_partitions(names, counts)):
                missing.append(group)
        return missing

    def busy(self) -> str:
        """Who is still at work; empty if nothing is under way."""
        counts = self._admin.topics()
        groups = self._groups(counts)
        journal = _partitions(groups.pop(ENGINE_GROUP), counts)
        positions = {group: self._admin.group_offsets(group) for group in groups}
        everything = _partitions({name for names in groups.values() for name in names}, counts)
        ends = self._admin.ends(everything)
        for group, names in groups.items():
            if self._is_behind(positions[group], {p: ends[p] for p in _partitions(names, counts)}):
                return group
        journaled = self._admin.ends(journal)
        if self._is_behind(self._admin.group_offsets(ENGINE_GROUP), journaled):
            return ENGINE_GROUP
        return "" if self._admin.ends(everything) == ends else ENGINE_GROUP

    def _groups(self, counts: Mapping[str, int]) -> dict[str, list[str]]:
        sources = [name for name in counts if name.startswith(("evt.", "cmd."))]
        own = {group: [name for name in names if name in counts] for group, names in self._services.items()}
        return {INTAKE_GROUP: sources, ENGINE_GROUP: [topics.JOURNAL], **own}

    def _is_behind(self, positions: Mapping[Partition, int], ends: Mapping[Partition, int]) -> bool:
        """Whether there is a record between the positions and the ends."""
        rest = {p: positions.get(p, 0) for p, end in ends.items() if positions.get(p, 0) < end}
        if not rest:
            return False
        self._reader.assign(rest)
        try:
            open_, deadline = set(rest), time.monotonic() + _READ
            while open_ and time.monotonic() < deadline:
                batch = self._reader.poll(0.1)
                for record in batch.records:
                    partition = record.topic(), record.partition()
                    if record.offset() < ends[partition]:
                        return True
                    if record.offset() + 1 >= ends[partition]:
                        open_.discard(partition)
                # Short of the end: an open Kafka transaction hides what it wrote.
                open_ -= {p for p, end in batch.ends.items() if end >= ends[p]}
            return bool(open_)
        finally:
            self._reader.assign({})


def _partitions(names: Sequence[str] | set[str], counts: Mapping[str, int]) -> list[Partition]:
    return [(name, number) for name in sorted(names) for number in range(counts.get(name, 0))]
