"""The transactions of a shard: in memory what something happened to lately, on disk the rest.

Of one that is at rest (``snapshots.is_at_rest``) the state and the store have a retained record, at most 120 bytes; its snapshot is in
the log, in the last decision on it. Whoever needs it gets :class:`AtRest`, has it read (``ended``), and hands it to
:meth:`Transactions.take_in`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kantor.codec import Codec
from kantor.errors import KantorError, UndecodableError, UnknownSchemaError
from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.transaction import ENDED, Status, Transaction
from kantor_orchestrator.engine.ended import Found
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import Stub, lost, state_from, stub_record, transaction_record
from kantor_orchestrator.store import Row, Store
from kantor_schemas import system

log = logging.getLogger("kantor.shard")

#: When the timers of a held transaction are due: not before its release.
HELD = 1 << 62
#: Flush the store when this many snapshots have been committed.
FLUSH_ROWS = 2_000
#: What a transaction takes in memory, as a multiple of its snapshot, and besides (bytes). Measured: 9 to 12 times; of small
#: ones (185 bytes) three quarters of that.
_BLOAT, _LEAST = 12, 1_000
#: Transactions that ended last, and stay in memory for what comes late for them: mostly within seconds.
_LATELY = 256


class AtRest(Exception):  # noqa: N818 - control flow, not a failure
    """The transaction is not in memory, and the state has a retained record of it only: its snapshot is in the log."""

    def __init__(self, stub: Stub) -> None:
        super().__init__(stub)
        self.stub = stub


@dataclass(slots=True)
class InLog:
    """A decision that has its transaction's snapshot. ``offset``: where it lies, once it is in the log."""

    size: int  # of the snapshot, bytes
    offset: int = -1


