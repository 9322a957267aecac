"""Rebuilds the view, and is killed as by ``kill -9`` at a place: ``python -m integration.killed_rebuild PLACE NUMBER``, the
number of times that it gets there. SIGKILL to itself hits the place each time; one from outside would hit it now and then."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Self

import psycopg

from kantor_orchestrator.config import Settings
from kantor_orchestrator.view import rebuild
from kantor_orchestrator.view.database import ViewWriter
from kantor_orchestrator.view.sqlite import SqliteDatabase

#: What PostgreSQL is about to be told then.
STATEMENTS = {"rename": "ALTER SCHEMA kantor_view_new RENAME", "drop": "DROP SCHEMA kantor_view_old"}


class Killed:
    """At the ``number``-th time."""

    def __init__(self, number: int) -> None:
        self._left = number

    def here(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _Copying:
    """SQLite's backup, a page at a time."""

    def __init__(self, copy: Any, killed: Killed) -> None:
        self._copy, self._killed = copy, killed
        self.done = False

    def __enter__(self) -> Self:
        self._copy.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._copy.__exit__(*error)

    def step(self, _pages: int) -> None:
        self.done = self._copy.step(1)
        self._killed.here()


class _Copied:
    """A connection whose copies are such."""

    def __init__(self, db: Any, killed: Killed) -> None:
        self._db, self._killed = db, killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def backup(self, *values: Any) -> _Copying:
        return _Copying(self._db.backup(*values), self._killed)


def arrange(place: str, killed: Killed) -> None:
    def before(owner: Any, name: str, is_it: Callable[..., bool]) -> None:
        real = getattr(owner, name)

        def called(self: Any, *values: Any, **named: Any) -> Any:
            if is_it(*values):
                killed.here()
            return real(self, *values, **named)

        setattr(owner, name, called)

    if place == "store":
        before(ViewWriter, "store", lambda *_: True)
    elif place == "copy":
        replace = SqliteDatabase.replace_by

        def replaced(self: SqliteDatabase, other: Any) -> None:
            self._db = _Copied(self._db, killed)  # type: ignore[assignment]
            replace(self, other)

        SqliteDatabase.replace_by = replaced  # type: ignore[method-assign]
    else:
        before(psycopg.Connection, "execute", lambda query, *_: str(query).startswith(STATEMENTS[place]))


if __name__ == "__main__":
    rebuild.BATCH = 20  # type: ignore[attr-defined]
    arrange(sys.argv[1], Killed(int(sys.argv[2])))
    rebuild.rebuild(Settings.from_env(), lambda _: None)
