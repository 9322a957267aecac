"""A shard's store (shard-11): one SQLite file that holds the snapshots of its transactions.

It is a cache of the state topic: the changelog position is in the same SQL transaction, flushed *after* the
Kafka commit, so it is never ahead of what is committed, and at most a little behind. It can always be rebuilt from
Kafka, so nothing is synced: a damaged file after a power cut is found by SQLite, by the checks of opening or by the sum that each
row has, and wiped.

Nobody waits for a disk. Where the file can't be opened, or its restoring finds the disk full, the snapshots are kept in memory
instead; what a full disk does not take of a flush stays with whoever flushes. ``trouble`` says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import apsw

from kantor.clock import SYSTEM_CLOCK, Clock
from kantor_orchestrator.store import Row, Store, StoreFullError, StoreLostError

log = logging.getLogger("kantor.store")

# STRICT: else an owner of digits alone (1e23, say) would be stored as a number, and be another one when it is read.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    id TEXT PRIMARY KEY, snapshot BLOB NOT NULL, due INTEGER, expires INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS snapshots_due ON snapshots (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS snapshots_expires ON snapshots (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
"""

#: Milliseconds to wait for another process that writes: one that is frozen in the middle of it is not waited for.
_BUSY = 1_000


def limit_memory(size: int) -> None:
    """All stores of the process together cache pages in about as many bytes (each has its own limit, too). Whoever needs one
    more gives up one of its own: the system caches the files as well."""
    apsw.soft_heap_limit(size)


#: Seconds between looks whether the disk takes a store again that is kept in memory; and how much room there must be for it, as
#: a multiple of what it has: one that is retaken for nothing each minute would be worse.
_LOOK, _ROOM = 60.0, 2
#: The disk's trouble, or its owner's: what is in the file stays as it is.
_UNWRITABLE = (apsw.FullError, apsw.ReadOnlyError, apsw.IOError, apsw.CantOpenError, apsw.PermissionsError)