class Budget:
    """Bytes that the transactions of all shards of a process may take in memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def is_exceeded(self) -> bool:
        return self.used > self.limit


class Transactions:
    """What a shard knows of its transactions. One owner thread."""

    def __init__(self, store: Store, codec: Codec, budget: Budget) -> None:
        self._store = store
        self._decode: Callable[[bytes], Any] = codec.decode
        self._encode = codec.encoder(system("TransactionState"), topics.STATE)
        self._budget = budget
        self._cache: OrderedDict[str, tuple[Transaction, int]] = OrderedDict()
        #: Changed since the last checkpoint.
        self.changed: dict[str, Transaction] = {}
        self._checkpointing: dict[str, Row | None] = {}  # in a checkpoint that is not committed yet
        self._dirty: dict[str, Row | None] = {}  # committed, not yet in the store
        self._in_log: dict[str, InLog] = {}  # of those that have changed and are at rest now
        #: Of ``_checkpointing``, those that become retained records.
        self._ending: dict[str, tuple[Transaction, InLog]] = {}
        self._lately: dict[str, None] = {}  # at rest, and kept in the cache for a while; the oldest first
        self._read_last: dict[str, Transaction] = {}  # from the log, by the last read

    def read_with(self, codec: Codec) -> None:
        """Read snapshots with this one from now on: another thread owns them, and it may not wait."""
        self._decode = codec.decode

    def get(self, id_: str) -> Transaction | None:
        """The transaction as the last entry left it. Raises ``AtRest``: have it read from the log."""
        txn = self.changed.get(id_)
        if txn is not None:
            return txn
        cached = self._cache.get(id_)
        if cached is not None:
            self._cache.move_to_end(id_)
            return cached[0]
        if id_ in self._read_last:
            return self._read_last[id_]
        if id_ in self._ending:
            return self._ending[id_][0]
        for rows in (self._checkpointing, self._dirty):
            if id_ in rows:
                row = rows[id_]
                return None if row is None else self._keep(id_, row[0])
        snapshot = self._store.load(id_)
        return None if snapshot is None else self._keep(id_, snapshot)

    def stub(self, id_: str) -> Stub | None:
        """If it is not in memory, and there is a retained record of it."""
        try:
            self.get(id_)
        except AtRest as it:
            return it.stub
        return None

    def put(self, txn: Transaction, in_log: InLog | None) -> None:
        """It has changed; ``in_log``: the decision that did it, if that has its snapshot. Of what is gone nothing is remembered,
        at once: not only from the next checkpoint on."""
        id_ = txn.id
        self.changed[id_] = Transaction(id_) if is_gone(txn) else txn
        self._read_last.pop(id_, None)
        if in_log is not None:
            self._in_log[id_] = in_log
        else:
            self._in_log.pop(id_, None)

    def take_in(self, found: Found) -> None:
        """What was read from the log. It stays in memory at least until the next such. Of one whose snapshot is lost there is
        only what its retained record says (``snapshots.is_lost``)."""
        self._read_last = {}
        for id_, one in found.items():
            stub = self.stub(id_)
            if stub is None:
                continue
            if isinstance(one, str):
                facts = {"action": "snapshot_lost", "transaction": id_}
                log.error("%s: messages for it need a person", one, extra=facts)
                self._read_last[id_] = lost(stub, one)
            else:
                self._read_last[id_] = one[0]
                self._remember(id_, *one)

    def __len__(self) -> int:
        """Transactions in memory."""
        return len(self._cache) + len(self.changed)

    def _keep(self, id_: str, snapshot: bytes) -> Transaction | None:
        found = self._read(id_, snapshot)
        if isinstance(found, Stub):
            raise AtRest(found)
        if found is not None:
            self._cached(id_, found, len(snapshot))
        return found

    def _read(self, id_: str, snapshot: bytes) -> Transaction | Stub | None:
        """None: it is no engine's, and says nothing (ACLs should forbid others to write there): nobody else waits for it."""
        try:
            return state_from(id_, self._decode(snapshot))
        except UnknownSchemaError as error:  # it may be ours: a registry that has lost what it had
            raise KantorError(
                f"the state of {id_} in {topics.STATE} can't be read: {error}; if no Kantor wrote it, write a record without a "
                "value under that key"
            ) from error
        except (UndecodableError, ValueError, LookupError) as error:
            facts = {"action": "foreign_state", "transaction": id_}
            log.error(
                "the state of %s was not written by an engine, and is ignored: %s", id_, error, extra=facts
            )
            return None

    def _cached(self, id_: str, txn: Transaction, size: int) -> None:
        cost = _LEAST + _BLOAT * size
        before = self._cache.pop(id_, None)
        self._budget.used += cost - (before[1] if before is not None else 0)
        self._cache[id_] = (txn, cost)
        while self._budget.is_exceeded and len(self._cache) > 1:
            self._forget(next(iter(self._cache)))

    def _remember(self, id_: str, txn: Transaction, size: int) -> None:
        """One that is at rest: for a while."""
        self._cached(id_, txn, size)
        lately = self._lately
        lately.pop(id_, None)
        lately[id_] = None
        if len(lately) > _LATELY:
            oldest = next(iter(lately))
            del lately[oldest]
            found = self._cache.get(oldest)
            if found is not None and found[0].status in ENDED:  # it may have begun again
                self._forget(oldest)

    def _forget(self, id_: str) -> None:
        found = self._cache.pop(id_, None)
        if found is not None:
            self._budget.used -= found[1]

    def size_of(self, txn: Transaction) -> int:
        """Bytes of its snapshot."""
        return len(self._encode(transaction_record(txn)))

    # -- checkpoints

    def checkpoint(self) -> dict[str, Row | None]:
        """Snapshots of what has changed since the last checkpoint, as of now; None: nothing is left of it. The retained records are still to
        come: :meth:`point`."""
        rows: dict[str, Row | None] = {}
        in_log = self._in_log
        for id_, txn in self.changed.items():
            if is_gone(txn):
                rows[id_] = None
                self._forget(id_)
            elif id_ in in_log:
                self._ending[id_] = txn, in_log[id_]
                self._remember(id_, txn, in_log[id_].size)
            else:
                snapshot = self._encode(transaction_record(txn))
                rows[id_] = snapshot, next_due(txn), expiry(txn)
                self._cached(id_, txn, len(snapshot))
        self.changed, self._in_log = {}, {}
        self._checkpointing.update(rows)
        return rows

    def point(self, rows: dict[str, Row | None]) -> None:
        """The log has every decision before the checkpoint with these: add the retained records, which point there."""
        for id_, (txn, in_log) in self._ending.items():
            if in_log.offset < 0:
                raise KantorError(f"the log does not tell where the snapshot of {id_} is")
            rows[id_] = self._encode(stub_record(txn, in_log.offset)), None, expiry(txn)

    def committed(self, rows: dict[str, Row | None]) -> None:
        """A checkpoint with these is committed."""
        self._dirty.update(rows)
        self._checkpointing, self._ending = {}, {}

    @property
    def is_flush_due(self) -> bool:
        return len(self._dirty) >= FLUSH_ROWS

    @property
    def is_dirty(self) -> bool:
        """Whether the store does not have all that is committed."""
        return bool(self._dirty)

    def flush(self, changelog: int, position: int) -> None:
        """Bring the store up to the last checkpoint: the changelog's position, and the journal's. Raises ``StoreFullError``: what it
        does not have stays in memory; ``StoreLostError``: retake the shard, as everything here that reads."""
        if self._dirty:
            self._store.flush(self._dirty, changelog, position)
            self._dirty = {}

    @property
    def store_trouble(self) -> str:
        """Why the store works without the disk, or the disk does not take new data; empty: the disk has everything."""
        return self._store.trouble

    def expired(self, clock: int, limit: int) -> list[str]:
        """Those that are to be forgotten, since before ``clock`` (ms). They are, here."""
        found = [id_ for id_ in self._store.expired(clock, limit) if not self._is_newer_in_memory(id_)]
        for id_ in found:
            self._forget(id_)
            self._read_last.pop(id_, None)
        return found

    def _is_newer_in_memory(self, id_: str) -> bool:
        return any(id_ in them for them in (self.changed, self._checkpointing, self._ending, self._dirty))

    # -- what the store does not know yet is looked at, too

    def due_before(self, moment: int) -> Iterator[Transaction]:
        """Transactions with a timer due before ``moment`` (ms)."""
        yield from self._current(self._store.due_before(moment))

    def held(self) -> Iterator[Transaction]:
        """Transactions that stand still."""
        yield from self._current(self._store.due_at(HELD))

    def _current(self, stored: Iterable[tuple[str, bytes]]) -> Iterator[Transaction]:
        """These, as they are now, and all that the store does not know yet."""
        for id_, snapshot in stored:
            txn = self.changed.get(id_) or self._read(id_, snapshot)
            if isinstance(txn, Transaction):
                yield txn
        for rows in (self._dirty, self._checkpointing):
            for id_, row in rows.items():
                is_timed = row is not None and row[1] is not None and id_ not in self.changed
                txn = self._read(id_, row[0]) if row is not None and is_timed else None
                if isinstance(txn, Transaction):
                    yield txn
        yield from list(self.changed.values())

    def close(self) -> None:
        for id_ in list(self._cache):
            self._forget(id_)
        self._store.close()


def next_due(txn: Transaction) -> int | None:
    """When a transaction must be looked at again (ms); None: not by itself."""
    if txn.held and not txn.put_off:
        return HELD
    timers = timers_of(txn)
    return min(timers)[0] if timers else None


def expiry(txn: Transaction) -> int | None:
    """None: its retained record does not expire. A held one's does not, and must not be looked at with every checkpoint as if it had."""
    return (txn.expires_at or None) if txn.status in ENDED else None


def is_gone(txn: Transaction) -> bool:
    """Nothing is left that anybody would ask for: no saga started, nothing waits."""
    return txn.status is Status.OBSERVED and not txn.early and not txn.incidents and not txn.put_off
