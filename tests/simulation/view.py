"""The view as a process of a run: the real projector and the real writer, read and stored as ``view.role`` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from kantor.clients import BEGINNING, Consumer, Partition
from kantor.codec import Codec
from kantor_orchestrator import topics
from kantor_orchestrator.core.transaction import Transaction
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.view.database import Writer
from kantor_orchestrator.view.facts import frames
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.sagas import SagaFacts
from simulation.processes import SCHEMAS, Process

if TYPE_CHECKING:
    from simulation.world import World


class KnownSagas:
    """What is deployed in a run."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def get(self, saga: str, version: int) -> SagaFacts | None:
        found = self._definitions.saga(saga, version)
        return None if found is None else SagaFacts.of(found)


class ViewProcess(Process):
    def __init__(self, world: World, name: str, folder: Path, definitions: Definitions) -> None:
        super().__init__(world, name)
        self.path = folder / "view.db"
        self._sagas = KnownSagas(definitions)
        self._database: Writer | None = None
        self._consumer: Consumer | None = None
        self._projector: Projector | None = None
        self._topic_ids: dict[str, str] = {}

    def _start(self) -> None:
        admin = self.clients.admin()
        counts = admin.topics()
        mine = [name for name in counts if _is_ours(name)]
        self._topic_ids = admin.topic_ids(mine)
        database = self._database = Writer(self.path)
        stored = {partition: position for partition, (position, _) in database.positions().items()}
        self._consumer = self.clients.consumer("kantor-view")
        self._consumer.assign(
            {p: stored.get(p, BEGINNING) for name in mine for p in _partitions(name, counts[name])}
        )
        self._projector = projector(database, self._sagas, stored)

    def _turn(self) -> None:
        assert self._consumer is not None
        assert self._projector is not None
        assert self._database is not None
        records = self._consumer.poll(0, 1 + self.world.random.randrange(50)).records
        if not records:
            return
        self.before("project")
        changes = self._projector.project(records)
        if changes.is_news:
            self._database.store(changes, self._topic_ids)
        self.after("project")

    def _close(self) -> None:
        self._bury()

    def _bury(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._consumer = self._projector = None

    @property
    def is_behind(self) -> bool:
        """Whether there is something that it has not projected."""
        if self._database is None:
            return True
        stored = self._database.positions()
        for name in (topics.HISTORY, topics.JOURNAL):
            for log in self.world.broker.topics[name].logs:
                position, _ = stored.get(log.place, (0, ""))
                found, _, _ = log.read(position, 100_000, 1e12, committed=True)
                if any(entry.key() is not None for entry in found):
                    return True
        return False


def projector(database: Writer, sagas: KnownSagas, positions: dict[Partition, int]) -> Projector:
    return Projector(Codec(SCHEMAS), SCHEMAS, sagas, database.find, database.next_no(), positions)


def _is_ours(topic: str) -> bool:
    return topic in (topics.JOURNAL, topics.HISTORY) or (
        topic.startswith("cmd.") and topic != topics.OWN_COMMANDS
    )


def _partitions(name: str, count: int) -> Iterator[Partition]:
    return ((name, number) for number in range(count))


def disagreements(view: ViewProcess, told: dict[str, Transaction]) -> Iterator[str]:
    """Where the database says something else than ``told``, the transactions as their history tells them."""
    sagas, database = view._sagas, view._database
    assert database is not None
    reader = apsw.Connection(str(view.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for id_, txn in told.items():
            found = reader.execute(
                "SELECT status, held, incidents, no FROM transactions WHERE id = ?", (id_,)
            ).fetchone()
            if found is None:
                yield f"{id_} is not in the view"
                continue
            status, held, incidents, no = found
            if (status, held, incidents) != (txn.status, txn.held, len(txn.incidents)):
                yield f"the view has {id_} {status}, {held=}, {incidents} incidents; it is {txn.status}, {txn.held!r}, {txn.incidents}"
            open_ = [
                step
                for (step,) in reader.execute(
                    "SELECT step FROM incidents WHERE no = ? AND closed_at = 0 ORDER BY step", (no,)
                )
            ]
            if not txn.ended_at and open_ != sorted(incident.step for incident in txn.incidents):
                yield f"the view lists open incidents of {id_}: {open_}; there are {txn.incidents}"
            loaded = projector(database, sagas, {})._load(id_)
            assert loaded is not None
            steps = {path: step.status for path, step in loaded.steps.items()}
            if steps != {path: state.status for path, state in txn.steps.items()}:
                yield f"the view has the steps of {id_} as {steps}, they are {txn.steps}"
            moves = database.find(id_)
            offsets = [offset for offset, _ in frames(moves[1] if moves else b"")]
            if offsets != sorted(set(offsets)):
                yield f"the view has moves of {id_} twice, or in another order: {offsets}"
    finally:
        reader.close()
