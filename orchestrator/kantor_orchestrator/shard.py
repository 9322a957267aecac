"""A shard: one journal partition with the transactions in it. Never lose, double or resurrect (DESIGN section 7a).

The numbers are that section's rules. This file holds what a shard *is* (taking it, its transactions, its position, its
timers); ``engine.py`` moves it.

1. One producer per shard with a stable ``transactional.id``: whoever takes the shard fences the last owner.
2. Taking: ``init_transactions`` (ends the old owner's open Kafka transaction), then the state partition's
   *read_uncommitted* end, then read ``read_committed`` until the end-of-partition event is at or past it, then the shard
   record, then seek the journal. What is visible at once may lack the old owner's last batch.
3. The shard record is the only truth for the position.
4. Memory changes first and is kept only if the Kafka transaction commits; otherwise the shard is taken anew.
7. The store is a cache, flushed after the commit; ahead of the changelog or too old: wiped.
8. The clock is the highest entry time seen. Timers live in the state until *applied*; a firing may come twice.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from kantor.clients import Admin, Clients, Partition, Record
from kantor.clock import Clock
from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator import journal, topics
from kantor_orchestrator.core.entry import COMPENSATION_RETRY, EXPIRY, RELEASE, RETRY, timers_of
from kantor_orchestrator.core.transaction import ENDED, Status, Transaction
from kantor_orchestrator.holds import Holds
from kantor_orchestrator.snapshots import transaction_from, transaction_record
from kantor_orchestrator.store.sqlite import Row, Store, StoreLostError
from kantor_orchestrator.timers import Timer, Timers
from kantor_schemas import system

log = logging.getLogger("kantor.shard")

#: Timers due later than this (ms) are left in the store until then: waiting costs disk, not memory.
HORIZON = 60_000
#: Half of the state topic's delete.retention.ms (24 h), in seconds: rule 7.
STORE_MAX_AGE = 12 * 3600.0
#: Flush the store when this many snapshots have changed, or this many seconds have passed.
FLUSH_ROWS, FLUSH_INTERVAL = 2_000, 1.0
#: Seconds between commits of the group's offsets.
GROUP_INTERVAL = 1.0
#: Transactions kept in memory per shard.
CACHED = 20_000
RESTORE_TIMEOUT = 120.0
#: Seconds for ``init_transactions``, of which the client promises 60: after that it hangs, maybe for good.
STUCK_START = 70.0
#: After this long (s) without a record before the end, the Kafka transaction that is open there is nobody's: the last
#: owner's was ended by ``init_transactions``.
HANGING = 2.0
#: Until the commit, which sends what is left at once, a batch's records wait for each other (ms): sent every millisecond
#: they made 50 requests of one, and the broker took three times as long.
LINGER = 1_000
#: An empty fetch, which brings the changelog's end, would wait 500 ms: half a second for each shard that is taken.
RESTORE_SETTINGS = {"fetch.wait.max.ms": 10}

#: Timers that only pause between two attempts; the others end in a verdict, which lag must not hasten.
_PAUSES = frozenset({RETRY, COMPENSATION_RETRY, EXPIRY, RELEASE})

#: When the timers of a held transaction are due: not before its release.
_HELD = 1 << 62

#: More source partitions than there are: of all, after a shard is taken, nobody has told yet.
_UNTOLD = 1 << 30


class Batch:
    """An open Kafka transaction of a shard, and what it holds so far."""

    __slots__ = ("began", "changed", "done", "group_metadata", "marks", "urgent")

    def __init__(self, group_metadata: Any, began: float) -> None:
        self.group_metadata = group_metadata  # of the batch's begin (rule 4)
        self.began = began  # monotonic, s
        self.changed: dict[str, Transaction] = {}
        self.marks: set[str] = set()
        self.done = 0  # entries
        self.urgent = False  # somebody waits for it


class Shard:
    """One shard, taken. Owned by the engine's thread; only :meth:`commit` runs in another one."""

    def __init__(
        self,
        number: int,
        clients: Clients,
        admin: Admin,
        codec: Codec,
        folder: Path,
        clock: Clock,
        aside: Executor,
    ) -> None:
        """Take the shard. ``aside`` runs what may hang. Raises ``KafkaUnavailableError``: try again, nothing was changed."""
        self.number = number
        self.key = str(number).encode()
        self.position = 0  # next journal offset
        self.clock = 0
        self.watermarks: dict[str, int] = {}
        self._sources = _UNTOLD  # how many of these there must be; the next watermark tells
        self.marks: dict[str, int] = {}
        self.holds = Holds()
        self.pending: deque[Record] = deque()
        self.batch: Batch | None = None
        self.committing: Future[float] | None = None
        self.commit_began = 0.0  # monotonic
        self.is_stuck = False  # the commit hangs: nobody touches the producer any more
        self.not_before = 0.0  # monotonic: waiting for a schema or a definition until then
        self.fence: Future[tuple[int, int]] | None = None  # (sampled at ms, journal end): see firing.py
        self._codec = codec
        self._clock = clock
        self._encode_state = codec.encoder(system("TransactionState"), topics.STATE)
        self._encode_shard = codec.encoder(system("ShardRecord"), topics.STATE)
        self._encode_mark = codec.encoder(system("SourceMark"), topics.STATE)
        self._cache: dict[str, Transaction] = {}
        self._dirty: dict[str, Row | None] = {}  # committed, not yet in the store
        self._batch: dict[str, Row | None] = {}  # written, not yet committed
        self.verdicts, self.pauses = Timers(), Timers()
        self._horizon = 0
        self._changelog = 0
        self._kept = 0  # the journal position of the last commit
        self._last_flush = self._clock.monotonic()
        self._saved_position = 0  # the group's
        self._grouped_at = -GROUP_INTERVAL
        self.producer = clients.producer(
            f"kantor-engine-{number}",
            transactional_id=f"kantor-engine-{number}",
            linger_ms=LINGER,
            extra={"message.max.bytes": topics.LARGEST},
        )
        try:
            aside.submit(self.producer.init_transactions).result(STUCK_START)
        except TimeoutError as error:
            raise KafkaUnavailableError(
                f"init_transactions has not come back for {STUCK_START:.0f} s"
            ) from error
        state: Partition = (topics.STATE, number)
        topic_id = admin.topic_ids([topics.STATE])[topics.STATE]
        self._store = Store(folder / f"shard-{number}.db", f"{topic_id}/{number}", STORE_MAX_AGE, clock)
        end = admin.ends([state])[state]
        self._restore(clients, state, end)
        if self._store.journal_position > self.position:
            # The broker said that a batch was committed, and lost it in a crash (docs/decisions/0011).
            ahead = f"it is ahead of the state ({self._store.journal_position} > {self.position})"
            self._store.wipe(ahead)
            self._restore(clients, state, end)
        self._saved_position = self.position
        self.load_timers(clock.now())

    # -- taking

    def _restore(self, clients: Clients, state: Partition, end: int) -> None:
        start = self._store.position
        if start > end:
            self._store.wipe(f"it is ahead of the changelog ({start} > {end})")
            start = 0
        began, records = self._clock.monotonic(), 0
        waiting, closed = 0.0, False
        # The shard's own records are not in the store: they are read from the whole changelog, which compaction keeps
        # near the live transactions; snapshots that the store has are passed over.
        reader = clients.consumer(f"kantor-restore-{self.number}", ends=True, extra=RESTORE_SETTINGS)
        try:
            reader.assign({state: 0})
            reached = 0
            rows: dict[str, Row | None] = {}
            while reached < end:
                batch = reader.poll(0.1, 5_000)
                for record in batch.records:
                    key = record.key() or b""
                    if key[:1] == b"\0":
                        self._restore_own(key, record.value())
                    elif record.offset() >= start:
                        value = record.value()
                        rows[key.decode()] = None if value is None else self._row(value)
                    records += 1
                reached = max(reached, batch.ends.get(state, 0))
                if len(rows) >= FLUSH_ROWS and reached < end:
                    self._store.flush(rows, 0, 0)
                    rows = {}
                now = self._clock.monotonic()
                waiting = 0.0 if batch.records else waiting or now
                if waiting and now - waiting > HANGING and not closed:
                    self._close_hanging(state, reached, end)
                    closed = True
                if now - began > RESTORE_TIMEOUT and not batch.records:
                    raise KafkaUnavailableError(
                        f"shard {self.number} was not restored up to {end}, only to {reached}"
                    )
            self._store.flush(rows, end, self.position)
        finally:
            reader.close()
        self._changelog, self._kept = end, self.position
        log.info(
            "shard %d taken: %d records in %.2f s, journal position %d",
            self.number,
            records,
            self._clock.monotonic() - began,
            self.position,
            extra={"action": "shard_taken", "shard": self.number},
        )

    def _close_hanging(self, state: Partition, reached: int, end: int) -> None:
        """Abort what nobody will commit any more: an earlier Kafka transaction of ours whose marker the broker has lost in
        a crash. Any marker of this ``transactional.id`` closes it, so one is written for nothing."""
        log.warning(
            "shard %d: the Kafka transaction at %s/%d/%d hangs (the end is %d): it is aborted",
            self.number,
            *state,
            reached,
            end,
            extra={"action": "hanging_transaction", "shard": self.number},
        )
        self.producer.begin()
        self.producer.produce(topics.STATE, None, topics.NOTHING_KEY, None, self.number)
        self.producer.flush()
        self.producer.abort()

    def _restore_own(self, key: bytes, value: bytes | None) -> None:
        if key == topics.SHARD_KEY:
            found = self._codec.decode(value)
            self.position, self.clock = found["position"], found["clock"]
            self.watermarks = dict(found["watermarks"])
            self.holds = Holds(found["holds"])
        elif key.startswith(topics.MARK_PREFIX) and value is not None:
            self.marks[key[len(topics.MARK_PREFIX) :].decode()] = self._codec.decode(value)["offset"]

    def _row(self, snapshot: bytes) -> Row:
        txn = transaction_from(self._codec.decode(snapshot))
        return snapshot, _next_due(txn), _expiry(txn)

    # -- transactions

    def get(self, id_: str) -> Transaction | None:
        """The transaction as the last entry left it."""
        txn = self._cache.get(id_)
        if txn is not None:
            return txn
        if id_ in self._dirty:
            row = self._dirty[id_]
            snapshot = row[0] if row else None
        else:
            snapshot = self._store.load(id_)
        if snapshot is None:
            return None
        txn = self._cache[id_] = transaction_from(self._codec.decode(snapshot))
        return txn

    def timed(self, id_: str) -> Transaction | None:
        """The transaction, if its timers count: not while it is held."""
        txn = self.get(id_)
        return None if txn is not None and txn.held and self.holds.of(txn.saga) else txn

    def size_of(self, txn: Transaction) -> int:
        """Bytes of its snapshot."""
        return len(self._encode_state(transaction_record(txn)))

    def write(self, changed: dict[str, Transaction], marks: set[str]) -> None:
        """Put snapshots, marks and the shard record into the open Kafka transaction."""
        produce, number = self.producer.produce, self.number
        for id_, txn in changed.items():
            if _is_gone(txn):
                self._batch[id_] = None
                produce(topics.STATE, None, id_.encode(), None, number)
                continue
            snapshot = self._encode_state(transaction_record(txn))
            self._batch[id_] = (snapshot, _next_due(txn), _expiry(txn))
            produce(topics.STATE, snapshot, id_.encode(), None, number)
            self._cache[id_] = txn
        for mark in sorted(marks):  # the same batch is written the same way
            value = self._encode_mark({"offset": self.marks[mark], "index": 0})
            produce(topics.STATE, value, topics.MARK_PREFIX + mark.encode(), None, number)
        own = {
            "position": self.position,
            "clock": self.clock,
            "watermarks": self.watermarks,
            "holds": self.holds.record(),
        }
        produce(
            topics.STATE, self._encode_shard(own), topics.SHARD_KEY, None, number, on_delivery=self._written
        )

    def _written(self, error: Any, record: Any) -> None:
        if error is None:
            self._changelog = record.offset() + 1

    def drop_expired(self) -> None:
        """Put tombstones for stubs that have expired into the open Kafka transaction."""
        for id_ in self._store.expired(self.clock, 500):
            txn = self.get(id_)
            if txn is not None and 0 < txn.expires_at < self.clock and id_ not in self._batch:
                self._batch[id_] = None
                self._cache.pop(id_, None)
                self.producer.produce(topics.STATE, None, id_.encode(), None, self.number)

    def commit(self, group_metadata: Any) -> float:
        """Commit the batch; how long it took (s). Runs in a thread of its own. Any error: take the shard anew.

        The group's offsets are for lag tools, and refuse a member that lost the group (KIP-447): the first commit after
        taking the shard has them, later ones once in ``GROUP_INTERVAL``. Each costs two requests and a marker, and what
        keeps two owners apart is the ``transactional.id`` (rules 1 and 3).
        """
        began = self._clock.monotonic()
        if began - self._grouped_at > GROUP_INTERVAL:
            self.producer.send_offsets({(topics.JOURNAL, self.number): self.position}, group_metadata)
            self._grouped_at, self._saved_position = began, self.position
        self.producer.commit()
        return self._clock.monotonic() - began

    def keep(self) -> None:
        """The batch is committed: what memory holds is the truth now. Raises ``StoreLostError``: take the shard anew."""
        self._kept = self.position
        for id_, row in self._batch.items():
            if row is None or row[2] is not None:  # gone, or ended: its stub is rarely asked for
                self._cache.pop(id_, None)
        self._dirty.update(self._batch)
        self._batch.clear()
        if len(self._dirty) >= FLUSH_ROWS or self._clock.monotonic() - self._last_flush > FLUSH_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Bring the store up to the last commit."""
        self._last_flush = self._clock.monotonic()
        if self._dirty:
            self._store.flush(self._dirty, self._changelog, self._kept)
            self._dirty = {}
            surplus = len(self._cache) - CACHED
            if surplus > 0:
                for id_ in list(self._cache)[:surplus]:
                    del self._cache[id_]

    def close(self, *, clean: bool) -> None:
        """Give the shard up. ``clean``: everything is committed; else what is open dies with the producer."""
        try:
            if clean:
                self.flush()
            elif not self.is_stuck:
                self.producer.purge()
        except StoreLostError as error:  # the changelog has it, for whoever comes next
            log.info("shard %d: %s", self.number, error, extra={"action": "store_lost"})
        finally:
            self._store.close()

    @property
    def cached(self) -> int:
        """Transactions in memory."""
        return len(self._cache)

    @property
    def kept(self) -> int:
        """The position of the last commit; of a shard at rest, moved by watermarks only, the last one that was read."""
        return self.position if self.batch is None and self.committing is None else self._kept

    # -- time

    def low_watermark(self) -> int:
        """Everything up to this time (ms) has been processed; 0 if that is not known."""
        if len(self.watermarks) < self._sources:
            return 0  # nobody has told of some source yet: an intake may have it, and lag
        return min(self.watermarks.values(), default=0)

    def watermark(self, found: journal.Watermark) -> None:
        self._sources = found.sources
        existing = set(found.topics)
        for partition in [p for p in self.watermarks if p.rpartition("/")[0] not in existing]:
            del self.watermarks[partition]
        for partition in found.partitions:
            if found.clock > self.watermarks.get(partition, 0):
                self.watermarks[partition] = found.clock

    def set_timer(self, timer: Timer) -> None:
        """Keep a timer in memory if it is due soon; else the store has it."""
        if timer[0] < self._horizon:
            (self.pauses if timer[2] in _PAUSES else self.verdicts).add(timer)

    def load_timers(self, now: int) -> None:
        """Bring timers that are due soon from the store into memory."""
        if now < self._horizon - HORIZON // 2:
            return
        self.flush()
        before, self._horizon = self._horizon, now + HORIZON
        for snapshot in self._store.due_before(self._horizon):
            txn = transaction_from(self._codec.decode(snapshot))
            for due, kind, step, round_, attempt in timers_of(txn):
                if before <= due or before == 0:
                    self.set_timer((due, txn.id, kind, step, round_, attempt))

    def load_released(self, now: int) -> None:
        """Set the releases of transactions that nobody holds any more: after a release, and when the shard was taken."""
        if not self.holds.is_released:
            return
        self.holds.is_released = False
        self.flush()
        for snapshot in self._store.due_at(_HELD):
            txn = transaction_from(self._codec.decode(snapshot))
            if not self.holds.of(txn.saga):
                self.pauses.add((now, txn.id, RELEASE, "", 0, 0))

    def is_unsaved_for(self, seconds: float) -> bool:
        """Whether the position has moved and the group's is older than this."""
        return self.position > self._saved_position and self._clock.monotonic() - self._grouped_at > seconds


def _next_due(txn: Transaction) -> int | None:
    if txn.held:
        return _HELD
    return min((due for due, *_ in timers_of(txn)), default=None)


def _expiry(txn: Transaction) -> int | None:
    """None: its stub does not expire. A held one's does not, and must not be looked at with every batch as if it had."""
    return (txn.expires_at or None) if txn.status in ENDED else None


def _is_gone(txn: Transaction) -> bool:
    """Nothing is left that anybody would ask for: no saga started, nothing waits."""
    return txn.status is Status.OBSERVED and not txn.early and not txn.incidents
