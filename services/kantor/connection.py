"""The SQLite connection that handlers are given: what they do through it belongs to the batch's SQL transaction, which they can't end.

Each way to end it is refused with its remedy: methods here, SQL by SQLite's authorizer, which sees every statement as it is
prepared. ``INSERT OR ROLLBACK`` and its like can't be told from other inserts: so nothing goes on after it, and whoever made
the savepoint finds that it is gone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

from kantor.errors import ConfigError

#: The savepoint around a handler, and what tells our statements from a handler's: SQLite asks the authorizer when it prepares a
#: statement, and Python keeps prepared ones by their text.
SAVEPOINT = "kantor_message"
OURS = " -- the kit's"

_TABLES = frozenset({"kantor_inbox", "kantor_actions", "kantor_clock"})
_ENDED = (
    "the SQL transaction has ended within the handler, so that its effect and its answer would not be one: don't write "
    "OR ROLLBACK, ON CONFLICT ROLLBACK or RAISE(ROLLBACK) in SQL (ABORT is the default); the kit rolls back when the handler raises"
)


class Cursor(sqlite3.Cursor):
    """A handler's."""

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        self._check()
        super().execute(sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor:
        self._check()
        super().executemany(sql, parameters)
        return self

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        return self.connection.executescript(sql_script)

    def _check(self) -> None:
        connection = self.connection
        # What comes now would be committed by itself, whatever becomes of the message.
        if isinstance(connection, Connection) and connection.is_handlers and not connection.in_transaction:
            raise ConfigError(_ENDED)


class Connection(sqlite3.Connection):
    """Keeps handlers from ending the SQL transaction, which belongs to the batch.

    ``with context.db:`` does nothing; an error that leaves the handler rolls back to the message's savepoint.
    """

    #: Whether a handler runs.
    is_handlers = False
    #: Why the authorizer has refused a statement of the handler that runs, or ran last.
    refused = ""

    def guard(self) -> None:
        """Once, when it is open."""
        super().set_authorizer(self._authorize)

    @contextmanager
    def given(self) -> Iterator[None]:
        """While a handler runs."""
        self.refused = ""
        self.is_handlers = True
        try:
            yield
        finally:
            self.is_handlers = False

    def explained(self, error: BaseException) -> BaseException:
        """SQLite says "not authorized" of what we have refused, and no more."""
        if not self.refused or not isinstance(error, sqlite3.DatabaseError):
            return error
        explained = ConfigError(self.refused)
        explained.__cause__ = error
        return explained

    @property
    def loss(self) -> str:
        """What to tell the author when the transaction is gone that a handler was given."""
        return self.refused or _ENDED

    def _authorize(self, action: int, one: str | None, two: str | None, *_: object) -> int:
        if self.is_handlers and (refused := _refused(action, one or "", two or "")):
            self.refused = refused
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.cursor().execute(sql, parameters)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.cursor().executemany(sql, parameters)
        return cursor

    def commit(self) -> None:
        raise ConfigError("the kit commits: effects and answer together; remove commit() from the handler")

    def rollback(self) -> None:
        raise ConfigError("the kit rolls back when the handler raises; raise instead of rollback()")

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:  # noqa: ARG002
        raise ConfigError(
            "executescript() would commit; use execute(), or SqliteStore(schema=...) for tables"
        )

    def close(self) -> None:
        raise ConfigError(
            "the kit closes the store: the next message needs it; remove close() from the handler"
        )

    def set_authorizer(self, *_: object, **__: object) -> None:
        raise ConfigError("the kit has an authorizer of its own; remove set_authorizer() from the handler")

    def set_progress_handler(self, *_: object, **__: object) -> None:
        raise ConfigError(
            "a progress handler would interrupt the kit, too; remove set_progress_handler() from the handler"
        )

    def __setattr__(self, name: str, value: object) -> None:
        # Either commits what is open.
        if name in ("isolation_level", "autocommit"):
            raise ConfigError(
                f"setting {name} would commit; the kit begins and commits: remove it from the handler"
            )
        super().__setattr__(name, value)

    def __enter__(self) -> Connection:  # noqa: PYI034 - as in the base class
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return False


def is_the_stores(error: BaseException | None) -> bool:
    """Whether it was raised, or what it was raised from, because of the store (locked, disk full), not of what was asked of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, sqlite3.OperationalError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _refused(action: int, one: str, two: str) -> str:
    """Why a handler must not do this; empty: it may."""
    if action == sqlite3.SQLITE_TRANSACTION:
        return f"the kit commits and rolls back: effects and answer together; remove {one} from the handler's SQL"
    if action == sqlite3.SQLITE_SAVEPOINT and two.lower() == SAVEPOINT:
        return f"{SAVEPOINT} is the kit's savepoint; give the handler's another name"
    if action == sqlite3.SQLITE_PRAGMA and one.lower() == "query_only" and two:
        return "PRAGMA query_only binds the kit, too; remove it from the handler"
    writes = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE)
    table = two if action == sqlite3.SQLITE_ALTER_TABLE else one
    if (*writes, sqlite3.SQLITE_ALTER_TABLE).count(action) and table.lower() in _TABLES:
        return f"{table} is the kit's: with it, effects happen twice or are not reversed; leave it alone in handlers"
    return ""
