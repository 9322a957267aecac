"""``kantor view rebuild``: projects again from what Kafka still holds, beside the view that is there, and puts the new one in
its place at once. The old one is read, and written by its process, until then; that process notices and goes on with the new
one from its positions.

What Kafka does not have any more is taken over from the old view (``kept.py``), record by record: so the new one is what it
would be if Kafka had kept everything. Stopped or killed at any time, nothing has happened; what was built is thrown away
(view-16).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kantor.clients import Partition, Record
from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError, KantorError, UnknownSchemaError
from kantor.schemas import schema_store
from kantor_orchestrator.config import Settings
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view import kept
from kantor_orchestrator.view.database import ViewWriter, beside, for_reading
from kantor_orchestrator.view.in_order import InOrder
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.role import BATCH, PATIENCE, after_gaps, gaps, is_ours, partitions_of
from kantor_orchestrator.view.rows import RowChanges
from kantor_orchestrator.view.sagas import DeployedSagas
from kantor_orchestrator.view.sql import Database, InUseError

log = logging.getLogger("kantor.view")

#: Records that the process of the view makes up for in a moment: so near the end, the new view takes over.
NEAR = 5_000
#: Times that it is tried to come so near.
PASSES = 10
#: Seconds between words of progress.
_TELL = 1.0
#: Records to fetch at once: megabytes, here nobody waits for the first.
_FETCH = {"fetch.min.bytes": 1_048_576, "fetch.wait.max.ms": 50}


@dataclass(frozen=True, slots=True)
class Progress:
    """``records`` projected, ``kept`` transactions taken over from the old view, ``left`` records, ``rate`` a second."""

    records: int
    kept: int
    left: int
    rate: float


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """``complete_from``: what began before may be missing (ms; 0: nothing is)."""

    records: int
    kept: int
    seconds: float
    complete_from: int


def rebuild(settings: Settings, tell: Callable[[Progress], None]) -> Rebuilt:
    """Raises ``KantorError``: the view is as it was. ``InUseError`` if another rebuild runs."""
    with _both(settings.view_url) as (old, new):
        running = _Rebuild(settings, old, new, tell)
        found = running.run()
        old.replace_by(new.database)
    return found


@contextmanager
def _both(place: str) -> Iterator[tuple[Database, ViewWriter]]:
    try:
        ViewWriter(place).close()  # made if there is none, brought up to date
    except InUseError:
        log.info("the view's process continues meanwhile", extra={"action": "rebuild_beside"})
    new = ViewWriter(beside(place))
    try:
        old = for_reading(place)
        try:
            yield old, new
        finally:
            old.close()
    finally:
        new.close()


class _Rebuild:
    def __init__(
        self, settings: Settings, old: Database, new: ViewWriter, tell: Callable[[Progress], None]
    ) -> None:
        self._old = old
        self._new = new
        self._tell = tell
        self._admin = settings.kafka.admin("kantor-rebuild-admin")
        self._consumer = settings.kafka.consumer("kantor-rebuild", ends=True, extra=_FETCH)
        schemas = schema_store(settings.kafka, settings.registry_url)
        self._schemas = kept.OldSchemas(schemas, old)
        self._codec = Codec(self._schemas)
        self._sagas = kept.OldSagas(DeployedSagas(settings.kafka, Codec(schemas)), old)
        self._given_up: frozenset[int] = frozenset()
        self._projector = self._begin({})
        self._records = self._kept = 0
        self._positions: dict[Partition, int] = {}
        self._checked: dict[Partition, int] = {}
        self._started = self._told = time.monotonic()

    def run(self) -> Rebuilt:
        try:
            return self._run()
        finally:
            self._consumer.close()

    def _run(self) -> Rebuilt:
        found = {name: count for name, count in self._admin.topics().items() if is_ours(name)}
        for name in (topics.JOURNAL, topics.HISTORY):
            if name not in found:
                raise KafkaUnavailableError(
                    f"{name} does not exist: has `kantor run` ever run on this cluster?"
                )
        ids = self._admin.topic_ids(list(found))
        partitions = partitions_of(found, found)
        starts = self._admin.starts(partitions)
        before = self._old_positions(ids)
        self._positions, self._checked = dict(starts), dict(starts)
        complete_from = 0
        if before is not None:
            self._take_over({p: start for p, start in starts.items() if p[0] in before[1]})
            ((complete_from,),) = self._old.rows("SELECT number FROM about WHERE name = 'complete_from'")
        open_gaps = gaps(
            {p: start for p, start in starts.items() if p[0] in (topics.JOURNAL, topics.HISTORY)},
            before[0] if before is not None else {},
        )
        for number in range(PASSES):
            ends = self._admin.ends(partitions)
            if number and self._left(ends) < NEAR:
                break
            complete_from = max(complete_from, self._pass(ends, open_gaps))
        if open_gaps:  # there is nothing behind them
            complete_from = max(complete_from, int(time.time() * 1000))
        self._new.incomplete_before(complete_from)
        self._new.reached(self._positions, ids)
        self._new.seen_as(self._old.rows("SELECT name, at FROM seen"))
        self._say(0)
        return Rebuilt(self._records, self._kept, time.monotonic() - self._started, complete_from)

    def _old_positions(self, ids: Mapping[str, str]) -> tuple[dict[Partition, int], set[str]] | None:
        """Of the old view: how far it has come, and which of its topics are still the same. None if it is of another life of
        the cluster: nothing of it is true any more."""
        stored = self._old.rows("SELECT topic, partition, position, topic_id FROM positions")
        others = {topic for topic, _, _, id_ in stored if ids.get(topic) != id_}
        if others & {topics.JOURNAL, topics.HISTORY}:
            return None
        return {(t, p): position for t, p, position, _ in stored if t not in others}, set(ids) - others

    def _take_over(self, starts: Mapping[Partition, int]) -> None:
        self._new.store(kept.told_of_all(self._old), {})
        if not any(starts.values()) and not self._knows_lost_topics(starts):
            return  # Kafka has everything
        for page in kept.told(self._old, starts):
            self._store(self._projector.recall(page))
            self._kept += len(page)
            self._say(-1)

    def _knows_lost_topics(self, starts: Mapping[Partition, int]) -> bool:
        return any((t, p) not in starts for t, p in self._old.rows("SELECT topic, partition FROM positions"))

    def _pass(self, ends: Mapping[Partition, int], open_gaps: set[Partition]) -> int:
        """To these ends. When what follows the gaps came (ms), if it was among that."""
        reading = InOrder(self._consumer, self._positions, ends)
        found = 0
        while records := reading.take(BATCH):
            if open_gaps:
                found = max(found, after_gaps(records, open_gaps))
            self._project(records)
            self._positions = dict(reading.positions)
            self._records += len(records)
            if time.monotonic() - self._told > _TELL:
                self._check()
                self._say(self._left(ends))
        self._positions = dict(reading.positions)
        self._check()
        return found

    def _project(self, records: list[Record]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self._new.is_remote:
                    self._new.expect(self._projector.unknown(records))
                self._store(self._projector.project(records))
                return
            except UnknownSchemaError as error:  # as the live view does: it may be published yet
                if time.monotonic() > deadline:
                    self._given_up |= {error.schema_id}
                self._projector = self._begin(self._positions)
                time.sleep(0.5)

    def _store(self, changes: RowChanges) -> None:
        self._new.store(changes, {})

    def _begin(self, positions: Mapping[Partition, int]) -> Projector:
        new = self._new
        return Projector(
            self._codec,
            self._schemas,
            self._sagas,
            new.find,
            new.next_no(),
            positions,
            self._given_up,
            new.epochs(),
        )

    def _check(self) -> None:
        """Raises ``KantorError`` if Kafka may have deleted records before they were read."""
        starts = self._admin.starts(list(self._checked))
        for partition, start in starts.items():
            if start > self._checked[partition]:
                raise KantorError(
                    f"Kafka deleted old records of {partition[0]}/{partition[1]} while they were being read; the view is as it was:"
                    " run `kantor view rebuild` again"
                )
        self._checked = dict(self._positions)

    def _left(self, ends: Mapping[Partition, int]) -> int:
        return sum(max(0, end - self._positions[partition]) for partition, end in ends.items())

    def _say(self, left: int) -> None:
        self._told = now = time.monotonic()
        self._tell(Progress(self._records, self._kept, left, self._records / max(0.001, now - self._started)))
