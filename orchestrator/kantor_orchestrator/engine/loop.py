"""The engine's loop: reads the journal, and gives each shard its turn.

One thread does all the work on transactions. What waits for the broker runs beside it (``jobs``): for each shard the writing
of its log, the committing of its checkpoints, its taking. An exception anywhere in a shard's turn leads to one thing: the shard is
retaken. Nothing of it is committed, and no other shard waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from threading import Event

from kantor.clients import Clients, Partition
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec, SchemaStore
from kantor.errors import FencedError, KantorError
from kantor_orchestrator.config import ENGINE_GROUP, NEVER_LONG
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.lookups import AskedError, beside
from kantor_orchestrator.engine.again import Copies
from kantor_orchestrator.engine.appending import EngineEntries
from kantor_orchestrator.engine.deciding import Decider
from kantor_orchestrator.engine.entries import BeingRead, NotYet, PayloadReader
from kantor_orchestrator.engine.firing import Firing
from kantor_orchestrator.engine.gauges import LOOK, Untaken, look
from kantor_orchestrator.engine.memory import Budget
from kantor_orchestrator.engine.pruning import Pruner
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Means, Taking, take
from kantor_orchestrator.engine.unsent import Unsent
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.watermarks import Watermarks
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.process.aside import Aside
from kantor_orchestrator.process.wellness import Wellness

log = logging.getLogger("kantor.engine")

#: Entries of one shard in one turn: the others want theirs.
TURN = 500
#: Seconds after which a turn is over, however few they were: an entry of an ``each`` over a thousand items may take 20 ms.
TURN_SECONDS = 0.1
#: A shard with more turns waiting for the log than this decides no more for now: the broker is slow, or away.
MOST_TURNS = 5_000
#: A shard with more entries waiting than this is not read further for now.
BACKLOG = 5_000
#: Bytes of entries that wait, in all shards of the process, and of turns that do; each shard has its share. What is fetched ahead is
#: bounded by the client.
HELD, HELD_TURNS = 64 << 20, 64 << 20
#: Seconds between attempts while a definition or the registry is missing.
WAIT = 0.5
#: And while an ended transaction is being read from the log.
SOON = 0.002
#: Seconds until it is looked whether the registry has answered.
GLANCE = 0.02
#: Seconds until a shard that was lost, or could not be taken, is tried again; a fenced one mostly belongs to another engine by then.
RETAKE = 1.0
#: Seconds that taking may take before it is taken for hanging in the client.
TAKING_HANGS = 600.0
#: Seconds that all shards that are given back at once get to log, send and commit what is under way.
FAREWELL = 10.0
#: Seconds between commits of the group's offsets, which are for lag tools.
GROUP_INTERVAL = 1.0
#: Bytes that transactions may take in memory, in all shards of the process.
MEMORY = 96 << 20


class Engine:
    """One member of the engine group. One thread calls :meth:`run`, or in place of it :meth:`start`, :meth:`turn` as often
    as it likes, and :meth:`close`."""

    def __init__(
        self,
        clients: Clients,
        shards: int,
        folder: Path,
        schemas: SchemaStore,
        definitions: Definitions,
        metrics: EngineMetrics,
        *,
        waits_for_schemas: bool = True,
        clock: Clock = SYSTEM_CLOCK,
        jobs: Executor | None = None,
        wellness: Wellness | None = None,
    ) -> None:
        """``folder`` holds the shards' stores; ``waits_for_schemas``: see ``PayloadReader``. ``jobs`` runs what waits for
        the broker: threads of its own unless given."""
        self._clock = clock
        self._wellness = wellness or Wellness()
        self._definitions = definitions
        self._metrics = metrics
        metrics.all_shards.set(shards)
        self._all_shards = shards
        self._consumer = clients.consumer(
            "kantor-engine", group=ENGINE_GROUP, extra={"queued.max.messages.kbytes": 32_768} | NEVER_LONG
        )
        self._jobs = jobs or Aside("engine")
        self._time = BrokerTime(clock)
        self._appender = EngineEntries(clients, shards, clock)
        codec, admin = Codec(beside(schemas, self._jobs, clock)), clients.admin("kantor-engine-admin")
        self._means = Means(
            clients, admin, Codec(schemas), folder, self._jobs, Budget(MEMORY), self._appender.refused, clock, self._time
        )  # fmt: skip
        payloads = PayloadReader(codec, definitions, waits=waits_for_schemas)
        self._codec = codec
        self._copies = Copies(clients, admin, self._appender, self._jobs, clock)
        self._decider = Decider(codec, definitions, payloads, self._copies, metrics, self._time, shards)
        self._watermarks = Watermarks(clients, "kantor-engine", clock, self._time.observe)
        starts, unsent = self._decider.starts_ignored, Unsent(admin, self._jobs)
        self._untaken = Untaken(self._watermarks, self._wellness, metrics, starts, unsent)
        self._firing = Firing(self._appender, admin, self._jobs, self._watermarks, metrics, self._time)
        self._pruner = Pruner()
        self._shards: dict[int, Shard] = {}
        self._taking: dict[int, Taking] = {}
        self._paused: set[int] = set()
        self._gaps: dict[int, tuple[int, int]] = {}  # met once: (from, to)
        self._ready: Callable[[], None] = lambda: None
        self._is_member = False  # the group has told what is ours
        self._next_look = self._next_group = 0.0

    # -- the loop

    def run(self, stop: Event, ready: Callable[[], None]) -> None:
        """Work until ``stop``. Raises ``KantorError`` if Kafka refuses for good: the caller starts a new engine."""
        try:
            self.start(ready)
            while not stop.is_set():
                self.turn()
        finally:
            self.close()

    def start(self, ready: Callable[[], None]) -> None:
        """Join the group. ``ready`` is called when every shard that is ours is taken, also if none is: there are more engines than
        shards."""
        self._ready = ready
        self._consumer.subscribe(
            [topics.JOURNAL], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()  # gives the shards back
        self._jobs.shutdown()
        self._copies.close()
        self._appender.close()
        self._untaken.close()
        self._watermarks.close()

    def turn(self) -> None:
        """One turn of the loop."""
        self._wellness.beat("engine")
        batch = self._consumer.poll(self._patience(), 2_000)
        for record in batch.records:
            shard = self._shards.get(record.partition())
            if shard is not None:
                shard.pending.append(record)
        latest = max((record.timestamp()[1] for record in batch.records), default=0)
        if latest:
            self._time.observe(latest)
        self._watermarks.poll()
        self._definitions.refresh(latest)
        self._appender.poll()
        self._take_shards()
        for shard in list(self._shards.values()):
            try:
                self._tend(shard)
            except Exception as error:  # noqa: BLE001 - whatever it is, the log is the truth
                self._lose(shard, error)
        self._balance()
        self._look()

    def _tend(self, shard: Shard) -> None:
        """One shard's turn. Whatever it raises: the shard is retaken."""
        now = self._clock.monotonic()
        shard.writer.check(now)
        shard.sender.poll()
        took = shard.tend_checkpoint(now)
        if took is not None:
            self._metrics.commit.observe(took)
        self._firing.fire_due(shard)
        if shard.pending and now >= shard.not_before:
            self._process(shard)

    def _process(self, shard: Shard) -> None:
        pending, done = shard.pending, 0
        shard.not_before, shard.waits_for = 0.0, ""
        over = self._clock.monotonic() + TURN_SECONDS
        while pending and done < TURN and not self._is_full(shard) and self._clock.monotonic() < over:
            record = pending[0]
            offset = record.offset()
            if offset < shard.position:
                self._goes_back(shard, offset)
                pending.popleft()
                continue
            if offset > shard.position:
                self._gap(shard, offset)
            try:
                self._decider.apply(shard, record)
            except NotYet as reason:
                self._wait(shard, reason)
                break
            pending.popleft()
            shard.passed(offset)
            done += 1
        if done:
            self._metrics.batch.observe(done)
        self._metrics.tally.flush()

    def _wait(self, shard: Shard, reason: NotYet) -> None:
        now = self._clock.monotonic()
        shard.waits_since, shard.waits_for = shard.waits_since or now, str(reason)
        if isinstance(reason, BeingRead):
            shard.not_before = now + SOON
            return
        if isinstance(reason.__cause__, AskedError):  # a registry that is well answers at once
            shard.not_before = now + GLANCE
            return
        shard.not_before = now + WAIT
        log.warning("shard %d waits: %s", shard.number, reason, extra={"action": "shard_waits"})

    def _goes_back(self, shard: Shard, offset: int) -> None:
        """An entry that was dealt with comes once more. Retaking the shard tells whether the journal is another one; the
        same position twice means that it is not."""
        gap = shard.position, shard.position
        if self._gaps.get(shard.number) != gap:
            self._gaps[shard.number] = gap
            raise KantorError(f"{topics.JOURNAL}/{shard.number} goes back from {shard.position} to {offset}")

    def _gap(self, shard: Shard, offset: int) -> None:
        """Entries are missing: either the client has skipped some, or there are none. Retaking the shard reads again,
        and tells what retention took; the same gap twice means that nothing is there."""
        gap = shard.position, offset
        if self._gaps.get(shard.number) != gap:
            self._gaps[shard.number] = gap
            raise KantorError(f"{topics.JOURNAL}/{shard.number} jumps from {gap[0]} to {gap[1]}")
        facts = {"action": "journal_gap", "shard": shard.number}
        log.error("%s/%d has no entries from %d to %d", topics.JOURNAL, shard.number, *gap, extra=facts)
        shard.position = offset

    def _patience(self) -> float:
        """How long nothing needs to be done, unless an entry comes (s)."""
        patience, now = 0.02 if self._watermarks.is_awaited else 0.1, self._time.certain()
        for shard in self._shards.values():
            if shard.pending and not shard.not_before:
                return 0.001 if self._is_full(shard) else 0
            if shard.pending:
                patience = min(patience, shard.not_before - self._clock.monotonic())
            if due := shard.timers.pauses.first():
                patience = min(patience, (due - now) / 1000)
            if (due := shard.timers.verdicts.first()) > now:
                patience = min(patience, (due - now) / 1000)
            if shard.sampled_end is not None:
                patience = min(patience, 0.005)
        return max(0.001, patience)

    def _is_full(self, shard: Shard) -> bool:
        """Whether it has more turns waiting for the log than it may."""
        writer = shard.writer
        return writer.waiting >= MOST_TURNS or writer.held > HELD_TURNS // len(self._shards)

    def _balance(self) -> None:
        share = HELD // max(1, len(self._shards))
        for number, shard in self._shards.items():
            if (len(shard.pending) > BACKLOG or shard.pending.held > share) and number not in self._paused:
                self._consumer.pause([(topics.JOURNAL, number)])
                self._paused.add(number)
            elif (
                len(shard.pending) < BACKLOG // 2
                and shard.pending.held <= share // 2
                and number in self._paused
            ):
                self._consumer.resume([(topics.JOURNAL, number)])
                self._paused.discard(number)

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK
            look(self._shards.values(), self._metrics, self._time)
            self._metrics.unread.set(len(self._definitions.unread))
            self._untaken.tell(self._shards, self._taking, now, self._time.now(), self._clock.now())
            if self._watermarks.is_read:
                self._pruner.look(self._shards.values(), self._watermarks.told, now, self._time.now())
        if now >= self._next_group:
            self._next_group = now + GROUP_INTERVAL
            positions = {
                (topics.JOURNAL, number): shard.committed_position
                for number, shard in self._shards.items()
                if shard.committed_position > shard.told_position
            }
            self._consumer.commit(positions)
            for (_, number), position in positions.items():
                self._shards[number].told_position = position

    # -- shards come and go

    def _assigned(self, partitions: list[Partition]) -> None:
        self._untaken.joined()
        self._is_member = True
        for _, number in partitions:
            if number < self._all_shards:  # else somebody has added partitions: nothing belongs there
                self._taking[number] = Taking(self._clock.monotonic())

    def _take_shards(self) -> None:
        """Bring the taking of shards on: each in a thread of its own, nobody waits for it."""
        now = self._clock.monotonic()
        for number, taking in list(self._taking.items()):
            place: Partition = (topics.JOURNAL, number)
            if taking.job is None:
                if number not in self._paused:
                    self._consumer.pause([place])
                    self._paused.add(number)
                if now >= taking.not_before:
                    taking.began = now
                    taking.job = self._jobs.submit(take, number, self._means, taking)
            elif taking.job.done():
                del self._taking[number]
                try:
                    shard = taking.job.result()
                    self._consumer.seek(place, shard.position)
                except Exception as error:  # noqa: BLE001 - told, and tried again
                    log.warning(
                        "shard %d can't be taken yet: %s", number, error, extra={"action": "take_failed"}
                    )
                    self._taking[number] = taking.again(now + RETAKE, str(error) or type(error).__name__)
                    continue
                self._shards[number] = shard
                shard.transactions.read_with(self._codec)  # who took it could wait for the registry, we can't
                self._metrics.lost.inc(shard.lost_entries)
                self._untaken.taken(shard, self._time.now())
                self._consumer.resume([place])
                self._paused.discard(number)
            elif now - taking.began > TAKING_HANGS:
                log.error("taking shard %d hangs in the Kafka client", number, extra={"action": "take_hangs"})
                taking.job.add_done_callback(_let_go)
                self._taking[number] = taking.again(now, f"{taking.does}, for {TAKING_HANGS:.0f} s")
        if not self._taking and self._is_member:
            self._ready()

    def _lose(self, shard: Shard, error: Exception) -> None:
        """Forget what memory holds of a shard, and retake it if it is still ours."""
        number = shard.number
        facts = {"action": "shard_retaken", "shard": number}
        if isinstance(error, KantorError | TimeoutError):
            log.warning("shard %d is retaken: %s", number, error, extra=facts)
        else:
            log.error("shard %d is retaken", number, exc_info=error, extra=facts)
        self._metrics.retaken.inc()
        pause = self._untaken.retaken(shard, now := self._clock.monotonic(), error)
        self._shards.pop(number).close()
        self._wellness.forget(f"shard {number}")
        if (topics.JOURNAL, number) in self._consumer.assignment():
            if isinstance(error, FencedError) or not isinstance(error, KantorError):
                pause = max(pause, RETAKE)
            why = str(error) or type(error).__name__
            self._taking[number] = Taking(now, now + pause, failed=why if pause else "")

    def _revoked(self, partitions: list[Partition]) -> None:
        deadline = self._clock.monotonic() + FAREWELL
        for _, number in partitions:
            self._give_up(number)
            shard = self._shards.pop(number, None)
            if shard is None:
                continue
            try:
                shard.finish(max(0.01, deadline - self._clock.monotonic()))
            except (KantorError, TimeoutError) as error:
                facts = {"action": "revoke", "shard": number}
                log.warning(
                    "shard %d is given back without its last checkpoint: %s", number, error, extra=facts
                )
            shard.close()
            self._wellness.forget(f"shard {number}")
            log.info("shard %d given back", number, extra={"action": "shard_revoked", "shard": number})

    def _lost(self, partitions: list[Partition]) -> None:
        self._untaken.lost(self._clock.monotonic())
        for _, number in partitions:
            self._give_up(number)
            shard = self._shards.pop(number, None)
            if shard is not None:
                shard.close()
                self._wellness.forget(f"shard {number}")
                log.warning("shard %d was lost", number, extra={"action": "shard_lost", "shard": number})

    def _give_up(self, number: int) -> None:
        """It is not ours any more: if it is being taken, whoever takes it lets go of it."""
        self._paused.discard(number)
        taking = self._taking.pop(number, None)
        if taking is not None and taking.job is not None:
            taking.job.add_done_callback(_let_go)


def _let_go(job: Future[Shard]) -> None:
    if not job.cancelled() and job.exception() is None:
        job.result().close()