class SqliteStore(Store):
    """See :class:`Store`."""

    def __init__(self, path: Path, changelog: str, max_age: float, clock: Clock = SYSTEM_CLOCK) -> None:
        """``changelog`` names the state topic and partition, ids included: a store of another cluster is wiped. So is
        one that was last flushed more than ``max_age`` seconds ago: its tombstones may be gone.

        From now on it is ours: whoever opened it before, and lost the shard since, writes no more. (An engine that was
        frozen does not know; the shard is taken in Kafka before its store is opened.)"""
        self._path = path
        self._clock = clock
        self._changelog = changelog
        self._owner = uuid4().hex
        self._is_lost = False
        self._look_at = 0.0
        #: Why the store works without the disk, or the disk does not take new data; empty: the disk has everything.
        self.trouble = ""
        self.is_on_disk = True
        self._db = apsw.Connection(":memory:")  # until there is a file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            if self._fact("changelog") not in (None, changelog):
                self.wipe("it belongs to another changelog")
            elif not self.position and self._db.execute("SELECT 1 FROM snapshots LIMIT 1").fetchone():
                self.wipe("its restoring was not finished")
            elif self.position and clock.now() / 1000 - float(self._fact("flushed_at") or 0) > max_age:
                self.wipe("it is too old")
            self._claim()
        except (apsw.Error, OSError, ValueError, StoreLostError) as error:
            self._is_lost = False
            self.wipe(f"it can't be used: {error}")

    def _open(self) -> None:
        self._db.close()
        self._db = _opened(str(self._path))
        self.is_on_disk = True

    def wipe(self, why: str) -> None:
        log.warning(
            "the store %s is restored from Kafka: %s", self._path, why, extra={"action": "store_wiped"}
        )
        if not self.is_on_disk:
            return self._begin_in_memory()
        try:
            self._remove()
            self._open()
            self._claim()
        except (apsw.Error, OSError) as error:
            self.do_without(str(error))

    def do_without(self, why: str) -> None:
        self._told(f"it is kept in memory: {why}")
        try:
            self._remove()
        except (apsw.Error, OSError) as error:
            facts = {"action": "store_in_the_way"}
            log.info("what is at %s can't be removed: %s", self._path, error, extra=facts)
        self._begin_in_memory()

    def _begin_in_memory(self) -> None:
        self._db.close()
        self._db = _opened(":memory:")
        self.is_on_disk = False
        self._look_at = self._clock.monotonic() + _LOOK
        self._claim()

    def _remove(self) -> None:
        self._db.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _told(self, trouble: str) -> None:
        if trouble and not self.trouble:
            facts = {"action": "store_without_disk"}
            log.error("the store %s: %s", self._path, trouble, extra=facts)
        elif self.trouble and not trouble:
            log.info(
                "the store %s can be written to disk again", self._path, extra={"action": "store_on_disk"}
            )
        self.trouble = trouble

    def _damaged(self, error: Exception) -> StoreLostError:
        """It can't be read: it is removed, once, so that it is restored when the shard is retaken."""
        if isinstance(error, apsw.BusyError | apsw.NoMemError):
            return StoreLostError(f"the store {self._path} can't be used now: {error}")
        if not self._is_lost:
            self._is_lost = True
            try:
                self._remove()
            except (apsw.Error, OSError) as other:
                return StoreLostError(
                    f"the store {self._path} is damaged ({error}), and can't be removed: {other}"
                )
        return StoreLostError(f"the store {self._path} is damaged, and was removed: {error}")

    def _claim(self) -> None:
        self._set("changelog", self._changelog)
        self._set("owner", self._owner)

    @property
    def position(self) -> int:
        return int(self._fact("position") or 0)

    def load(self, id_: str) -> bytes | None:
        for _, snapshot in self._rows("SELECT id, snapshot FROM snapshots WHERE id = ?", id_):
            return snapshot
        return None

    def _rows(self, query: str, *values: str | int) -> Iterator[tuple[str, bytes]]:
        try:
            for id_, summed in self._db.execute(query, values):
                snapshot = bytes(summed[4:])
                if crc32(snapshot) != int.from_bytes(summed[:4]):
                    raise self._damaged(ValueError(f"the row of {id_} is not what was stored"))
                yield id_, snapshot
        except (apsw.Error, TypeError) as error:
            raise self._damaged(error) from error

    @property
    def journal_position(self) -> int:
        return int(self._fact("journal_position") or 0)

    def flush(self, rows: Mapping[str, Row | None], position: int, journal_position: int) -> None:
        if not self.is_on_disk:
            self._look()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._store(rows, position, journal_position)
            self._db.execute("COMMIT")
        except (*_UNWRITABLE, apsw.NoMemError) as error:
            self._roll_back()
            if self.is_on_disk:
                self._told(f"what is new in it is kept in memory: {error}")
            raise StoreFullError(f"the store {self._path} can't be written: {error}") from error
        except apsw.Error as error:
            self._roll_back()
            raise self._damaged(error) from error
        except BaseException:
            self._roll_back()
            raise
        if self.is_on_disk and self.trouble:
            self._told("")

    def _store(self, rows: Mapping[str, Row | None], position: int, journal_position: int) -> None:
        if self._fact("owner") != self._owner:
            raise StoreLostError(f"the store {self._path} has another owner")
        # In the order of the table: a page is written once for all that is in it, however few of them are cached.
        self._db.executemany(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
            sorted(
                (id_, crc32(row[0]).to_bytes(4) + row[0], row[1], row[2])
                for id_, row in rows.items()
                if row is not None
            ),
        )
        self._db.executemany(
            "DELETE FROM snapshots WHERE id = ?", ((id_,) for id_, row in rows.items() if row is None)
        )
        self._set("position", position)
        self._set("journal_position", journal_position)
        self._set("flushed_at", self._clock.now() / 1000)

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite may have done so itself
            self._db.execute("ROLLBACK")

    def _look(self) -> None:
        """Raises ``StoreLostError`` if the disk takes it again."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK
        room = _ROOM * self._db.pragma("page_count") * self._db.pragma("page_size") + (1 << 20)
        try:
            _try_disk(self._path, room)
        except (apsw.Error, OSError) as error:
            log.debug("the disk still does not take the store %s: %s", self._path, error)
            return
        self._told("")
        raise StoreLostError(f"the store {self._path}: it was kept in memory, and the disk takes it again")

    def due_before(self, moment: int) -> Iterator[tuple[str, bytes]]:
        yield from self._rows("SELECT id, snapshot FROM snapshots WHERE due < ?", moment)

    def due_at(self, moment: int) -> Iterator[tuple[str, bytes]]:
        yield from self._rows("SELECT id, snapshot FROM snapshots WHERE due = ?", moment)

    def expired(self, moment: int, limit: int) -> Iterable[str]:
        query = "SELECT id FROM snapshots WHERE expires < ? ORDER BY expires LIMIT ?"
        try:
            return [str(id_) for (id_,) in self._db.execute(query, (moment, limit))]
        except apsw.Error as error:
            raise self._damaged(error) from error

    def close(self) -> None:
        self._db.close()

    def _fact(self, name: str) -> Any:
        try:
            for (value,) in self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)):
                return value
        except apsw.Error as error:
            raise self._damaged(error) from error
        return None

    def _set(self, name: str, value: str | float) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _opened(path: str) -> apsw.Connection:
    db = apsw.Connection(path)
    try:
        db.set_busy_timeout(_BUSY)
        # A page cache of 1 MB: there are dozens of shards in a process, and the system caches the file as well.
        # One by one: execute() stops at the first statement that answers with a row. Not to sync comes first: else a new
        # file is synced when it gets its WAL.
        for name, value in (("synchronous", 0), ("journal_mode", "wal"), ("cache_size", -1_024)):
            db.pragma(name, value)
        db.execute(_SCHEMA)
    except apsw.Error:
        db.close()
        raise
    return db


def _try_disk(path: Path, room: int) -> None:
    """Raises ``OSError`` or ``apsw.Error`` if there is no room for a store of so many bytes, or none can be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _opened(str(path)).close()
    trial = path.with_suffix(".trial")
    try:
        with trial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)
    finally:
        trial.unlink(missing_ok=True)
