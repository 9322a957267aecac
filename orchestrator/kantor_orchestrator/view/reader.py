"""The view's database: what is read, while another process writes. The rest of its SQL is in ``database.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from kantor.errors import ConfigError, KantorError
from kantor_orchestrator.view.database import BUSY, PARTS, Row, migrations, translated, version_of
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_orchestrator.view.search import BUDGET, FEW, OPEN, Criteria, Found, search
from kantor_orchestrator.view.trace import Incident, Stored


class NoViewError(KantorError):
    """There is no view database yet: nothing has been projected."""


class Reader:
    """Reads while another process writes."""

    def __init__(self, path: Path) -> None:
        """Raises ``NoViewError`` if there is no database yet."""
        self.path = path
        if not path.exists():
            raise NoViewError(f"there is no view yet ({path} does not exist): start one with `kantor run`")
        with translated(path):
            self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._db.set_busy_timeout(BUSY)
            self._db.execute("PRAGMA query_only=ON")
            if version_of(self._db) == 0:
                raise NoViewError(f"there is no view yet ({path} is empty): start one with `kantor run`")
            if version_of(self._db) != len(migrations()):
                raise ConfigError(
                    f"{path} was written by another version of Kantor: restart `kantor run` with this one"
                )

    def close(self) -> None:
        self._db.close()

    def search(self, columns: str, wanted: Criteria, limit: int, page: str, budget: float = BUDGET) -> Found:
        """``no`` and ``columns`` of transactions: see ``view.search``."""
        with self._snapshot():
            return search(self._rows, self._key_names, columns, wanted, limit, page, budget)

    def _key_names(self) -> list[str]:
        return sorted(
            {key for (facts,) in self._rows("SELECT facts FROM sagas") for key in SagaFacts.load(facts).keys}
        )

    def transaction(self, id_: str) -> Stored | None:
        with self._snapshot():
            found = self._rows(
                "SELECT no, shard, saga, version, status, started_at, updated_at, ended_at, reason, last_error,"
                " waiting_for, held FROM transactions WHERE id = ?",
                id_,
            )
            if not found:
                return None
            (
                no,
                shard,
                saga,
                version,
                status,
                started_at,
                updated_at,
                ended_at,
                reason,
                last_error,
                waiting_for,
                held,
            ) = found[0]
            definition = self._rows("SELECT facts FROM sagas WHERE saga = ? AND version = ?", saga, version)
            return Stored(
                transaction_id=id_,
                shard=shard,
                saga=saga,
                version=version,
                status=status,
                started_at=started_at,
                updated_at=updated_at,
                ended_at=ended_at,
                reason=reason,
                last_error=last_error,
                waiting_for=json.loads(waiting_for),
                held=held,
                parts=self._rows(
                    "SELECT messages, moves FROM timeline WHERE place >= ? AND place < ? ORDER BY place",
                    no * PARTS,
                    (no + 1) * PARTS,
                ),
                incidents=[
                    Incident(*row)
                    for row in self._rows(
                        "SELECT kind, step, reason, opened_at, closed_at FROM incidents WHERE no = ? ORDER BY position",
                        no,
                    )
                ],
                definition=SagaFacts.load(definition[0][0]) if definition else None,
                schemas={
                    id_: json.loads(schema) for id_, schema in self._rows("SELECT id, schema FROM schemas")
                },
            )

    def stamp(self, id_: str) -> Row | None:
        """Something that is another after each change of a transaction."""
        found = self._rows("SELECT parts, status, updated_at FROM transactions WHERE id = ?", id_)
        return found[0] if found else None

    def changes(self) -> int:
        """Another number after each SQL transaction of the writer; the same connection must ask."""
        with translated(self.path):
            return int(self._db.pragma("data_version"))

    def by_ids(self, columns: str, ids: Sequence[str]) -> list[Row]:
        query = f"SELECT {columns} FROM transactions WHERE id = ?"  # noqa: S608 - our own text
        return [row for id_ in ids for row in self._rows(query, id_)]

    def overdue(self, columns: str, before: int, limit: int) -> list[Row]:
        return self._rows(
            f"SELECT {columns} FROM transactions"  # noqa: S608 - our own text
            f" WHERE status IN {OPEN} AND {FEW} AND due > 0 AND due < ?"
            " ORDER BY due LIMIT ?",
            before,
            limit,
        )

    def tallies(self) -> list[Row]:
        return self._rows("SELECT saga, status, count FROM tallies WHERE count > 0 ORDER BY saga, status")

    def holds(self) -> list[Row]:
        return self._rows(
            "SELECT saga, reason, min(at) FROM holds WHERE reason != '' GROUP BY saga ORDER BY saga"
        )

    def refused(self, since: int) -> list[Row]:
        return self._rows("SELECT topic, reason, at FROM refused WHERE at >= ? ORDER BY topic", since)

    def uncorrelated(self) -> list[Row]:
        # Bare columns beside max() are of the row that has the maximum: sqlite.org/lang_select.html, "bare columns".
        return self._rows(
            "SELECT topic, sum(count), reason, sample, max(at) FROM uncorrelated GROUP BY topic ORDER BY 2 DESC"
        )

    def incidents(self, limit: int, after: tuple[int, int, int] = (-1, -1, -1)) -> list[Row]:
        """Open ones, the oldest first, each with its place (``opened_at``, ``no``, ``position``); those behind ``after``."""
        return self._rows(
            "SELECT t.id, t.saga, i.kind, i.step, i.reason, i.opened_at, i.no, i.position"
            " FROM incidents i JOIN transactions t USING (no)"
            " WHERE i.closed_at = 0 AND i.opened_at >= ? AND (i.opened_at, i.no, i.position) > (?, ?, ?)"
            " ORDER BY i.opened_at, i.no, i.position LIMIT ?",
            after[0],
            *after,
            limit,
        )

    def incident_count(self) -> int:
        ((count,),) = self._rows("SELECT count(*) FROM incidents WHERE closed_at = 0")
        return int(count)

    def positions(self) -> list[Row]:
        return self._rows("SELECT topic, partition, position FROM positions ORDER BY topic, partition")

    def seen(self) -> list[Row]:
        return self._rows("SELECT name, at FROM seen")

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state of the projection for several queries."""
        with translated(self.path), self._db:
            yield

    def _rows(self, query: str, *values: Any) -> list[Row]:
        with translated(self.path):
            return self._db.execute(query, values).fetchall()
