"""The whole platform in memory, two healthy orders, and whatever the world sends beside them.

Every role is the real one, run as the simulation runs it. A healthy order is placed before and after the hostile records;
that both complete says that no role died, stood still, or recreated its clients for a record that will come again.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from fuzz.hostile import FOREIGN, HostileRecord
from integration.decisions import Log
from kantor.codec import Codec
from kantor.metrics import Metrics
from kantor.testing.log import Entry
from kantor_orchestrator.core.transaction import ENDED, Status
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.metrics import EngineMetrics, IntakeMetrics
from simulation import processes
from simulation.plan import Plan, Started
from simulation.processes import ServiceProcess
from simulation.shapes import checkout
from simulation.world import World

BEFORE, AFTER = "healthy-1", "healthy-2"
#: Virtual seconds: when the second healthy order is placed, and by when both must have ended. No timeout of theirs (30 s) may
#: have gone off by then.
_SECOND, _BY = 1.0, 25.0
#: Turns after the last end, so that everybody has read everything.
_FURTHER = 200
#: In memory, if there is such a place.
_MEMORY = Path("/dev/shm")


class Besieged:
    def __init__(self, folder: Path) -> None:
        self.intake_registry, self.engine_registry = CollectorRegistry(), CollectorRegistry()
        processes.INTAKE_METRICS = IntakeMetrics(self.intake_registry)
        processes.ENGINE_METRICS = EngineMetrics(self.engine_registry)
        processes.SERVICE_METRICS = self._services = Metrics()
        healthy = (Started(BEFORE, 0.0), Started(AFTER, _SECOND))
        self.world = World(Plan(0, checkout(), healthy, (), engines=1, intakes=1, view=True), folder)
        self.world.broker.create_topic(FOREIGN)
        self._log = Log(Codec(processes.SCHEMAS))
        self._read: Counter[int] = Counter()
        #: By transaction, as the history says.
        self.statuses: dict[str, str] = {}

    def run(self, hostile: Iterable[HostileRecord]) -> list[Entry]:
        """Send these in the first second, and go on until both healthy orders have ended; the records as the broker has them.

        Raises whatever leaves a role's code, and ``AssertionError`` if a healthy order does not complete.
        """
        world, left, sent = self.world, list(reversed(list(hostile))), list[Entry]()
        further = _FURTHER
        while further and world.clock.monotonic() < _BY:
            world._turn()
            if left and world.clock.monotonic() > 0.05:
                sent.append(self._append(left.pop()))
            if not left and self._both_ended():
                further -= 1
        found = {id_: self.statuses.get(id_) for id_ in (BEFORE, AFTER)}
        assert found == {BEFORE: Status.COMPLETED, AFTER: Status.COMPLETED}, (found, self.troubles())
        assert self.troubles() == []
        return sent

    def troubles(self) -> list[str]:
        """Roles that had to begin again."""
        return [text for _, text in self.world.notes if "starts again" in text or "in trouble" in text]

    def unaccounted(self, sent: Iterable[Entry]) -> list[str]:
        """Topics of which intake has neither journaled nor counted every record that somebody sent."""
        journaled = {
            dict(entry.headers() or ()).get(journal.ORIGIN, b"").decode()  # type: ignore[union-attr]
            for log in self.world.broker.topics[topics.JOURNAL].logs
            for entry in log.entries
        }
        missing = Counter(
            entry.topic()
            for entry in sent
            if f"{entry.topic()}/{entry.partition()}/{entry.offset()}" not in journaled
        )
        counted = Counter[str]()
        for metric in self.intake_registry.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total") and "topic" in sample.labels:
                    counted[sample.labels["topic"]] += int(sample.value)
        return [
            f"{topic}: {count} records are not in the journal, {counted[topic]} are counted"
            for topic, count in missing.items()
            if counted[topic] < count
        ]

    def uncounted_by_services(self) -> int:
        """Of the records on the topics that services read, how many no service has counted: as handled, skipped or dead."""
        consumed = Counter(
            topic
            for process in self.world.processes
            if isinstance(process, ServiceProcess)
            for topic in {handler.topic for handler in process._service.handlers}
        )
        expected = sum(
            readers * len(log.read(0, 1_000_000, 1e12, committed=True)[0])
            for topic, readers in consumed.items()
            for log in self.world.broker.topics[topic].logs
        )
        counted = sum(
            sample.value
            for metric in (self._services.messages, self._services.skipped)
            for family in metric.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        )
        return expected - int(counted)

    def _append(self, record: HostileRecord) -> Entry:
        logs = self.world.broker.topics[record.topic].logs
        partition = record.partition % len(logs)
        entry = self.world.broker.append(
            record.topic, partition, record.key, record.value, record.headers, record.timestamp, None
        )
        self.world.broker.version += 1
        self.world.ledger.foreign.add(entry)
        return entry

    def _both_ended(self) -> bool:
        for number, log in enumerate(self.world.broker.topics[topics.HISTORY].logs):
            found, self._read[number], _ = log.read(self._read[number], 1_000, 1e12, committed=True)
            for entry in found:
                decision = self._log.valid(entry)
                if decision is not None:
                    self.statuses[decision["transaction_id"]] = decision["status"]
        return all(self.statuses.get(id_) in ENDED for id_ in (BEFORE, AFTER))


@contextmanager
def besieged() -> Iterator[Besieged]:
    """A platform of its own; nothing is left of it. It logs nothing: all of its warnings are wanted."""
    folder = Path(tempfile.mkdtemp(prefix="kantor-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    found = Besieged(folder)
    try:
        yield found
    finally:
        found.world.close()
        logging.disable(before)
        shutil.rmtree(folder, ignore_errors=True)
