"""The view's process: reads journal, history and the commands' topics, and keeps the database behind them by moments.

It reads all partitions by itself, without a group's rebalances: one process per database writes, and replicas that share one
on PostgreSQL wait for their turn (view-8). The positions in the database are the truth (view-7); the group ``kantor-view``
gets them too, for lag tools.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event

from kantor.clients import BEGINNING, Batch, Partition, Record
from kantor.codec import Codec
from kantor.errors import ConfigError, KafkaUnavailableError, KantorError, UnknownSchemaError
from kantor.schemas import schema_store
from kantor_orchestrator.config import ENGINE_GROUP, VIEW_GROUP, Settings
from kantor_orchestrator.formats import topics
from kantor_orchestrator.process.wellness import Wellness
from kantor_orchestrator.view.census import INTERVAL as CENSUS
from kantor_orchestrator.view.census import count
from kantor_orchestrator.view.database import Location, ViewWriter, is_shared
from kantor_orchestrator.view.kept import OldSchemas
from kantor_orchestrator.view.metrics import CensusMetrics, ViewMetrics
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.sagas import DeployedSagas
from kantor_orchestrator.view.sql import InUseError, ReplacedError, ViewUnavailableError

log = logging.getLogger("kantor.view")

#: Records in one SQL transaction: more cost less each (a transaction's row is written once for all of them), and hold readers'
#: picture back longer.
BATCH = 10_000
#: The broker waits for 256 KiB or 50 ms: at 20 transactions a second a fetch for each record would be 80 requests a
#: second, and nobody sees 50 ms here.
_FETCH = {"fetch.min.bytes": 262_144, "fetch.wait.max.ms": 50}
#: Seconds that records gather before they are taken: how old the picture is at most, while the view keeps up. The more
#: of a transaction comes at once, the less it costs, so under load (more than so many records at a time) it is more.
GATHER, GATHER_UNDER_LOAD, LOAD = 0.1, 0.5, 1_000
#: Seconds between looks for new topics; between signs of life; between commits for lag tools.
LOOK, ALIVE, COMMIT = 2.0, 2.0, 1.0
#: Seconds between notes of where we are, though nothing came but watermarks: else Kafka may delete them, and it looks as
#: if we had missed something.
NOTE = 60.0
#: Seconds until the projection is started again after trouble; until history of an unknown schema is given up.
AGAIN, PATIENCE = 1.0, 30.0
#: Seconds that a projection has to last until the view is well again; and until trouble that comes then is another one: what
#: comes again and again is told from its second time on.
WELL, CALM = 3.0, 30.0
#: Seconds that the process before us may take to end, if it is not one that shares the database with us.
HANDOVER = 15.0
#: Seconds that opening may take, and storing or counting: a database may be busy, and a new process would not make it faster.
START, STORING = 120.0, 60.0
#: Seconds between attempts to write: to a file; to a server's database, while it is away or another replica writes.
_AGAIN_FILE, _AGAIN_SERVER = 0.2, 1.0


def run_view(
    settings: Settings,
    stop: Event,
    ready: Callable[[], None],
    metrics: ViewMetrics,
    census: CensusMetrics,
    wellness: Wellness | None = None,
) -> None:
    """Project until ``stop``. Kafka or the registry not answering is waited for. Raises ``ConfigError`` for what no
    retry can mend (another process writes to the database, for example)."""
    wellness = wellness or Wellness()
    unknown: dict[int, float] = {}  # schema ids, since when
    database: ViewWriter | None = None
    started, since = time.monotonic(), 0.0  # in trouble (monotonic)

    def tell(why: str) -> None:
        wellness.missing({"the view": (since or started, why)} if why else {})

    try:
        while not stop.is_set():
            database = database or _take(
                settings.view_url,
                stop,
                ready,
                lambda: wellness.beat("view", START),
                tell,
            )
            if database is None:
                return
            began = time.monotonic()
            given_up = frozenset(id_ for id_, since in unknown.items() if time.monotonic() - since > PATIENCE)
            try:
                _Projection(settings, database, metrics, census, wellness).run(stop, ready, given_up)
            except ConfigError:
                raise
            except KantorError as error:
                if isinstance(error, UnknownSchemaError):
                    unknown.setdefault(error.schema_id, time.monotonic())
                if isinstance(
                    error, ViewUnavailableError
                ):  # its lock is lost, too: another replica may write by now
                    database.close()
                    database = None
                    census.forget()
                since = since if since and time.monotonic() - began < CALM else time.monotonic()
                if not isinstance(error, ReplacedError):
                    wellness.missing({"the view": (since, f"restarts: {error}")})
                metrics.restarted()
                log.warning("projecting restarts: %s", error, extra={"action": "view_restarted"})
                stop.wait(AGAIN)
    finally:
        if database is not None:
            database.close()


def _take(
    place: Location,
    stop: Event,
    waiting: Callable[[], None] = lambda: None,
    turning: Callable[[], None] = lambda: None,
    telling: Callable[[str], None] = lambda _: None,
) -> ViewWriter | None:
    """The database, once the process that had it before has ended, or its server answers; None if told to stop meanwhile.

    ``turning`` is called with each attempt, ``waiting`` while another replica writes: this one is well, and takes over when the other ends.
    ``telling`` hears why the database can't be had, and "" where that is no trouble. A file is not shared: raises ``InUseError`` if it stays in use."""
    shared = is_shared(place)
    deadline = time.monotonic() + HANDOVER
    said = ""
    while True:
        turning()
        try:
            return ViewWriter(place)
        except InUseError as error:
            if not shared and time.monotonic() > deadline:
                raise
            if shared:
                waiting()
                telling("")
            why = f"waiting for the turn to write: {error}"
        except ViewUnavailableError as error:
            why = f"waiting for the view's database: {error}"
            telling(f"waits for its database: {error}")
        if why != said and shared:
            log.warning(why, extra={"action": "view_waits"})
            said = why
        if stop.wait(_AGAIN_SERVER if shared else _AGAIN_FILE):
            return None


