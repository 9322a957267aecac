"""The view in a PostgreSQL database, in a schema of its own: several replicas of the view's process can share it.

One of them writes: it holds an advisory lock, which belongs to its session. All that it writes goes through that session,
and it never opens another one by itself; so a replica that lost its session can't write any more, and the server gives
the lock to the next. (A pooler that hands a session to many, such as PgBouncer's transaction mode, would break that:
connect to the server itself.)

``synchronous_commit=off``: a crash of the server may take the last SQL transactions, positions included, and they are
projected again, as with SQLite.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from kantor.errors import ConfigError, KantorError
from kantor_orchestrator.view.sql import (
    Database,
    Dialect,
    InUseError,
    NoViewError,
    ReplacedError,
    Row,
    ViewUnavailableError,
    migrations,
)

try:
    import psycopg
    from psycopg import errors, sql
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.types.numeric import Int8Dumper
except ImportError as error:
    raise ConfigError(
        "KANTOR_VIEW_URL names PostgreSQL, and its client is not installed: pip install 'kantor[postgresql]'"
    ) from error

SCHEMA = "kantor_view"
#: What rebuilds make beside it, and what they leave for a moment.
BESIDE, BEFORE = f"{SCHEMA}_new", f"{SCHEMA}_old"
#: Seconds to connect.
TIMEOUT = 10
#: Milliseconds that a switch waits for readers and the writer: long questions are asked in less.
PATIENCE = 60_000
#: The first half of the advisory locks' keys: "kant".
_LOCKS = 0x6B616E74
#: What a server says when it refuses us for good. Whatever else it says at the door passes: it starts up, recovers, has too
#: many sessions, has no disk left, or tells it in a language that is not English.
_FOR_GOOD = re.compile(
    "authentication failed|no password supplied|pg_hba|does not exist|not permitted|permission denied"
)

DIALECT = Dialect(
    name="postgresql",
    like="ILIKE",
    among="{} = ANY(?)",
    many=list,
    elements="jsonb_array_elements_text({}::jsonb) AS one (value)",
    beginning='left(id, 500) COLLATE "C"',
)


class PostgresDatabase:
    """One session; see :class:`sql.Database`. A reader that lost its session opens another, a writer never does."""

    dialect = DIALECT
    is_remote = True

    def __init__(self, url: str, schema: str, *, writes: bool) -> None:
        """Raises ``ConfigError`` if the server refuses us, ``ViewUnavailableError`` if it does not answer."""
        self.place = without_password(url)
        self.schema = schema
        self._url = url
        self._writes = writes
        self._replaces_nul = False
        self._is_given_up = False
        self._db = self._connect()

    @classmethod
    def for_writing(cls, url: str, schema: str = SCHEMA) -> PostgresDatabase:
        """Makes the schema and brings it up to date. Raises ``InUseError`` while another session writes to it."""
        found = cls(url, schema, writes=True)
        try:
            if not found.rows("SELECT pg_try_advisory_lock(?::int, ?::int)", *found._key())[0][0]:
                raise InUseError(f"another process writes to the view at {found.place}")
            found._check_writable()
            with found._translated():
                found._migrate()
        except BaseException:
            found.close()
            raise
        return found

    @classmethod
    def beside(cls, url: str) -> PostgresDatabase:
        """An empty one, next to the view, for :meth:`replace_by`. Raises ``InUseError`` if somebody makes one already."""
        found = cls(url, BESIDE, writes=True)
        try:
            if not found.rows("SELECT pg_try_advisory_lock(?::int, ?::int)", *found._key())[0][0]:
                raise InUseError(f"the view at {found.place} is being rebuilt already")
            with found._translated():
                for schema in (BESIDE, BEFORE):
                    found._db.execute(
                        sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
                    )
                found._migrate()
        except BaseException:
            found.close()
            raise
        return found

    @classmethod
    def for_reading(cls, url: str) -> PostgresDatabase:
        """Raises ``NoViewError`` if there is no view yet, ``ConfigError`` if it is another version's."""
        found = cls(url, SCHEMA, writes=False)
        try:
            version = found._version()
            if version == 0:
                raise NoViewError(f"there is no view yet at {found.place}: start one with `kantor run`")
            if version != len(migrations("postgresql")):
                raise ConfigError(
                    f"the view at {found.place} was written by another version of Kantor: restart `kantor run` with this one"
                )
        except BaseException:
            found.close()
            raise
        return found

    def rows(self, query: str, *values: Any) -> list[Row]:
        with self._translated():
            return self._session().execute(_translated(query), [_printable(v) for v in values]).fetchall()

    def many(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        rows = list(rows)
        if not rows:
            return
        if self._replaces_nul:
            rows = [[_printable(value) for value in row] for row in rows]
        with self._db.cursor() as cursor:
            cursor.executemany(_translated(query), rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._translated(), self._db.pipeline(), self._db.transaction():
            yield
            self._db.execute("UPDATE about SET number = number + 1 WHERE name = 'changes'")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """The lock comes before the snapshot, and a switch waits for it: so all questions are of one view."""
        with self._translated():
            db = self._session()
            db.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE about IN ACCESS SHARE MODE"
            )
            try:
                yield
            finally:
                if not db.closed:
                    db.execute("ROLLBACK")  # it only read

    def changes(self) -> int:
        return int(self.rows("SELECT number FROM about WHERE name = 'changes'")[0][0])

    def replace_by(self, other: Database) -> None:
        """By name, in one SQL transaction. Everybody's first question locks ``about``: so nobody is between the two."""
        assert isinstance(other, PostgresDatabase)
        session = other._db
        with other._translated():
            session.execute(
                "ANALYZE transactions, timeline, keys, incidents"
            )  # else the first questions are slow
            with session.transaction():
                session.execute(f"SET LOCAL lock_timeout = {PATIENCE}")
                session.execute(f"LOCK TABLE {SCHEMA}.about IN ACCESS EXCLUSIVE MODE")
                # Whoever watches sees a number that was not there before.
                session.execute(
                    f"UPDATE {BESIDE}.about SET number = (SELECT number + 1 FROM {SCHEMA}.about WHERE name = 'changes')"  # noqa: S608 - our own names
                    " WHERE name = 'changes'"
                )
                session.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO {BEFORE}")
                session.execute(f"ALTER SCHEMA {BESIDE} RENAME TO {SCHEMA}")
            session.execute(f"DROP SCHEMA {BEFORE} CASCADE")
        other.close()

    def close(self) -> None:
        """For good: a lost session is opened again, this one is not."""
        self._is_given_up = True
        self._db.close()

    def _connect(self) -> psycopg.Connection[Row]:
        try:
            db = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=TIMEOUT,
                application_name="kantor view" if self._writes else "kantor",
            )
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"KANTOR_VIEW_URL is not a PostgreSQL URL: {error}") from None
        except psycopg.OperationalError as error:
            text = " ".join(str(error).split())
            if _FOR_GOOD.search(text):
                raise ConfigError(
                    f"PostgreSQL refuses the view's session ({text}); correct user, password and database in KANTOR_VIEW_URL,"
                    " postgresql://user:password@host:5432/database, or make them on the server"
                ) from None
            raise ViewUnavailableError(f"{self.place} does not answer: {text}") from error
        try:
            with self._translated():
                db.adapters.register_dumper(
                    int, Int8Dumper
                )  # else a statement is prepared for each size of number
                for name, value in _SETTINGS.items():
                    db.execute(f"SET {name} = {value}")
                db.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(self.schema)))
                encoding = db.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise ConfigError(
                    f"the database at {self.place} stores text as {encoding}, which can't hold every message: give"
                    " KANTOR_VIEW_URL one that was made with ENCODING 'UTF8'"
                )
        except BaseException:
            db.close()
            raise
        return db

    def _session(self) -> psycopg.Connection[Row]:
        if self._db.closed and not self._writes and not self._is_given_up:
            self._db = self._connect()
        return self._db

    def _check_writable(self) -> None:
        """Raises ``ViewUnavailableError`` now, and not at the first thing that is to be stored."""
        if self.rows("SELECT current_setting('transaction_read_only')")[0][0] == "on":
            raise self._read_only("transaction_read_only is on")

    def _read_only(self, text: str) -> ViewUnavailableError:
        self._db.close()  # another session may be one with the primary
        return ViewUnavailableError(
            f"{self.place} takes no writes ({text}): it is a standby, or default_transaction_read_only is set there; end that, or"
            " give KANTOR_VIEW_URL the primary (postgresql://user:password@host1,host2/database?target_session_attrs=read-write)"
        )

    def _key(self) -> tuple[int, int]:
        return _LOCKS, zlib.crc32(self.schema.encode()) - 2**31

    def _version(self) -> int:
        if self.rows("SELECT to_regclass(?) IS NULL", f"{self.schema}.version")[0][0]:
            return 0
        return int(self.rows("SELECT coalesce(max(number), 0) FROM version")[0][0])

    def _migrate(self) -> None:
        """Only whoever holds the lock does it."""
        files = migrations("postgresql")
        version = self._version()
        if version > len(files):
            raise ConfigError(f"the view at {self.place} was written by a newer Kantor; use that one")
        if version == len(files):
            return
        with self._db.transaction():
            self._db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema)))
            self._db.execute("CREATE TABLE IF NOT EXISTS version (number BIGINT PRIMARY KEY)")
            for number, file in enumerate(files[version:], version + 1):
                self._db.execute(file.read_text(encoding="utf-8").encode())
                self._db.execute("INSERT INTO version VALUES (%s)", [number])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._ours(error) from error

    def _ours(self, error: psycopg.Error) -> KantorError:
        text = " ".join(str(error).split())
        if isinstance(error, errors.InsufficientPrivilege):
            return ConfigError(
                f"{self.place}: {text}; the user in KANTOR_VIEW_URL must own the schema {SCHEMA}, or may make it:"
                " GRANT CREATE ON DATABASE ... TO ..."
            )
        if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
            if self._writes:
                return ReplacedError(f"{self.place}: {text}")
            return NoViewError(f"there is no view any more at {self.place}: start one with `kantor run`")
        if isinstance(error, psycopg.DataError) and "NUL" in text:
            self._replaces_nul = (
                True  # from now on; looking at all text before would cost as much as storing it
            )
        if isinstance(error, errors.ReadOnlySqlTransaction) and self._writes:
            return self._read_only(text)
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and self._db_is_lost():
            return ViewUnavailableError(f"{self.place}: the session is lost: {text}")
        return KantorError(f"{self.place}: {type(error).__name__}: {text}")

    def _db_is_lost(self) -> bool:
        db: psycopg.Connection[Row] | None = getattr(self, "_db", None)
        return db is None or db.closed


#: A writer whose machine is gone must not hold the lock for the two hours that TCP waits by default.
_SETTINGS = {
    "synchronous_commit": "off",
    "client_min_messages": "warning",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "60000",
}


def without_password(url: str) -> str:
    """The URL as messages may show it."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "KANTOR_VIEW_URL"
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return f"postgresql://{host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


@lru_cache(maxsize=512)
def _translated(query: str) -> bytes:
    """With psycopg's signs for values. Our queries have no other question marks or percent signs."""
    return query.replace("%", "%%").replace("?", "%s").encode()


def _printable(value: Any) -> Any:
    """PostgreSQL's text has no NUL: it is shown as the sign for it."""
    if isinstance(value, list):
        return [_printable(one) for one in value]
    return value.replace("\0", "\u2400") if isinstance(value, str) else value
