"""The transactions of a shard: in memory what something happened to lately, on disk the rest."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kantor.codec import Codec
from kantor.errors import KantorError, UndecodableError, UnknownSchemaError
from kantor_orchestrator import topics
from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.transaction import ENDED, Status, Transaction
from kantor_orchestrator.snapshots import transaction_from, transaction_record
from kantor_orchestrator.store.sqlite import Row, Store
from kantor_schemas import system

log = logging.getLogger("kantor.shard")

#: When the timers of a held transaction are due: not before its release.
HELD = 1 << 62
#: Flush the store when this many snapshots have been committed.
FLUSH_ROWS = 2_000
#: What a transaction takes in memory, as a multiple of its snapshot, and besides (bytes). Measured: 9 to 12 times; of small
#: ones (185 bytes) three quarters of that.
_BLOAT, _LEAST = 12, 1_000


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
        #: Changed since the last cut.
        self.changed: dict[str, Transaction] = {}
        self._cutting: dict[str, Row | None] = {}  # in a cut that is not committed yet
        self._dirty: dict[str, Row | None] = {}  # committed, not yet in the store

    def get(self, id_: str) -> Transaction | None:
        """The transaction as the last entry left it."""
        txn = self.changed.get(id_)
        if txn is not None:
            return txn
        cached = self._cache.get(id_)
        if cached is not None:
            self._cache.move_to_end(id_)
            return cached[0]
        for rows in (self._cutting, self._dirty):
            if id_ in rows:
                row = rows[id_]
                return None if row is None else self._keep(id_, row[0])
        snapshot = self._store.load(id_)
        return None if snapshot is None else self._keep(id_, snapshot)

    def put(self, txn: Transaction) -> None:
        """It has changed. Of what is gone nothing is remembered, at once: not only from the next cut on."""
        self.changed[txn.id] = Transaction(txn.id) if is_gone(txn) else txn

    def __len__(self) -> int:
        """Transactions in memory."""
        return len(self._cache) + len(self.changed)

    def _keep(self, id_: str, snapshot: bytes) -> Transaction | None:
        txn = self._read(id_, snapshot)
        if txn is not None:
            self._cached(id_, txn, len(snapshot))
        return txn

    def _read(self, id_: str, snapshot: bytes) -> Transaction | None:
        """None: it is no engine's, and says nothing (ACLs should forbid others to write there): nobody else waits for it."""
        try:
            return transaction_from(id_, self._decode(snapshot))
        except UnknownSchemaError as error:  # it may be ours: a registry that has lost what it had
            raise KantorError(
                f"the state of {id_} in {topics.STATE} can't be read: {error}; if no Kantor wrote it, write a record without a "
                "value under that key"
            ) from error
        except (UndecodableError, ValueError, LookupError) as error:
            facts = {"action": "foreign_state", "transaction": id_}
            log.error("the state of %s is no engine's, and counts for nothing: %s", id_, error, extra=facts)
            return None

    def _cached(self, id_: str, txn: Transaction, size: int) -> None:
        cost = _LEAST + _BLOAT * size
        before = self._cache.pop(id_, None)
        self._budget.used += cost - (before[1] if before is not None else 0)
        self._cache[id_] = (txn, cost)
        while self._budget.is_exceeded and len(self._cache) > 1:
            self._forget(next(iter(self._cache)))

    def _forget(self, id_: str) -> None:
        found = self._cache.pop(id_, None)
        if found is not None:
            self._budget.used -= found[1]

    def size_of(self, txn: Transaction) -> int:
        """Bytes of its snapshot."""
        return len(self._encode(transaction_record(txn)))

    # -- cuts

    def cut(self) -> dict[str, Row | None]:
        """Snapshots of what has changed since the last cut, as of now; None: nothing is left of it."""
        rows: dict[str, Row | None] = {}
        for id_, txn in self.changed.items():
            if is_gone(txn):
                rows[id_] = None
                self._forget(id_)
                continue
            snapshot = self._encode(transaction_record(txn))
            rows[id_] = snapshot, next_due(txn), expiry(txn)
            if txn.status in ENDED:
                self._forget(id_)  # its stub is rarely asked for
            else:
                self._cached(id_, txn, len(snapshot))
        self.changed = {}
        self._cutting.update(rows)
        return rows

    def committed(self, rows: dict[str, Row | None]) -> None:
        """A cut with these is committed."""
        self._dirty.update(rows)
        self._cutting = {}

    @property
    def is_flush_due(self) -> bool:
        return len(self._dirty) >= FLUSH_ROWS

    @property
    def is_dirty(self) -> bool:
        """Whether the store does not have all that is committed."""
        return bool(self._dirty)

    def flush(self, changelog: int, position: int) -> None:
        """Bring the store up to the last cut: the changelog's position, and the journal's. Raises ``StoreLostError``."""
        if self._dirty:
            self._store.flush(self._dirty, changelog, position)
            self._dirty = {}

    def expired(self, clock: int, limit: int) -> list[str]:
        """Stubs that expired before ``clock`` (ms)."""
        found = self._store.expired(clock, limit)
        return [id_ for id_ in found if not self._is_newer_in_memory(id_)]

    def _is_newer_in_memory(self, id_: str) -> bool:
        return id_ in self.changed or id_ in self._cutting or id_ in self._dirty

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
            if txn := self.changed.get(id_) or self._read(id_, snapshot):
                yield txn
        for rows in (self._dirty, self._cutting):
            for id_, row in rows.items():
                is_timed = row is not None and row[1] is not None and id_ not in self.changed
                if row is not None and is_timed and (txn := self._read(id_, row[0])):
                    yield txn
        yield from list(self.changed.values())

    def close(self) -> None:
        for id_ in list(self._cache):
            self._forget(id_)
        self._store.close()


def next_due(txn: Transaction) -> int | None:
    """When a transaction must be looked at again (ms); None: not by itself."""
    if txn.held:
        return HELD
    timers = timers_of(txn)
    return min(timers)[0] if timers else None


def expiry(txn: Transaction) -> int | None:
    """None: its stub does not expire. A held one's does not, and must not be looked at with every cut as if it had."""
    return (txn.expires_at or None) if txn.status in ENDED else None


def is_gone(txn: Transaction) -> bool:
    """Nothing is left that anybody would ask for: no saga started, nothing waits."""
    return txn.status is Status.OBSERVED and not txn.early and not txn.incidents and not txn.put_off
