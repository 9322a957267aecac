"""The engine: reads the journal, decides, writes commands, history and state in one Kafka transaction per batch.

One thread does all the work on transactions; each shard's commit (which waits for the broker) runs in a thread of its
own, so that the commits of some shards hide behind the work on others. A shard has at most one batch under way.

``shard.py`` opens with the rules that keep this from losing, doubling or resurrecting anything; ``core/decide.py`` says
what an entry means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from threading import Event

from kantor.clients import Clients, Partition, Record
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec, SchemaStore
from kantor.errors import CodecError, FencedError, KafkaUnavailableError, KantorError
from kantor_orchestrator import journal, topics
from kantor_orchestrator.aside import Aside
from kantor_orchestrator.config import ENGINE_GROUP
from kantor_orchestrator.core.acts import NO_TRANSACTION
from kantor_orchestrator.core.decide import decide
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.core.transaction import Kind, Transaction, Transition, evolve
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.entries import (
    UNKNOWN_SCHEMA_GRACE,
    MalformedEntry,
    NotYet,
    PayloadReader,
    act_entry,
    headers_of,
    mark_of,
    message_entry,
    sent_at,
    timer_entry,
    transaction_of,
    watermark,
)
from kantor_orchestrator.firing import Firing
from kantor_orchestrator.gauges import LOOK, look, tell
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.outgoing import Outgoing
from kantor_orchestrator.shard import Batch, Shard
from kantor_orchestrator.store.sqlite import StoreLostError
from kantor_orchestrator.wellness import Wellness

log = logging.getLogger("kantor.engine")

#: Entries in one Kafka transaction: enough to spread the commit's cost, few enough to keep latency low.
BATCH = 500
#: Seconds that a batch which sends nothing and ends nothing waits for more entries: nobody waits for it, and a Kafka
#: transaction costs the broker as much for one entry as for a hundred.
LINGER = 0.02
#: A shard with more entries waiting than this is not read further for now.
BACKLOG = 5_000
#: Seconds after which the position of a shard at rest (moved by watermarks only, or not yet the group's) is committed.
SAVE_INTERVAL = 5.0
#: What became of an entry, in the metrics.
OUTCOMES = APPLIED, UNCHANGED, REPLAY, UNNAMED, MALFORMED = (
    "applied",
    "unchanged",
    "replay",
    "unnamed",
    "malformed",
)
#: Seconds for a commit, of which the client promises 20 at most and mostly keeps to milliseconds: after that it hangs, maybe
#: for good (librdkafka's issues 5456 and 5511: a reset connection, and its own timeout is never looked at).
STUCK_COMMIT = 15.0
#: Seconds that taking a shard may take: as long as anything comes, it is being restored.
TAKING = 240.0
#: Seconds between attempts while a schema, a definition or the registry is missing.
WAIT = 0.5


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
        schema_grace: float = UNKNOWN_SCHEMA_GRACE,
        clock: Clock = SYSTEM_CLOCK,
        commits: Executor | None = None,
        wellness: Wellness | None = None,
    ) -> None:
        """``folder`` holds the shards' stores; ``schema_grace``: see ``UNKNOWN_SCHEMA_GRACE``. ``commits`` runs the shards'
        commits, and asks for ends of the journal; a thread for each shard unless given."""
        self._clients = clients
        self._clock = clock
        self._wellness = wellness or Wellness()
        self._folder = folder
        self._codec = Codec(schemas)
        self._definitions = definitions
        self._metrics = metrics
        metrics.all_shards.set(shards)
        self._next_look = 0.0
        self._admin = clients.admin("kantor-engine-admin")
        self._consumer = clients.consumer("kantor-engine", group=ENGINE_GROUP)
        self._payloads = PayloadReader(self._codec, self._definitions, schema_grace, clock)
        self._outgoing = Outgoing(self._codec, self._definitions, metrics, clock)
        self._tally = metrics.tally.add
        for outcome in OUTCOMES:  # each is shown from the start, with 0
            metrics.entries.labels(outcome)
        self._shards: dict[int, Shard] = {}
        self._paused: set[int] = set()
        self._commits = commits or Aside("commit")
        self._firing = Firing(clients, self._admin, self._commits, metrics, clock)
        self._stop = Event()

    # -- the loop

    def run(self, stop: Event, ready: Callable[[], None]) -> None:
        """Work until ``stop``. Raises ``KantorError`` if Kafka refuses for good: the caller starts a new engine."""
        try:
            self.start(stop, ready)
            while not stop.is_set():
                self.turn()
        finally:
            self.close()

    def start(self, stop: Event, ready: Callable[[], None]) -> None:
        """Join the group. ``stop`` ends the waiting for a shard that can't be taken yet."""
        self._stop = stop

        def assigned(partitions: list[Partition]) -> dict[Partition, int]:
            positions = {p: self._take(p[1]).position for p in partitions}
            ready()
            return positions

        self._consumer.subscribe(
            [topics.JOURNAL], on_assign=assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()  # gives the shards back
        self._commits.shutdown()

    def turn(self) -> None:
        """One turn of the loop: take in entries, settle finished commits, decide and begin new ones, fire timers."""
        self._wellness.beat("engine")
        batch = self._consumer.poll(self._patience(), 2_000)
        for record in batch.records:
            shard = self._shards.get(record.partition())
            if shard is not None:
                shard.pending.append(record)
        self._definitions.refresh()
        for shard in list(self._shards.values()):
            if shard.committing is not None:
                if shard.committing.done():
                    self._finish(shard)
                elif self._clock.monotonic() - shard.commit_began > STUCK_COMMIT:
                    self._abandon(shard)
        now = self._clock.monotonic()
        for shard in list(self._shards.values()):
            if shard.committing is None:
                if shard.batch is None:
                    try:
                        self._firing.fire_due(shard)  # between two batches: under load there is no other time
                    except StoreLostError as error:
                        self._take_anew(shard, error)
                        continue
                if now >= shard.not_before:
                    self._advance(shard)
        self._balance()
        self._firing.poll()
        if now >= self._next_look:
            self._next_look = now + LOOK
            look(self._shards.values(), self._metrics, self._clock.now())
            tell(self._shards.values(), self._wellness)

    def _patience(self) -> float:
        """How long nothing needs to be done, unless an entry comes (s)."""
        patience = 0.1
        now, clock = self._clock.monotonic(), self._clock.now()
        for shard in self._shards.values():
            if shard.committing is not None:
                return 0.002
            if shard.pending and not shard.not_before:
                return 0
            if shard.batch is not None:
                patience = min(patience, shard.batch.began + LINGER - now)
            elif due := shard.pauses.first():
                patience = min(patience, (due - clock) / 1000)
        return max(0.001, patience)

    def _balance(self) -> None:
        for number, shard in self._shards.items():
            if len(shard.pending) > BACKLOG and number not in self._paused:
                self._consumer.pause([(topics.JOURNAL, number)])
                self._paused.add(number)
            elif len(shard.pending) < BACKLOG // 2 and number in self._paused:
                self._consumer.resume([(topics.JOURNAL, number)])
                self._paused.discard(number)

    # -- a batch: begin, decide, write, commit

    def _advance(self, shard: Shard) -> None:
        """Process what waits for this shard; have it committed as soon as somebody waits for it, or it is large or old
        enough."""
        shard.not_before = 0.0
        batch = shard.batch
        if batch is None:
            self._pass_watermarks(shard)
            if not shard.pending and not shard.is_unsaved_for(SAVE_INTERVAL):
                return
        try:
            if batch is None:
                batch = shard.batch = Batch(self._consumer.group_metadata(), self._clock.monotonic())
                shard.producer.begin()
            self._process(shard, batch)
            if batch.urgent or batch.done in (0, BATCH) or self._clock.monotonic() - batch.began >= LINGER:
                self._close(shard, batch)
        except (FencedError, KafkaUnavailableError) as error:
            self._take_anew(shard, error)

    def _close(self, shard: Shard, batch: Batch) -> None:
        """Write what the batch changed, and have it committed."""
        shard.drop_expired()
        shard.write(batch.changed, batch.marks)
        shard.batch = None
        shard.commit_began = self._clock.monotonic()
        shard.committing = self._commits.submit(shard.commit, batch.group_metadata)
        self._metrics.batch.observe(batch.done)

    def _pass_watermarks(self, shard: Shard) -> None:
        """Take in watermarks at the head of the queue without a Kafka transaction: they change nothing but what the
        shard knows of time, and may be read again. So a platform at rest does not commit for each of them."""
        pending = shard.pending
        while (
            pending
            and pending[0].key() is None
            and (journal.ENTRY, journal.WATERMARK) in (pending[0].headers() or ())
        ):
            record = pending[0]
            try:
                shard.watermark(watermark(record))
            except MalformedEntry:
                return  # the batch says so
            pending.popleft()
            shard.clock = max(shard.clock, record.timestamp()[1])
            shard.position = record.offset() + 1

    def _process(self, shard: Shard, batch: Batch) -> None:
        pending = shard.pending
        while pending and batch.done < BATCH:
            record = pending[0]
            try:
                outcome = self._apply(shard, record, batch)
            except NotYet as reason:
                shard.not_before = self._clock.monotonic() + WAIT
                batch.urgent = True  # nothing more will come for now
                log.warning("shard %d waits: %s", shard.number, reason, extra={"action": "shard_waits"})
                break
            except MalformedEntry as reason:
                place = f"{topics.JOURNAL}/{shard.number}/{record.offset()}"
                log.error("%s is no entry: %s", place, reason, extra={"action": "malformed_entry"})
                outcome = MALFORMED
            if outcome:
                self._tally(self._metrics.entries, outcome)
            pending.popleft()
            shard.position = record.offset() + 1
            batch.done += 1
        self._metrics.tally.flush()

    def _apply(self, shard: Shard, record: Record, batch: Batch) -> str:
        """One entry of the journal; what became of it, if that is counted. Raises ``NotYet`` before anything was
        changed."""
        headers = headers_of(record)
        kind = headers.get(journal.ENTRY)
        shard.clock = max(shard.clock, record.timestamp()[1])
        if kind == journal.WATERMARK:
            shard.watermark(watermark(record))
            return ""
        if kind == journal.ACT and record.key() is None:
            self._hold(shard, record, batch)
            return APPLIED
        id_ = transaction_of(record)
        if kind == journal.TIMER:
            txn = batch.changed.get(id_) or shard.get(id_)
            if txn is None:
                return ""
            entry, saga = timer_entry(record), self._saga_of(txn)
        elif kind == journal.ACT:
            entry = act_entry(record)
            txn = batch.changed.get(id_) or shard.get(id_)
            if txn is None:
                # Whoever asked is told; no transaction's history has it, because there is no transaction.
                reason = f"the engine knows no transaction {id_}"
                log.warning("%s: %s", entry.type, reason, extra={"action": "act_unknown"})
                unknown = Transition(Kind.IGNORED, entry.at, code=NO_TRANSACTION, reason=reason)
                self._outgoing.write_apart(shard, entry, unknown, record.offset())
                batch.urgent = True
                return UNCHANGED
            saga = self._saga_of(txn)
        elif kind in (journal.EVENT, journal.COMMAND):
            mark, offset = mark_of(headers)
            if offset <= shard.marks.get(mark, -1):
                return REPLAY
            type_ = headers.get("ce_type", b"").decode("utf-8", "replace")
            sent, since = sent_at(headers), self._definitions.named.get(type_)
            if since is None or sent < since:
                return UNNAMED
            txn = batch.changed.get(id_) or shard.get(id_) or Transaction(id_)
            saga = self._saga_of(txn) if txn.saga else self._definitions.starting_with(type_, sent)
            entry = message_entry(record, headers, type_, sent)
            self._payloads.read(entry, record, headers, shard, txn)
            shard.marks[mark] = offset
            batch.marks.add(mark)
        else:
            raise MalformedEntry(f"{journal.ENTRY} is {kind!r}")
        transitions, payloads = self._decide(saga, txn, entry, shard.holds.of(saga.name) if saga else "")
        if not transitions:
            return UNCHANGED
        for transition in transitions:
            evolve(txn, transition)
            self._outgoing.write(shard, txn, transition, entry, record.offset(), headers, payloads)
            if transition.command is not None or transition.kind is Kind.ENDED:
                batch.urgent = True
        batch.changed[id_] = txn
        return APPLIED

    def _hold(self, shard: Shard, record: Record, batch: Batch) -> None:
        """A person holds or releases a saga, or all of them."""
        entry = act_entry(record)
        done = shard.holds.apply(entry)
        self._outgoing.write_apart(shard, entry, done, record.offset())
        batch.urgent = True
        if done.kind is not Kind.IGNORED:
            what = done.saga or "every saga"
            log.warning("shard %d: %s is %s", shard.number, what, done.reason, extra={"action": done.kind})

    def _decide(
        self, saga: Saga | None, txn: Transaction, entry: Entry, hold: str
    ) -> tuple[list[Transition], dict[str, bytes]]:
        """The transitions, and the payloads of their commands. What can't be decided or sent is an incident of this
        one transaction, never the shard's end."""
        now = self._clock.now()
        try:
            transitions = decide(saga, txn, entry, now, hold)
            return transitions, self._outgoing.encode_commands(transitions)
        except CodecError as error:
            entry.error = f"a command can't be built: {error}"
        except Exception as error:
            facts = {"action": "decide_failed", "transaction": txn.id}
            log.exception("can't decide on %s of %s", entry.origin or entry.timer, txn.id, extra=facts)
            entry.error = f"the engine failed on it: {type(error).__name__}: {error}"
        return decide(saga, txn, entry, now, hold), {}

    def _saga_of(self, txn: Transaction) -> Saga | None:
        if not txn.saga:
            return None
        saga = self._definitions.saga(txn.saga, txn.version)
        if saga is None:
            raise NotYet(
                f"transaction {txn.id} runs on {txn.saga} version {txn.version}, which is not deployed"
            )
        return saga

    # -- a batch's end

    def _finish(self, shard: Shard) -> None:
        assert shard.committing is not None
        commit, shard.committing = shard.committing, None
        try:
            self._metrics.commit.observe(commit.result())
            shard.keep()
        except KantorError as error:
            self._take_anew(shard, error)

    def _abandon(self, shard: Shard) -> None:
        """The commit hangs, maybe for good: its thread and its producer are left alone. Should it come back after all,
        the new owner's ``init_transactions`` has fenced it (rule 1)."""
        shard.is_stuck = True
        self._take_anew(shard, KantorError(f"its commit has not come back for {STUCK_COMMIT:.0f} s"))

    def _take_anew(self, shard: Shard, error: KantorError) -> None:
        """No clear verdict on a Kafka transaction: forget all and restore (rule 7a.5)."""
        number = shard.number
        log.warning(
            "shard %d is restored: %s", number, error, extra={"action": "shard_retaken", "shard": number}
        )
        self._metrics.retaken.inc()
        self._shards.pop(number).close(clean=False)
        self._wellness.forget(f"shard {number}")
        if (topics.JOURNAL, number) not in self._consumer.assignment():
            return
        was_paused = number in self._paused
        shard = self._take(number)
        self._consumer.seek((topics.JOURNAL, number), shard.position)
        if was_paused:  # for the backlog that is forgotten now
            self._consumer.resume([(topics.JOURNAL, number)])

    # -- shards come and go

    def _take(self, number: int) -> Shard:
        """Take a shard, however long Kafka is away."""
        while True:
            self._wellness.beat("engine", TAKING)
            try:
                shard = Shard(
                    number, self._clients, self._admin, self._codec, self._folder, self._clock, self._commits
                )
            except KantorError as error:
                log.warning("shard %d can't be taken yet: %s", number, error, extra={"action": "take_failed"})
                if self._stop.wait(1.0):
                    raise
                continue
            self._shards[number] = shard
            self._paused.discard(number)
            return shard

    def _revoked(self, partitions: list[Partition]) -> None:
        given = [shard for _, number in partitions if (shard := self._shards.pop(number, None)) is not None]
        clean = {shard.number: self._close_last(shard) for shard in given}
        for shard in given:  # after all have begun to commit: one that hangs makes none of the others late
            number = shard.number
            if shard.committing is not None and clean[number]:
                clean[number] = self._settle(shard)
            shard.close(clean=clean[number])
            self._wellness.forget(f"shard {number}")
            log.info("shard %d given back", number, extra={"action": "shard_revoked", "shard": number})

    def _close_last(self, shard: Shard) -> bool:
        """Whether the batch that is open, if any, could be handed to the broker."""
        if shard.batch is not None:
            try:
                self._close(shard, shard.batch)
            except KantorError as error:
                _left_open(shard, error)
                return False
        return True

    def _settle(self, shard: Shard) -> bool:
        """Wait for the last commit, as long as it may take; whether it is done."""
        assert shard.committing is not None
        try:
            shard.committing.result(max(0.0, shard.commit_began + STUCK_COMMIT - self._clock.monotonic()))
            shard.keep()
        except TimeoutError:
            shard.is_stuck = True
            _left_open(shard, f"its commit has not come back for {STUCK_COMMIT:.0f} s")
            return False
        except KantorError as error:
            _left_open(shard, error)
            return False
        return True

    def _lost(self, partitions: list[Partition]) -> None:
        for _, number in partitions:
            shard = self._shards.pop(number, None)
            if shard is not None:
                shard.close(clean=False)
                self._wellness.forget(f"shard {number}")
                log.warning("shard %d was lost", number, extra={"action": "shard_lost", "shard": number})


def _left_open(shard: Shard, why: object) -> None:
    log.warning("shard %d's last batch is open: %s", shard.number, why, extra={"action": "revoke"})