class _Projection:
    """One life: from the database's positions to the first trouble."""

    def __init__(
        self,
        settings: Settings,
        database: ViewWriter,
        metrics: ViewMetrics,
        census: CensusMetrics,
        wellness: Wellness,
    ) -> None:
        self._wellness = wellness
        self._settings = settings
        self._database = database
        self._metrics = metrics
        self._census = census
        self._admin = settings.kafka.admin("kantor-view-admin")
        self._consumer = settings.kafka.consumer("kantor-view", group=VIEW_GROUP, ends=True, extra=_FETCH)
        self._topic_ids: dict[str, str] = {}
        self._positions: dict[Partition, int] = {}
        self._uncommitted: dict[Partition, int] = {}
        self._last = 0  # records in the last batch
        self._seen_intake = 0
        self._complete = 0  # up to when everything that was written is stored, ms
        self._gaps: set[Partition] = set()
        self._looked_at: dict[int, int] = {}  # by the engine, by shard
        self._next_look = self._next_sign = self._next_commit = self._next_census = 0.0
        self._next_note = time.monotonic() + NOTE
        self._well_at = time.monotonic() + WELL

    def run(self, stop: Event, ready: Callable[[], None], given_up: frozenset[int]) -> None:
        """Raises ``KantorError``: what was not stored is read again by the next life."""
        self._wellness.beat("view", START)
        try:
            projector = self._open(given_up)
            ready()
            while not stop.is_set():
                self._turn(projector, stop)
            self._note()
            self._consumer.commit(self._uncommitted, wait=True)
        finally:
            self._consumer.close()

    def _open(self, given_up: frozenset[int]) -> Projector:
        self._database.refresh()
        found = self._admin.topics()
        for name in (topics.JOURNAL, topics.HISTORY):
            if name not in found:
                raise KafkaUnavailableError(f"{name} does not exist yet")
        self._topic_ids = self._admin.topic_ids([name for name in found if is_ours(name)])
        forget_others(self._database, self._topic_ids)
        self._positions = {
            partition: position for partition, (position, _) in self._database.positions().items()
        }
        starts = self._admin.starts(partitions_of(found, (topics.JOURNAL, topics.HISTORY)))
        self._gaps = gaps(starts, self._positions)
        self._assign(found)
        # A registry that has lost what it had keeps nobody from what was read with it before.
        schemas = OldSchemas(
            schema_store(self._settings.kafka, self._settings.registry_url), self._database.database
        )
        codec = Codec(schemas)
        sagas = DeployedSagas(self._settings.kafka, codec)
        db = self._database
        return Projector(
            codec,
            schemas,
            sagas,
            db.find,
            db.next_no(),
            self._positions,
            given_up,
            db.epochs(),
            _patient_since(),
        )

    def _assign(self, found: Mapping[str, int]) -> None:
        """Read every partition of our topics from its position, or its start."""
        partitions = [(name, p) for name, count in found.items() if is_ours(name) for p in range(count)]
        self._positions = {partition: self._positions.get(partition, BEGINNING) for partition in partitions}
        self._consumer.assign(self._positions)

    def _turn(self, projector: Projector, stop: Event) -> None:
        self._wellness.beat("view")
        batch = self._consumer.poll(0.2, 1)
        if batch.records:
            if self._last < BATCH - 1:  # else there is a backlog: no waiting
                stop.wait(GATHER if self._last < LOAD else GATHER_UNDER_LOAD)
            # A batch's records are a hundred thousand objects without a cycle, gone at once when it is stored.
            with _no_collection():
                self._take(projector, batch)
        else:
            self._metrics.idle()
            self._complete = int(time.time() * 1000)
            self._reached(batch.ends)
        self._now_and_then()

    def _take(self, projector: Projector, first: Batch) -> None:
        more = self._consumer.poll(0, BATCH - 1)
        self._last = len(more.records)
        self._project(projector, first.records + more.records)
        self._reached(more.ends)
        self._reached(first.ends)

    def _project(self, projector: Projector, records: list[Record]) -> None:
        self._wellness.beat("view", STORING)
        start = time.monotonic()
        if self._database.is_remote:
            self._database.expect(projector.unknown(records))
        changes = projector.project(records)
        if self._gaps and (at := after_gaps(records, self._gaps)):
            self._database.incomplete_before(at)
        self._seen_intake = max(self._seen_intake, changes.seen_intake)
        if changes.is_news:
            self._database.store(changes, self._topic_ids)
        self._reached(changes.positions)
        self._complete = records[-1].timestamp()[1]
        age = max(0.0, time.time() - records[-1].timestamp()[1] / 1000)
        self._metrics.projected(changes.records, changes.unreadable, time.monotonic() - start, age)

    def _reached(self, positions: Mapping[Partition, int]) -> None:
        """Ends count, too: what is before them is stored, or is not a record (the marks of Kafka transactions)."""
        if self._gaps and (empty := self._gaps & positions.keys()):
            self._gaps -= empty
            self._database.incomplete_before(int(time.time() * 1000))
        self._positions.update(positions)
        self._uncommitted.update(positions)

    def _now_and_then(self) -> None:
        now = time.monotonic()
        if now >= self._well_at:
            self._well_at = now + WELL
            self._wellness.missing({})
        if now >= self._next_sign:
            self._next_sign = now + ALIVE
            self._database.alive(self._seen_intake, self._complete)
            self._metrics.complete(self._complete)
        if now >= self._next_commit:
            self._next_commit = now + COMMIT
            self._consumer.commit(self._uncommitted)
            self._uncommitted = {}
        if now >= self._next_census:
            self._next_census = now + CENSUS
            self._wellness.beat("view", STORING)
            count(self._settings.view_url, self._census)
        if now >= self._next_note:
            self._next_note = now + NOTE
            self._note()
        if now >= self._next_look:
            self._next_look = now + LOOK
            try:
                self._look()
            except KafkaUnavailableError as error:
                log.info(
                    "could not look for new topics this time: %s", error, extra={"action": "look_failed"}
                )

    def _ask_the_engine(self) -> None:
        """How far has it looked at the journal? What had no consequences is told by nothing else."""
        try:
            found = self._admin.group_offsets(ENGINE_GROUP)
        except KantorError as error:  # the history reports the rest
            log.info("the engine's positions are not known: %s", error, extra={"action": "look_failed"})
            return
        looked_at = {shard: position for (topic, shard), position in found.items() if topic == topics.JOURNAL}
        if looked_at != self._looked_at:
            self._database.looked_at(looked_at)
            self._looked_at = looked_at

    def _note(self) -> None:
        known = {partition: position for partition, position in self._positions.items() if position >= 0}
        self._database.reached(known, self._topic_ids)

    def _look(self) -> None:
        """Are there topics, or partitions, that are not read yet? Are all still the same?"""
        found = {name: count for name, count in self._admin.topics().items() if is_ours(name)}
        ids = self._admin.topic_ids(list(found))
        for name, id_ in self._topic_ids.items():
            if ids.get(name, id_) != id_:
                raise KantorError(f"{name} was recreated")
        self._topic_ids |= ids  # one that is gone for now may come back as another
        self._ask_the_engine()
        if {(name, p) for name, count in found.items() for p in range(count)} != set(self._positions):
            self._assign(found)


