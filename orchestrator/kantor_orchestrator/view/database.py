"""The view's database: what is written. All SQL is here and in ``reader.py``: SQLite for now, behind methods that
another database could have, too.

A projection that can be rebuilt, whose positions are in the same file: ``synchronous=NORMAL`` in WAL mode may lose the
last SQL transactions in a power cut, positions included, and they are projected again; it can't tear the file. One
process writes (a lock file says which); any number reads.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from kantor.errors import ConfigError, KantorError
from kantor.kafka import Partition
from kantor_orchestrator.view.facts import to_json
from kantor_orchestrator.view.rows import Changes, TransactionRow, what_is_open

MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS: dict[str, str | int] = {
    "page_size": 8_192,  # with 4,096 storing costs a fifth more; larger ones swell the WAL when keys are random
    "journal_mode": "WAL",  # readers never wait for the writer
    "synchronous": "NORMAL",
    "wal_autocheckpoint": 2_000,  # pages: every 16 MB; a page that changes often is copied once
    "cache_size": -65_536,  # KiB
    "temp_store": "MEMORY",
}
#: Places in the timeline for each transaction: ten times what the engine lets it have. One that is only observed may have
#: more (a constant as the transaction id, say): its timeline ends there.
PARTS = 100_000
#: Who gives signs of life.
VIEW, INTAKE = "view", "intake"
#: Beside them: up to when everything is in the view.
COMPLETE = "complete"
#: Milliseconds that readers and the writer wait for each other.
BUSY = 5_000

Row = tuple[Any, ...]


class InUseError(ConfigError):
    """Another process writes to this database."""


def path_of(url: str) -> Path:
    """The file of ``sqlite:///path``. Raises ``ConfigError`` for anything else."""
    found = re.fullmatch(r"sqlite:///(.+)", url)
    if found is None:
        raise ConfigError(f"KANTOR_VIEW_URL is {url!r}; only sqlite:///path/to/file is supported so far")
    return Path(found[1])


@contextmanager
def translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise KantorError(f"{path} is damaged ({error}); delete it, it is built again from Kafka") from error
    except apsw.Error as error:
        raise KantorError(f"{path}: {type(error).__name__}: {error}") from error


