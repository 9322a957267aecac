"""The view's database: what is read, while another process writes. What is written is in ``database.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kantor_orchestrator.formats.holds import ALL
from kantor_orchestrator.view.columns import TransactionFacts
from kantor_orchestrator.view.database import PARTS, Location, Row, for_reading
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_orchestrator.view.search import BUDGET, FEW, OPEN, Criteria, FoundRows, search
from kantor_orchestrator.view.sql import NoViewError
from kantor_orchestrator.view.status import NO_TRANSACTION
from kantor_orchestrator.view.trace import Incident, Stored

__all__ = ["NoViewError", "Reader"]


_TOLD = ", ".join(TransactionFacts._fields)


class Reader:
    """Reads while another process writes."""

    def __init__(self, place: Location) -> None:
        """Raises ``NoViewError`` if there is no database yet; see ``database.for_reading``."""
        self._db = for_reading(place)

    def close(self) -> None:
        self._db.close()

    def search(
        self, columns: str, wanted: Criteria, limit: int, page: str, budget: float = BUDGET
    ) -> FoundRows:
        """``columns`` of transactions, ``no`` first: see ``view.search``."""
        with self._snapshot():
            return search(self._rows, self._db.dialect, self._key_names, columns, wanted, limit, page, budget)

    def _key_names(self) -> list[str]:
        return sorted(
            {key for (facts,) in self._rows("SELECT facts FROM sagas") for key in SagaFacts.load(facts).keys}
        )

    def transaction(self, id_: str) -> Stored | None:
        with self._snapshot():
            found = self._rows(
                f"SELECT {_TOLD} FROM transactions WHERE id = ? AND status <> ?",  # noqa: S608 - our own names
                id_,
                NO_TRANSACTION,
            )
            if not found:
                return None
            row = TransactionFacts(*found[0])
            is_held = row.held or (
                row.saga
                and self._rows(
                    "SELECT 1 FROM holds WHERE shard = ? AND saga IN (?, ?) AND reason <> '' LIMIT 1",
                    row.shard,
                    ALL,
                    row.saga,
                )
            )
            definition = self._rows(
                "SELECT facts FROM sagas WHERE saga = ? AND version = ?", row.saga, row.version
            )
            return Stored(
                transaction_id=id_,
                shard=row.shard,
                saga=row.saga,
                version=row.version,
                status=row.status,
                started_at=row.started_at,
                updated_at=row.updated_at,
                ended_at=row.ended_at,
                reason=row.reason,
                last_error=row.last_error,
                waiting_on=json.loads(row.waiting_on),
                held=row.held,
                is_held=bool(is_held),
                entry=row.entry,
                unread=row.unread,
                parts=self._rows(
                    "SELECT messages, moves FROM timeline WHERE place >= ? AND place < ? ORDER BY place",
                    row.no * PARTS,
                    (row.no + 1) * PARTS,
                ),
                incidents=[
                    Incident(*incident)
                    for incident in self._rows(
                        "SELECT kind, step, reason, opened_at, closed_at FROM incidents WHERE no = ? ORDER BY position",
                        row.no,
                    )
                ],
                definition=SagaFacts.load(definition[0][0]) if definition else None,
                schemas={
                    id_: json.loads(schema) for id_, schema in self._rows("SELECT id, schema FROM schemas")
                },
            )

    def looked_at(self) -> dict[int, int]:
        """By shard: the last entry of the journal at which an engine is known to have looked (-1: at none)."""
        return dict(self._rows("SELECT partition, max(entry) FROM positions GROUP BY partition"))

    def stamp(self, id_: str) -> Row | None:
        """Something that is another after each change of a transaction."""
        found = self._rows(
            "SELECT parts, status, updated_at, entry > coalesce((SELECT max(p.entry) FROM positions p"
            " WHERE p.partition = shard), -1) FROM transactions WHERE id = ? AND status <> ?",
            id_,
            NO_TRANSACTION,
        )
        return found[0] if found else None

    def changes(self) -> int:
        """Another number after each SQL transaction of the writer; the same connection must ask."""
        return self._db.changes()

    def by_ids(self, columns: str, ids: Sequence[str]) -> list[Row]:
        query = f"SELECT {columns} FROM transactions WHERE id = ? AND status <> ?"  # noqa: S608 - our own text
        return [row for id_ in ids for row in self._rows(query, id_, NO_TRANSACTION)]

    def keys_of(self, transactions: Sequence[tuple[int, str, int]]) -> list[list[tuple[str, str]]]:
        """Of each, by number, saga and version: names and values, in the order in which its saga names them."""
        found: dict[int, list[tuple[str, str]]] = {no: [] for no, _, _ in transactions}
        if not found:
            return []
        dialect = self._db.dialect
        for no, name, value in self._rows(
            f"SELECT no, name, value FROM keys WHERE {dialect.among.format('no')}",  # noqa: S608 - our own text
            dialect.many(list(found)),
        ):
            found[no].append((name, value))
        orders = {
            (saga, version): {name: place for place, name in enumerate(SagaFacts.load(facts).keys)}
            for saga, version, facts in self._rows("SELECT saga, version, facts FROM sagas")
        }
        for no, saga, version in transactions:
            order = orders.get((saga, version), {})
            found[no].sort(key=lambda key: (order.get(key[0], len(order)), key))
        return [found[no] for no, _, _ in transactions]

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
            "SELECT saga, reason, at FROM (SELECT saga, reason, at, row_number() OVER (PARTITION BY saga ORDER BY at, shard)"
            " AS nth FROM holds WHERE reason <> '') AS held WHERE nth = 1 ORDER BY saga"
        )

    def refused(self, since: int) -> list[Row]:
        return self._rows("SELECT topic, reason, at FROM refused WHERE at >= ? ORDER BY topic", since)

    def unread(self) -> list[Row]:
        return self._rows("SELECT shard, count, place, transaction_id, reason, at FROM unread ORDER BY shard")

    def uncorrelated(self) -> list[Row]:
        return self._rows(
            "SELECT topic, count, reason, sample, at FROM ("
            "SELECT topic, CAST(sum(count) OVER (PARTITION BY topic, reason) AS BIGINT) AS count, reason, sample, at,"
            " row_number() OVER (PARTITION BY topic, reason ORDER BY at DESC, intake) AS nth FROM uncorrelated"
            ") AS latest WHERE nth = 1 ORDER BY count DESC, topic, reason"
        )

    def incidents(self, limit: int, after: tuple[int, int, int] = (-1, -1, -1)) -> list[Row]:
        """Open ones, the oldest first, each with its place (``opened_at``, ``no``, ``position``) and its saga's version; those
        behind ``after``."""
        return self._rows(
            "SELECT t.id, t.saga, i.kind, i.step, i.reason, i.opened_at, i.no, i.position, t.version"
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

    def incidents_by_saga(self) -> list[Row]:
        """Saga, how many are open, when the oldest of them was opened."""
        return self._rows(
            "SELECT t.saga, count(*), min(i.opened_at) FROM incidents i JOIN transactions t USING (no)"
            " WHERE i.closed_at = 0 GROUP BY t.saga"
        )

    def positions(self) -> list[Row]:
        return self._rows("SELECT topic, partition, position FROM positions ORDER BY topic, partition")

    def seen(self) -> list[Row]:
        return self._rows("SELECT name, at FROM seen")

    def complete_from(self) -> int:
        """What began before may be missing (ms; 0: nothing is)."""
        ((number,),) = self._rows("SELECT number FROM about WHERE name = 'complete_from'")
        return int(number)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state of the projection for several queries."""
        with self._db.snapshot():
            yield

    def _rows(self, query: str, *values: Any) -> list[Row]:
        return self._db.rows(query, *values)
