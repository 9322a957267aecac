"""The view as a process of a run: the real projector and the real writer, read and stored as ``view.role`` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kantor.clients import BEGINNING, Consumer, Partition
from kantor.codec import Codec
from kantor.errors import KantorError
from kantor_orchestrator.config import ENGINE_GROUP
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.database import ViewWriter
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.role import LOOK, forget_others, is_ours
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
        self._database: ViewWriter | None = None
        self._consumer: Consumer | None = None
        self._projector: Projector | None = None
        self._topic_ids: dict[str, str] = {}
        self._next_look = 0.0

    def _start(self) -> None:
        admin = self.clients.admin()
        counts = admin.topics()
        mine = [name for name in counts if is_ours(name) and name != topics.WATERMARKS]
        self._topic_ids = admin.topic_ids(mine)
        database = self._database = ViewWriter(self.path)
        forget_others(database, self._topic_ids)
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
        if self.clock.monotonic() >= self._next_look:
            self._look()
        records = self._consumer.poll(0, 1 + self.world.random.randrange(50)).records
        if not records:
            return
        self.before("project")
        changes = self._projector.project(records)
        if changes.is_news:
            self._database.store(changes, self._topic_ids)
        self.after("project")

    def _look(self) -> None:
        """Are all topics still the same? And how far has the engine looked at the journal?"""
        assert self._database is not None
        self._next_look = self.clock.monotonic() + LOOK
        admin = self.clients.admin()
        if admin.topic_ids(list(self._topic_ids)) != self._topic_ids:
            raise KantorError("a topic was recreated")
        offsets = admin.group_offsets(ENGINE_GROUP).items()
        self._database.looked_at({shard: n for (topic, shard), n in offsets if topic == topics.JOURNAL})

    def _close(self) -> None:
        self._bury()

    def _bury(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._consumer = self._projector = None

    @property
    def is_behind(self) -> bool:
        """Whether there is something that it has not projected. What changes no row (void decisions) moves the projector, and no
        position in the database."""
        if self._projector is None:
            return True
        for name, id_ in self._topic_ids.items():
            topic = self.world.broker.topics[name]
            if topic.id != id_:
                return True
            for log in topic.logs:
                position = self._projector.position(log.place)
                if log.read(position, 1, 1e12, committed=True)[0]:
                    return True
        return False


def projector(database: ViewWriter, sagas: KnownSagas, positions: dict[Partition, int]) -> Projector:
    return Projector(
        Codec(SCHEMAS), SCHEMAS, sagas, database.find, database.next_no(), positions, epochs=database.epochs()
    )


def _partitions(name: str, count: int) -> Iterator[Partition]:
    return ((name, number) for number in range(count))
