"""A shard's store (shard-11): one SQLite file that holds the snapshots of its transactions.

It is a cache of the state topic: the changelog position is in the same SQL transaction, flushed *after* the
Kafka commit, so it is never ahead of what is committed, and at most a little behind. It can always be rebuilt from
Kafka, so nothing is synced: a torn file after a power cut is found by SQLite or by the checks of :meth:`open` and wiped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import apsw

from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.errors import KantorError

log = logging.getLogger("kantor.store")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    id TEXT PRIMARY KEY, snapshot BLOB NOT NULL, due INTEGER, expires INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS snapshots_due ON snapshots (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS snapshots_expires ON snapshots (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
"""

#: Milliseconds to wait for another process that writes: one that is frozen in the middle of it is not waited for.
_BUSY = 1_000

#: (snapshot, when its next timer is due, when its stub expires); None: forget the transaction.
Row = tuple[bytes, int | None, int | None]


def limit_memory(size: int) -> None:
    """All stores of the process together cache pages in about as many bytes (each has its own limit, too). Whoever needs one
    more gives up one of its own: the system caches the files as well."""
    apsw.soft_heap_limit(size)


class StoreLostError(KantorError):
    """Another one has opened this store since. Take the shard anew: whoever it belongs to, the changelog has everything."""


class Store:
    """Snapshots by transaction id, with the changelog position that they are of."""

    def __init__(self, path: Path, changelog: str, max_age: float, clock: Clock = SYSTEM_CLOCK) -> None:
        """``changelog`` names the state topic and partition, ids included: a store of another cluster is wiped. So is
        one that was last flushed more than ``max_age`` seconds ago: its tombstones may be gone.

        From now on it is ours: whoever opened it before, and lost the shard since, writes no more. (An engine that was
        frozen does not know; the shard is taken in Kafka before its store is opened.)"""
        self._path = path
        self._clock = clock
        self._changelog = changelog
        self._owner = uuid4().hex
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
            if self._fact("changelog") not in (None, changelog):
                self.wipe("it belongs to another changelog")
            elif not self.position and self._db.execute("SELECT 1 FROM snapshots LIMIT 1").fetchone():
                self.wipe("its restoring was not finished")
            elif self.position and clock.now() / 1000 - float(self._fact("flushed_at") or 0) > max_age:
                self.wipe("it is too old")
            self._claim()
        except apsw.Error as error:
            self.wipe(f"it can't be used: {error}")

    def _open(self) -> None:
        self._db = apsw.Connection(str(self._path))
        self._db.set_busy_timeout(_BUSY)
        # A page cache of 1 MB: there are dozens of shards in a process, and the system caches the file as well.
        # One by one: execute() stops at the first statement that answers with a row. Not to sync comes first: else a new
        # file is synced when it gets its WAL.
        for name, value in (("synchronous", 0), ("journal_mode", "wal"), ("cache_size", -1_024)):
            self._db.pragma(name, value)
        self._db.execute(_SCHEMA)

    def wipe(self, why: str) -> None:
        """Start over, empty: the changelog has everything."""
        log.warning(
            "the store %s is restored from Kafka: %s", self._path, why, extra={"action": "store_wiped"}
        )
        self._db.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._open()
        self._claim()

    def _claim(self) -> None:
        self._set("changelog", self._changelog)
        self._set("owner", self._owner)

    @property
    def position(self) -> int:
        """Next changelog offset to read; 0 if nothing was stored."""
        return int(self._fact("position") or 0)

    def load(self, id_: str) -> bytes | None:
        """A transaction's snapshot, if there is one."""
        for (snapshot,) in self._db.execute("SELECT snapshot FROM snapshots WHERE id = ?", (id_,)):
            return bytes(snapshot)
        return None

    @property
    def journal_position(self) -> int:
        """Next journal offset that the snapshots have not seen; 0 if that was not stored."""
        return int(self._fact("journal_position") or 0)

    def flush(self, rows: Mapping[str, Row | None], position: int, journal_position: int) -> None:
        """Store these, and that the changelog is applied up to ``position``, which is the journal up to
        ``journal_position``: all or nothing. Raises ``StoreLostError`` if another one has opened the store since: nothing
        was stored, and what is in it is not what we know."""
        with self._db:
            ours = "UPDATE facts SET value = value WHERE name = 'owner' AND value = ?"  # and takes the write lock
            self._db.execute(ours, (self._owner,))
            if not self._db.changes():
                raise StoreLostError(f"the store {self._path} has another owner")
            # In the order of the table: a page is written once for all that is in it, however few of them are cached.
            self._db.executemany(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
                sorted((id_, *row) for id_, row in rows.items() if row is not None),
            )
            self._db.executemany(
                "DELETE FROM snapshots WHERE id = ?", ((id_,) for id_, row in rows.items() if row is None)
            )
            self._set("position", position)
            self._set("journal_position", journal_position)
            self._set("flushed_at", self._clock.now() / 1000)

    def due_before(self, moment: int) -> Iterator[tuple[str, bytes]]:
        """Ids and snapshots of transactions with a timer due before ``moment`` (ms)."""
        yield from self._db.execute("SELECT id, snapshot FROM snapshots WHERE due < ?", (moment,))

    def due_at(self, moment: int) -> Iterator[tuple[str, bytes]]:
        """Ids and snapshots of transactions whose next timer is due at ``moment`` (ms)."""
        yield from self._db.execute("SELECT id, snapshot FROM snapshots WHERE due = ?", (moment,))

    def expired(self, moment: int, limit: int) -> Iterable[str]:
        """Ids of stubs that expired before ``moment`` (ms), the oldest first."""
        found = self._db.execute(
            "SELECT id FROM snapshots WHERE expires < ? ORDER BY expires LIMIT ?", (moment, limit)
        )
        return [str(id_) for (id_,) in found]

    def close(self) -> None:
        self._db.close()

    def _fact(self, name: str) -> Any:
        for (value,) in self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)):
            return value
        return None

    def _set(self, name: str, value: str | float) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
