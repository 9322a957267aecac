"""The inbox: what a service has finally answered, in the same SQL transaction as the effects.

What it does for docs/design/kit.md:

* kit-11: one SQL transaction for a batch, a savepoint for each message. An answer and the effect it speaks of are committed
  together, then the answer is produced, then the position is committed. A crash between any two of these redelivers the
  message, and the stored answer goes out again with the same ids.
* kit-12, kit-13: final answers (success, final failure) are stored under the key of what was asked for, and answer every
  attempt. A retryable failure and an expired command answer their own attempt only, and are stored under its id: an attempt
  that is delivered once more is not carried out after its orchestrator was told that it had failed.
* kit-14: an *action* is what a compensation can name in ``ce_reverses``: a command's idempotency key, or
  ``choreographed_action(transaction, type)``. For each it counts effects and reversals: a compensation that finds an effect not
  yet reversed is carried out; any other is confirmed without being carried out; once there was a compensation, the action is
  refused for ever (the fence).
* kit-16: a question about an action shares its key: one answer for both, whichever comes first. So who was told "no" can rely
  on it: the action is not carried out later.
* kit-17: a handler declared ``outside=True`` acts on something that no rollback here reaches (another system). That it is about
  to is committed first, as an effect; only a decline takes it back. So an attempt that failed or crashed counts as an effect
  that may have happened, and its compensation is carried out.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from kantor.connection import OURS, SAVEPOINT, Connection, is_the_stores
from kantor.errors import KantorError
from kantor.writing import Payload

#: How long final answers are kept, in days in which the service runs: as long as the orchestrator can still ask (a compensated
#: transaction's retained record lives 30 days), and a duplicate can still come.
KEEP_DAYS = 45
#: Milliseconds of running that a crash may forget: what is kept is kept so much longer then.
_NOTED_EVERY = 1_000
#: Milliseconds to wait for another process that writes to the same file.
_BUSY_MS = 5_000

_TABLES = """
CREATE TABLE IF NOT EXISTS kantor_inbox (
    key TEXT NOT NULL UNIQUE,      -- a command's idempotency key, or source and id of an event
    handled_at INTEGER NOT NULL,   -- kantor_clock's time
    answers TEXT                   -- JSON: [[type, topic, base64 of the bytes, time], ...]; NULL: begun (kit-17)
);
CREATE TABLE IF NOT EXISTS kantor_actions (
    action TEXT NOT NULL UNIQUE,   -- what ce_reverses names
    handled_at INTEGER NOT NULL,   -- kantor_clock's time
    effects INTEGER NOT NULL,      -- how often it took effect
    reversals INTEGER NOT NULL,    -- how often that was reversed
    confirmation TEXT              -- JSON: what a compensation was answered with; from then on it is fenced
);
-- For how long the service has run, in milliseconds. No clock that somebody sets has a part in it.
CREATE TABLE IF NOT EXISTS kantor_clock (one INTEGER PRIMARY KEY CHECK (one = 1), ran INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS kantor_inbox_age ON kantor_inbox (handled_at);
CREATE INDEX IF NOT EXISTS kantor_actions_age ON kantor_actions (handled_at);
"""


#: What to do about what SQLite says, by the beginning of its error's name; the first that fits.
_REMEDIES = {
    "SQLITE_READONLY_DBMOVED": "the file was deleted, moved or replaced while the service runs; put it back, or restart the service to "
    "work with what is there now, which may not know what was done",
    "SQLITE_READONLY": "let the service's user write to the file and to its folder",
    "SQLITE_CANTOPEN": "the folder must exist, and the service's user must be able to write to it and to the file",
    "SQLITE_FULL": "free some space on its disk",
    "SQLITE_BUSY": "another process writes to it for too long: end that one's transaction",
    "SQLITE_NOTADB": "give the store a file of its own, or restore it",
    "SQLITE_CORRUPT": "stop the service, and restore the file",
    "SQLITE_IOERR": "look after its disk",
}


class StoreError(KantorError):
    """The store did not take the batch (locked, disk full). Nothing of it happened; the caller tries it again."""


class EndedError(StoreError):
    """A handler ended the SQL transaction of the batch, and the other messages' effects with it."""


class Action(NamedTuple):
    """What is known about an action."""

    effects: int = 0
    reversals: int = 0
    confirmation: list[Payload] | None = None


class SqliteStore:
    """Where a service keeps its data: one SQLite file, for all of the service (kit-25). Several processes of one machine may use the
    same file; a replica with a file of its own repeats what another one did, and does not reverse it.

    ``schema`` is SQL that creates the service's own tables (``CREATE TABLE IF NOT EXISTS ...``).
    """

    def __init__(self, path: str, *, schema: str = "", durable: bool = True) -> None:
        """``durable``: a committed batch survives a power cut (``synchronous=FULL``). Otherwise it survives only a crash of
        the process, but commits are faster. Opens nothing yet."""
        self.path = path
        self.schema = schema
        self.durable = durable

    def open(self) -> Inbox:
        """The inbox, for the calling thread. Raises ``StoreError``."""
        try:
            return Inbox(self)
        except sqlite3.Error as error:
            raise StoreError(_told(self.path, error)) from error


class Inbox:
    """An open store. One thread."""

    def __init__(self, store: SqliteStore) -> None:
        self._path = store.path
        # No implicit transactions: the batch's are explicit, and DDL in a handler is part of them.
        self.db = sqlite3.connect(
            store.path, timeout=_BUSY_MS / 1000, isolation_level=None, factory=Connection
        )
        # The rollback journal, not WAL: Python may link an SQLite whose WAL can corrupt (before 3.51.3).
        self.db.execute("PRAGMA journal_mode=DELETE")
        self.db.execute(f"PRAGMA synchronous={'FULL' if store.durable else 'OFF'}")
        sqlite3.Connection.executescript(self.db, _TABLES + store.schema)
        # One of our own: handlers may set the connection's row_factory. Read it out before the next use.
        self._cursor = self.db.cursor(sqlite3.Cursor)
        self._execute = self._cursor.execute
        row = self._execute("SELECT ran FROM kantor_clock").fetchone()
        self._ran_before = self._noted = self._now = row[0] if row else 0
        self._began: float | None = None
        self.db.guard()

    @contextmanager
    def transaction(self, monotonic: float) -> Iterator[None]:
        """The SQL transaction of a batch, begun at this time (see :meth:`begin_time`, which comes first). Raises ``StoreError``:
        then nothing of it happened."""
        try:
            self._execute("BEGIN IMMEDIATE" + OURS)
        except sqlite3.Error as error:
            raise StoreError(_told(self._path, error)) from error
        try:
            self._pass_time(monotonic)
            yield
            self._execute("COMMIT" + OURS)
        except sqlite3.Error as error:
            raise StoreError(_told(self._path, error)) from error
        finally:
            if self.db.in_transaction:
                self._execute("ROLLBACK" + OURS)

    def begin_time(self, monotonic: float) -> None:
        """From now on what is kept grows older. ``monotonic``: seconds since some moment, by a clock that nobody sets. Again: nothing."""
        if self._began is None:
            self._began = monotonic

    def _pass_time(self, monotonic: float) -> None:
        assert self._began is not None
        self._now = self._ran_before + round((monotonic - self._began) * 1000)
        if self._now >= self._noted + _NOTED_EVERY:
            # Another process may have the same file open: time passes once for both.
            self._execute(
                "INSERT INTO kantor_clock VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET ran = max(ran, excluded.ran)",
                (self._now,),
            )
            self._noted = self._now

    def savepoint(self) -> None:
        self._execute(f"SAVEPOINT {SAVEPOINT}{OURS}")

    def given(self) -> AbstractContextManager[None]:
        """While a handler has :attr:`db`."""
        return self.db.given()

    def keep(self) -> None:
        """The message's effects stay. Raises ``EndedError`` if the handler ended the SQL transaction."""
        if not self.db.in_transaction:
            raise EndedError(self.db.loss)
        self._execute(f"RELEASE {SAVEPOINT}{OURS}")

    def undo(self, error: BaseException) -> BaseException:
        """The message's effects go, because its handler raised this. What to say of it.

        Raises ``StoreError`` if the whole batch is gone: ``EndedError`` if that is the handler's doing, and not the store's (disk
        full)."""
        if not self.db.in_transaction:
            if is_the_stores(error):
                raise StoreError(_told(self._path, error)) from error
            raise EndedError(self.db.loss) from error
        try:
            self._execute(f"ROLLBACK TO {SAVEPOINT}{OURS}")
            self._execute(f"RELEASE {SAVEPOINT}{OURS}")
        except sqlite3.Error as trouble:
            raise StoreError(_told(self._path, trouble)) from trouble
        return self.db.explained(error)

    def answers(self, key: str) -> list[Payload] | None:
        """The final answers stored under this key; None if it was never finally answered."""
        row = self._execute("SELECT answers FROM kantor_inbox WHERE key = ?", (key,)).fetchone()
        return None if row is None or row[0] is None else _load(row[0])

    def store(self, key: str, answers: Iterable[Payload]) -> None:
        self._execute(
            "INSERT INTO kantor_inbox VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET answers = excluded.answers",
            (key, self._now, _dump(answers)),
        )

    def action(self, action: str) -> Action:
        row = self._execute(
            "SELECT effects, reversals, confirmation FROM kantor_actions WHERE action = ?", (action,)
        ).fetchone()
        if row is None:
            return Action()
        return Action(row[0], row[1], None if row[2] is None else _load(row[2]))

    def fenced(self, actions: Sequence[str]) -> bool:
        """Whether a compensation of any of them was answered."""
        marks = ",".join("?" * len(actions))
        query = f"SELECT 1 FROM kantor_actions WHERE action IN ({marks}) AND confirmation IS NOT NULL"  # noqa: S608
        return self._execute(query, actions).fetchone() is not None

    def count_effect(self, actions: Iterable[str], by: int) -> None:
        self._cursor.executemany(
            "INSERT INTO kantor_actions VALUES (?1, ?2, max(?3, 0), 0, NULL) "
            "ON CONFLICT (action) DO UPDATE SET effects = effects + ?3",
            [(action, self._now, by) for action in actions],
        )

    def begin_outside(self, key: str, actions: Iterable[str]) -> None:
        """Commit that the message ``key`` may be taking effect now (kit-17). Ends the savepoints before it, for good.

        Raises ``StoreError``.
        """
        try:
            cursor = self._execute("INSERT OR IGNORE INTO kantor_inbox VALUES (?, ?, NULL)", (key, self._now))
            if cursor.rowcount:
                self.count_effect(actions, 1)
                self._execute("COMMIT" + OURS)
                self._execute("BEGIN IMMEDIATE" + OURS)
        except sqlite3.Error as error:
            raise StoreError(_told(self._path, error)) from error

    def fence(self, action: str, confirmation: Iterable[Payload], *, reversed_: bool) -> None:
        """A compensation of ``action`` was answered; ``reversed_``: by reversing an effect."""
        self._execute(
            "INSERT INTO kantor_actions VALUES (?1, ?2, 0, ?3, ?4) ON CONFLICT (action) "
            "DO UPDATE SET reversals = reversals + ?3, confirmation = ?4",
            (action, self._now, int(reversed_), _dump(confirmation)),
        )

    def prune(self, limit: int) -> int:
        """Remove up to ``limit`` rows of each table that are older than ``KEEP_DAYS``; how many went. Cheap when there is nothing
        to remove. The service has run for that long since: a clock that is set ahead, or was behind, makes nothing old."""
        before = self._now - KEEP_DAYS * 86_400_000
        count = 0
        for table in ("kantor_inbox", "kantor_actions"):
            old = f"SELECT rowid FROM {table} WHERE handled_at < ? ORDER BY handled_at LIMIT ?"  # noqa: S608
            count += self._execute(f"DELETE FROM {table} WHERE rowid IN ({old})", (before, limit)).rowcount  # noqa: S608
        return count

    def close(self) -> None:
        sqlite3.Connection.close(self.db)


def _told(path: str, error: BaseException) -> str:
    """What is wrong with the store's file, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    remedy = next((remedy for prefix, remedy in _REMEDIES.items() if name.startswith(prefix)), "")
    return f"the store {path}: {error}{'; ' if remedy else ''}{remedy}"


def _dump(payloads: Iterable[Payload]) -> str:
    return json.dumps(
        [[p.type, p.topic, base64.b64encode(p.value).decode(), p.time] for p in payloads],
        separators=(",", ":"),
    )


def _load(text: str) -> list[Payload]:
    rows: list[list[Any]] = json.loads(text)
    return [Payload(type_, topic, base64.b64decode(value), time) for type_, topic, value, time in rows]