def forget_others(database: ViewWriter, ids: Mapping[str, str]) -> None:
    """view-11: forget what was read of topics that are others now: were deleted and recreated. Journal and history are told
    together, so with either of them everything goes; if it is one alone, what began before now is not complete any more."""
    changed = {topic for (topic, _), (_, id_) in database.positions().items() if ids.get(topic) != id_}
    for name in sorted(changed):
        log.warning(
            "%s was recreated: what was read from the old topic is forgotten",
            name,
            extra={"action": "topic_changed"},
        )
    told = changed & {topics.JOURNAL, topics.HISTORY}
    if told:
        database.wipe()
        if len(told) == 1:
            database.incomplete_before(int(time.time() * 1000))
        return
    for name in changed:
        database.forget_positions(name)


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _patient_since() -> int:
    """From then on (ms) a schema may still be published; what is older has waited long enough for it."""
    return int((time.time() - PATIENCE) * 1000)


def partitions_of(found: Mapping[str, int], names: Iterable[str]) -> list[Partition]:
    return [(name, partition) for name in names for partition in range(found[name])]


def gaps(starts: Mapping[Partition, int], positions: Mapping[Partition, int]) -> set[Partition]:
    """Partitions that begin behind our position: Kafka has deleted what we had not read yet."""
    return {partition for partition, start in starts.items() if start > max(0, positions.get(partition, 0))}


def after_gaps(records: Iterable[Record], open_: set[Partition]) -> int:
    """When the first records after these gaps came (ms; 0: none is there): from then on nothing is missing. Gaps that were
    closed are taken out of ``open_``."""
    found = 0
    for record in records:
        partition = record.topic() or "", record.partition() or 0
        if partition in open_:
            open_.discard(partition)
            found = max(found, record.timestamp()[1])
    return found


def is_ours(topic: str) -> bool:
    return topic in (topics.JOURNAL, topics.HISTORY, topics.WATERMARKS) or (
        topic.startswith("cmd.") and topic != topics.OWN_COMMANDS
    )
