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
from kantor_orchestrator.view.trace import Incident, Stored

#: The condition of the index transactions_by_status, word for word: SQLite uses it only for queries that say it.
_FEW = "status NOT IN ('completed', 'observed')"


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

    def find(self, text: str, shortest_prefix: int, limit: int) -> list[str]:
        """Ids of transactions, the newest first: see ``View.find``."""
        with self._snapshot():
            if self._rows("SELECT 1 FROM transactions WHERE id = ?", text):
                return [text]
            name, equals, value = text.partition("=")
            names = [name] if equals else self._key_names()
            numbers = {
                no
                for name in names
                for (no,) in self._rows(
                    "SELECT no FROM keys WHERE name = ? AND value = ? ORDER BY no DESC LIMIT ?",
                    name,
                    value if equals else text,
                    limit,
                )
            }
            if numbers or equals or len(text) < shortest_prefix:
                newest = sorted(numbers, reverse=True)[:limit]
                return [
                    id_
                    for no in newest
                    for (id_,) in self._rows("SELECT id FROM transactions WHERE no = ?", no)
                ]
            return [
                id_
                for (id_,) in self._rows(
                    "SELECT id FROM transactions WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                    text,
                    text + "\U0010ffff",
                    limit,
                )
            ]

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

    def transactions(
        self, columns: str, status: str | None, saga: str | None, before: int, limit: int
    ) -> list[Row]:
        """``no`` and ``columns``, the newest first, below ``before`` (0: from the newest)."""
        conditions, values = [], []
        if status is not None:
            conditions.append("status = ?")
            values.append(status)
            if status not in ("completed", "observed"):
                conditions.append(_FEW)
        if saga is not None:
            conditions.append("saga = ?")
            values.append(saga)
        if before:
            conditions.append("no < ?")
            values.append(str(before))
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._rows(
            f"SELECT no, {columns} FROM transactions {where} ORDER BY no DESC LIMIT ?",  # noqa: S608 - our own text
            *values,
            limit,
        )

    def by_ids(self, columns: str, ids: Sequence[str]) -> list[Row]:
        query = f"SELECT {columns} FROM transactions WHERE id = ?"  # noqa: S608 - our own text
        return [row for id_ in ids for row in self._rows(query, id_)]

    def overdue(self, columns: str, before: int, limit: int) -> list[Row]:
        return self._rows(
            f"SELECT {columns} FROM transactions"  # noqa: S608 - our own text
            f" WHERE status IN ('running', 'parked', 'compensating') AND {_FEW} AND due > 0 AND due < ?"
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

    def uncorrelated(self) -> list[Row]:
        # Bare columns beside max() are of the row that has the maximum: sqlite.org/lang_select.html, "bare columns".
        return self._rows(
            "SELECT topic, sum(count), reason, sample, max(at) FROM uncorrelated GROUP BY topic ORDER BY 2 DESC"
        )

    def incidents(self, limit: int) -> list[Row]:
        return self._rows(
            "SELECT t.id, t.saga, i.kind, i.step, i.reason, i.opened_at FROM incidents i JOIN transactions t USING (no)"
            " WHERE i.closed_at = 0 ORDER BY i.opened_at LIMIT ?",
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
