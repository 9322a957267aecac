"""The view in an SQLite file.

A projection that can be rebuilt, whose positions are in the same file: ``synchronous=NORMAL`` in WAL mode may lose the
last SQL transactions in a power cut, positions included, and they are projected again; it can't damage the file. One
process writes (a lock file says which); any number reads. A file that is deleted while it is in use is recreated.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from kantor.errors import ConfigError, KantorError
from kantor_orchestrator.view.sql import (
    Database,
    Dialect,
    InUseError,
    NoViewError,
    Row,
    ViewUnavailableError,
    ViewUnopenableError,
    migrations,
)

PRAGMAS: dict[str, str | int] = {
    "page_size": 8_192,  # with 4,096 storing costs a fifth more; larger ones swell the WAL when keys are random
    "journal_mode": "WAL",  # readers never wait for the writer
    "synchronous": "NORMAL",
    "wal_autocheckpoint": 2_000,  # pages: every 16 MB; a page that changes often is copied once
    "cache_size": -65_536,  # KiB
    "temp_store": "MEMORY",
}
#: Milliseconds that readers and the writer wait for each other.
BUSY = 5_000
#: Milliseconds that a rebuild waits for the writer to end what it is at.
PATIENCE = 60_000

DIALECT = Dialect(
    name="sqlite",
    like="LIKE",
    among="{} IN (SELECT value FROM json_each(?))",
    many=json.dumps,
    elements="json_each({})",
    beginning="id",
)


class SqliteDatabase:
    """One connection to the file; see :class:`sql.Database`."""

    dialect = DIALECT
    is_remote = False

    def __init__(self, path: Path, db: apsw.Connection, lock: int | None = None) -> None:
        self.path = path
        self.place = str(path)
        self._db = db
        self._lock = lock
        self._file = _file_at(path)

    @classmethod
    def for_writing(cls, path: Path) -> SqliteDatabase:
        """Opens or makes the file and brings it up to date. Raises ``InUseError`` if another process writes to it,
        ``ConfigError`` if it was written by a newer Kantor."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock(Path(f"{path}.lock"))
        except OSError as error:
            raise _unopenable(path, error.strerror or str(error)) from error
        try:
            with translated(path):
                db = apsw.Connection(str(path))
                db.set_busy_timeout(BUSY)
                # One by one: execute() stops at the first that answers.
                for name, value in PRAGMAS.items():
                    db.pragma(name, value)
                _migrate(db, path)
                db.transaction_mode = "IMMEDIATE"
        except BaseException:
            os.close(lock)
            raise
        return cls(path, db, lock)

    @classmethod
    def beside(cls, path: Path) -> SqliteDatabase:
        """An empty one, next to the file, for :meth:`replace_by`. Raises ``InUseError`` if somebody makes one already."""
        new = Path(f"{path}.new")
        lock = _lock(Path(f"{new}.lock"))
        for name in (new, Path(f"{new}-wal"), Path(f"{new}-shm")):
            name.unlink(missing_ok=True)
        os.close(lock)
        return cls.for_writing(new)

    @classmethod
    def for_reading(cls, path: Path) -> SqliteDatabase:
        """Raises ``NoViewError`` if there is no view yet, ``ConfigError`` if it is another version's."""
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoViewError(
                f"there is no view yet ({path} does not exist): start one with `kantor run`"
            ) from error
        except OSError as error:
            raise _unopenable(path, error.strerror or str(error)) from error
        with translated(path):
            db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            db.set_busy_timeout(BUSY)
            db.execute("PRAGMA query_only=ON")
            if _version_of(db) == 0:
                raise NoViewError(f"there is no view yet ({path} is empty): start one with `kantor run`")
            if _version_of(db) != len(migrations("sqlite")):
                raise ConfigError(
                    f"{path} was written by another version of Kantor: restart `kantor run` with this one"
                )
        return cls(path, db)

    def rows(self, query: str, *values: Any) -> list[Row]:
        with translated(self.path):
            return self._db.execute(query, values).fetchall()

    def many(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        self._db.executemany(query, rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        if self._lock is not None and _file_at(self.path) != self._file:
            raise ViewUnavailableError(
                f"{self.path} was deleted or replaced while it was in use: it is rebuilt"
            )
        with translated(self.path), self._db:
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with translated(self.path), self._db:
            yield

    def changes(self) -> int:
        with translated(self.path):
            return int(self._db.pragma("data_version"))

    def replace_by(self, other: Database) -> None:
        """Page by page, in one SQL transaction: readers go on with the old pages until it is done, then have the new
        ones, without opening anything again. (Renaming the file would leave its WAL to the new one: that damages it.)"""
        assert isinstance(other, SqliteDatabase)
        with translated(self.path):
            self._db.set_busy_timeout(PATIENCE)
            self._db.pragma("query_only", 0)
            with self._db.backup("main", other._db, "main") as copy:
                while not copy.done:
                    copy.step(10_000)
            self._db.set_busy_timeout(BUSY)
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        other.close()
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(f"{other.path}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise KantorError(f"{path} is damaged ({error}); delete it: it is rebuilt from Kafka") from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError) as error:
        raise _unopenable(path, f"{type(error).__name__}: {error}") from error
    except apsw.Error as error:
        raise KantorError(f"{path}: {type(error).__name__}: {error}") from error


def _unopenable(path: Path, why: str) -> ViewUnopenableError:
    return ViewUnopenableError(
        f"the view {path} can't be opened ({why}): its folder {path.parent} must be one that this user can write to;"
        " fix that, or set KANTOR_VIEW_URL to sqlite:///another/folder/view.db"
    )


def _file_at(path: Path) -> tuple[int, int]:
    """Which file is there; (0, 0): none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _lock(path: Path) -> int:
    """Raises ``InUseError``, or ``OSError`` if there can be no such file."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise InUseError(
            f"another process writes to this view ({path} is locked); stop it, or set KANTOR_VIEW_URL"
        ) from error
    return file


def _version_of(db: apsw.Connection) -> int:
    return int(db.pragma("user_version"))


def _migrate(db: apsw.Connection, path: Path) -> None:
    files = migrations("sqlite")
    version = _version_of(db)
    if version > len(files):
        raise ConfigError(
            f"{path} was written by a newer Kantor; use that version, or delete the file: it is then rebuilt"
        )
    if version == len(files):
        return
    with db:  # at once: nobody who reads meets a version in between
        for file in files[version:]:
            db.execute(file.read_text(encoding="utf-8"))
        db.pragma("user_version", len(files))
