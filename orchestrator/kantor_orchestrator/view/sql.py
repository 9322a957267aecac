"""What the view asks of a database, whichever it is: SQLite (``sqlite.py``) or PostgreSQL (``postgresql.py``).

Queries are written once, with ``?`` for values, in words that both understand; the few words that differ are in
:class:`Dialect`. Each database translates its library's errors into those below.

    KantorError
    ├── NoViewError             nothing has been projected yet
    ├── ViewUnavailableError    the server did not answer, the file was deleted: try again
    ├── ReplacedError           a rebuild has put another view in its place: start from its positions
    └── ConfigError
        ├── InUseError          another process writes to it
        └── ViewUnopenableError it is there, or should be, but can't be read or written
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kantor.errors import ConfigError, KantorError

Row = tuple[Any, ...]

MIGRATIONS = Path(__file__).parent / "migrations"


class NoViewError(KantorError):
    """There is no view database yet: nothing has been projected."""


class InUseError(ConfigError):
    """Another process writes to this database."""


class ViewUnopenableError(ConfigError):
    """The file can't be opened, or not be written: its folder is missing, read-only, or another user's."""


class ViewUnavailableError(KantorError):
    """The database's server did not answer, or the session is lost, or the file was deleted. Whoever wrote opens it again: another process may write
    by now."""


class ReplacedError(KantorError):
    """A rebuild has put another view in this one's place. Nothing was stored; the writer starts from its positions."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words that differ. ``like``: without regard to case. ``among``: that a column is one of many; its one value is
    made by ``many``. ``elements``: of a column with a JSON list, a table with a column ``value``. ``beginning``: what
    beginnings of ids are compared with."""

    name: str
    like: str
    among: str
    many: Callable[[Sequence[int] | Sequence[str]], object]
    elements: str
    beginning: str


class Database(Protocol):
    """One connection. Methods raise ``KantorError``: what a block was to store is not stored then."""

    #: How messages name it; without a password.
    place: str
    dialect: Dialect
    #: Each question is a journey: whoever has several asks them at once.
    is_remote: bool

    def rows(self, query: str, *values: Any) -> list[Row]: ...

    def many(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run it for each row; within :meth:`writing`."""

    def writing(self) -> AbstractContextManager[None]:
        """One SQL transaction. From its first query on, no rebuild replaces the view."""

    def snapshot(self) -> AbstractContextManager[None]:
        """One state of the projection for several queries."""

    def changes(self) -> int:
        """Another number after each SQL transaction of the writer."""

    def replace_by(self, other: Database) -> None:
        """Put another view of the same kind, made with ``beside``, in this one's place, at once for everybody. The other is
        of no use afterwards."""

    def close(self) -> None: ...


def migrations(dialect: str) -> list[Path]:
    """In their order; the number of those that have run is the schema's version, the same for every dialect."""
    return sorted((MIGRATIONS / dialect).glob("[0-9]*.sql"))