class Writer:
    """The one that writes: the view process."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file and brings it up to date. Raises ``InUseError`` if another process writes to it,
        ``ConfigError`` if it was written by a newer Kantor."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(Path(f"{path}.lock"))
        try:
            with translated(path):
                self._db = apsw.Connection(str(path))
                self._db.set_busy_timeout(BUSY)
                # Readers never wait for the writer; a checkpoint every 16 MB costs less than one every 4.
                for name, value in PRAGMAS.items():
                    self._db.pragma(name, value)  # one by one: execute() stops at the first that answers
                _migrate(self._db, path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def wipe(self) -> None:
        """Forget everything: it is projected again."""
        with translated(self.path), self._db:
            for (table,) in self._db.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall():
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own tables

    def positions(self) -> dict[Partition, tuple[int, str]]:
        """By partition: the next offset to read, and the id of the topic that it is of."""
        with translated(self.path):
            return {
                (topic, partition): (position, topic_id)
                for topic, partition, position, topic_id in self._db.execute(
                    "SELECT topic, partition, position, topic_id FROM positions"
                )
            }

    def next_no(self) -> int:
        with translated(self.path):
            ((no,),) = self._db.execute("SELECT coalesce(max(no), 0) + 1 FROM transactions")
            return int(no)

    def find(self, id_: str) -> tuple[TransactionRow, bytes] | None:
        """A transaction: its row, still without what its moves tell, and its moves."""
        found = self._db.execute(
            "SELECT no, shard, saga, status, started_at, updated_at, parts FROM transactions WHERE id = ?",
            (id_,),
        ).fetchone()
        if found is None:
            return None
        row = TransactionRow(found[0], id_, found[1], found[4])
        row.stored = (found[2], found[3])
        row.updated_at, row.parts = found[5], found[6]
        parts = self._db.execute(
            "SELECT moves FROM timeline WHERE place >= ? AND place < ? ORDER BY place",
            (row.no * PARTS, (row.no + 1) * PARTS),
        )
        return row, b"".join(moves for (moves,) in parts)

    def store(self, changes: Changes, topic_ids: Mapping[str, str]) -> None:
        """Store these, with the positions, in one SQL transaction. Raises ``KantorError``: nothing was stored."""
        with translated(self.path), self._db:
            self._store(changes, topic_ids)

    def alive(self, intake: int, complete: int = 0) -> None:
        """Note that the view works, also when there is nothing to store, when it last heard of intake, and up to when
        everything is stored (ms)."""
        with translated(self.path), self._db:
            self._seen(VIEW, int(time.time() * 1000))
            if intake:
                self._seen(INTAKE, intake)
            if complete:
                self._seen(COMPLETE, complete)

    def forget_positions(self, topic: str) -> None:
        with translated(self.path):
            self._db.execute("DELETE FROM positions WHERE topic = ?", (topic,))

    def _store(self, changes: Changes, topic_ids: Mapping[str, str]) -> None:
        many = self._db.executemany
        tallies = changes.tallies()
        new, changed, timeline = [], [], []
        for row in changes.transactions:
            if row.parts < PARTS:
                timeline.append((row.no * PARTS + row.parts, to_json(row.messages), b"".join(row.moves)))
                row.parts += 1
            row.touched, row.messages, row.moves = False, [], []
            facts = (
                row.shard, row.saga, row.version, row.status, row.started_at, row.updated_at, row.ended_at, row.reason,
                row.last_error, *what_is_open(row), len(row.incidents), row.held, row.parts, row.no,
            )  # fmt: skip
            if row.stored is None:
                new.append((*facts, row.id))
            else:
                changed.append(facts)
            row.stored = (row.saga, row.status)
        many(
            "INSERT INTO transactions (shard, saga, version, status, started_at, updated_at, ended_at, reason,"
            " last_error, waiting_for, open_steps, due, incidents, held, parts, no, id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            new,
        )
        many(
            "UPDATE transactions SET shard = ?, saga = ?, version = ?, status = ?, started_at = ?, updated_at = ?,"
            " ended_at = ?, reason = ?, last_error = ?, waiting_for = ?, open_steps = ?, due = ?, incidents = ?, held = ?,"
            " parts = ?"
            " WHERE no = ?",
            changed,
        )
        many("INSERT INTO timeline VALUES (?, ?, ?)", timeline)
        many(
            "INSERT OR REPLACE INTO schemas VALUES (?, ?)", [(id_, to_json(s)) for id_, s in changes.schemas]
        )
        many("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", changes.keys)
        many("INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?)", changes.incidents_opened)
        many(
            "UPDATE incidents SET closed_at = ? WHERE no = ? AND step = ? AND closed_at = 0",
            changes.incidents_closed,
        )
        many("INSERT OR REPLACE INTO uncorrelated VALUES (?, ?, ?, ?, ?, ?)", changes.uncorrelated)
        many("INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", changes.refused)
        many("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?)", changes.holds)
        many(
            "INSERT OR REPLACE INTO sagas VALUES (?, ?, ?)",
            [(s.saga, s.version, s.dump()) for s in changes.sagas],
        )
        many(
            "INSERT INTO tallies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(saga, status, count) for (saga, status), count in tallies.items() if count],
        )
        many(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
            [(t, p, position, topic_ids.get(t, "")) for (t, p), position in changes.positions.items()],
        )

    def _seen(self, name: str, at: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (name, at))


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise InUseError(
            f"another process writes to this view ({path} is locked); stop it, or set KANTOR_VIEW_URL"
        ) from error
    return file


def migrations() -> Sequence[Path]:
    return sorted(MIGRATIONS.glob("[0-9]*.sql"))


def version_of(db: apsw.Connection) -> int:
    return int(db.pragma("user_version"))


def _migrate(db: apsw.Connection, path: Path) -> None:
    files = migrations()
    version = version_of(db)
    if version > len(files):
        raise ConfigError(
            f"{path} was written by a newer Kantor; use that one, or delete the file: it is built again"
        )
    for number, file in enumerate(files[version:], version + 1):
        with db:
            db.execute(file.read_text(encoding="utf-8"))
            db.pragma("user_version", number)
