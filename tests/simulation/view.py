"""The view as a process of a run: the real projector and the real writer, read and stored as ``view.role`` does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kantor.clients import BEGINNING, Consumer, Partition
from kantor.codec import Codec
from kantor_orchestrator import topics
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.transaction import StepStatus, Transaction
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.view.database import Writer
from kantor_orchestrator.view.facts import frames
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.queries import Summary, View
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_orchestrator.view.shown import what_is_open
from kantor_orchestrator.view.trace import Trace
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
        """Whether there is something that it has not projected. What changes no row (void decisions) moves the projector, and no
        position in the database."""
        if self._projector is None:
            return True
        for name in (topics.HISTORY, topics.JOURNAL):
            for log in self.world.broker.topics[name].logs:
                position = self._projector.position(log.place)
                found, _, _ = log.read(position, 100_000, 1e12, committed=True)
                if any(entry.key() is not None for entry in found):
                    return True
        return False


def projector(database: Writer, sagas: KnownSagas, positions: dict[Partition, int]) -> Projector:
    return Projector(
        Codec(SCHEMAS), SCHEMAS, sagas, database.find, database.next_no(), positions, epochs=database.epochs()
    )


def _is_ours(topic: str) -> bool:
    return topic in (topics.JOURNAL, topics.HISTORY) or (
        topic.startswith("cmd.") and topic != topics.OWN_COMMANDS
    )


def _partitions(name: str, count: int) -> Iterator[Partition]:
    return ((name, number) for number in range(count))


def disagreements(view: ViewProcess, told: dict[str, Transaction]) -> Iterator[str]:
    """Where people are shown something else than ``told``, the transactions as their history tells them."""
    database = view._database
    assert database is not None
    with View(view.path) as shown:
        for id_, txn in told.items():
            found = shown.summaries([id_])
            if not found:
                yield f"{id_} is not in the view"
                continue
            facts = view._sagas.get(txn.saga, txn.version) if txn.saga else None
            trace = shown.trace(id_)
            for name, is_, should_be in (
                *_of_the_whole(found[0], txn, facts),
                *_of_the_trace(trace, txn, facts),
            ):
                if is_ != should_be:
                    yield f"the view shows {name} of {id_} as {is_!r}, it is {should_be!r} of {txn}"
            loaded = database.find(id_)
            offsets = [offset for offset, _ in frames(loaded[1] if loaded else b"")]
            if offsets != sorted(set(offsets)):
                yield f"the view has decisions of {id_} twice, or in another order: {offsets}"


#: What is shown, as it is shown, and as it should be.
_Compared = tuple[str, object, object]


def _of_the_whole(found: Summary, txn: Transaction, facts: SagaFacts | None) -> Iterator[_Compared]:
    """In lists."""
    open_ = what_is_open(txn, facts)
    yield "status", found.status, txn.status
    yield "saga", (found.saga, found.version), (txn.saga, txn.version)
    yield "hold", found.held, txn.held
    yield "reason", found.reason, txn.reason
    yield "end", found.ended_at, txn.ended_at
    yield "number of incidents", found.incidents, len(txn.incidents)
    yield "first timer", found.due, open_.due
    yield "open steps", found.open_steps, json.loads(open_.steps)
    yield "who has the ball", found.waiting_for, json.loads(open_.waiting_for)
    if facts is not None:
        captured: dict[str, str] = {}
        for fields in txn.captured.values():
            for name in facts.keys:
                if fields.get(name) is not None:
                    captured.setdefault(name, str(fields[name]))
        yield "names of keys", {name for name, _ in found.keys}, set(captured)


def _of_the_trace(trace: Trace, txn: Transaction, facts: SagaFacts | None) -> Iterator[_Compared]:
    """On the page of one."""
    yield "parent", trace.parent, txn.parent
    shown = {step.name: step for step in trace.steps}
    unreached = set(facts.steps) - {definition_path(path) for path in txn.steps} if facts else set()
    yield "steps", set(shown), set(txn.steps) | unreached
    for path, state in txn.steps.items():
        step = shown[path]
        for name in ("status", "timer", "due", "started_at", "code", "reason"):
            yield f"{name} of {path}", getattr(step, name), getattr(state, name)
        if state.status is not StepStatus.COMPENSATED:
            yield f"ended_at of {path}", step.ended_at, state.ended_at
        if state.round == 1:
            yield f"tries of {path}", step.attempts, state.attempt or int(state.started_at > 0)
        if state.compensation_round <= 1:
            yield f"compensations of {path}", step.compensation_attempts, state.compensation_attempt
    open_ = [(i.kind, i.step, i.reason, i.opened_at) for i in trace.incidents if not i.closed_at]
    yield "incidents", sorted(open_), sorted((i.kind, i.step, i.reason, i.opened_at) for i in txn.incidents)
