"""What people ask of the view. Times are milliseconds since the epoch; 0 and empty text mean: none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kantor.errors import NotFoundError
from kantor.kafka import Partition
from kantor_orchestrator.view.reader import Reader
from kantor_orchestrator.view.trace import Incident, Trace, build_trace

#: A shorter beginning of an id would find anything.
_SHORTEST_PREFIX = 6


@dataclass(frozen=True, slots=True)
class Summary:
    """One transaction in a list."""

    transaction_id: str
    saga: str
    version: int
    status: str
    started_at: int
    updated_at: int
    ended_at: int
    waiting_for: list[str]
    open_steps: list[str]
    due: int
    reason: str
    last_error: str
    incidents: int
    held: str  # who holds it, and why


@dataclass(frozen=True, slots=True)
class Page:
    """``next_page`` is opaque; empty on the last page."""

    transactions: list[Summary]
    next_page: str


@dataclass(frozen=True, slots=True)
class UncorrelatedTopic:
    """Records of one topic that belong to no transaction. ``sample``: ``topic/partition/offset`` of the latest."""

    topic: str
    count: int
    reason: str
    sample: str
    at: int


@dataclass(frozen=True, slots=True)
class Hold:
    """``saga`` empty: all of them."""

    saga: str
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class OpenIncident:
    transaction_id: str
    saga: str
    kind: str
    step: str
    reason: str
    opened_at: int


_SUMMARY = (
    "id, saga, version, status, started_at, updated_at, ended_at, waiting_for, open_steps, due, reason, last_error,"
    " incidents, held"
)


class View:
    """The view's database, for reading. Close it, or use it with ``with``."""

    def __init__(self, path: Path) -> None:
        """Raises ``NoViewError`` if nothing has been projected yet."""
        self._db = Reader(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def find(self, text: str, limit: int = 50) -> list[str]:
        """Transactions by id, by ``key=value``, by a key's value or by the beginning of an id; the newest first."""
        return self._db.find(text, _SHORTEST_PREFIX, limit)

    def trace(self, transaction_id: str) -> Trace:
        """Raises ``NotFoundError``."""
        stored = self._db.transaction(transaction_id)
        if stored is None:
            raise NotFoundError(f"no transaction {transaction_id}")
        return build_trace(stored)

    def transactions(
        self, *, status: str | None = None, saga: str | None = None, limit: int = 50, page: str = ""
    ) -> Page:
        """Transactions, the newest first. ``page``: the last one's ``next_page``."""
        before = int(page) if page.isdecimal() else 0
        rows = self._db.transactions(_SUMMARY, status, saga, before, limit + 1)
        more = str(rows[limit - 1][0]) if len(rows) > limit else ""
        return Page([_summary(row[1:]) for row in rows[:limit]], more)

    def summaries(self, ids: Sequence[str]) -> list[Summary]:
        return [_summary(row) for row in self._db.by_ids(_SUMMARY, ids)]

    def overdue(self, before: int, limit: int = 50) -> list[Summary]:
        """Open transactions whose next timer should have gone off before ``before``, the longest overdue first."""
        return [_summary(row) for row in self._db.overdue(_SUMMARY, before, limit)]

    def counts(self) -> dict[tuple[str, str], int]:
        """Transactions by saga and status."""
        return {(saga, status): count for saga, status, count in self._db.tallies()}

    def uncorrelated(self) -> list[UncorrelatedTopic]:
        """Over all intake processes, the most frequent first."""
        return [UncorrelatedTopic(*row) for row in self._db.uncorrelated()]

    def holds(self) -> list[Hold]:
        """What a person holds now."""
        return [Hold(*row) for row in self._db.holds()]

    def incidents(self, limit: int = 50) -> list[OpenIncident]:
        """Open ones, the oldest first."""
        return [OpenIncident(*row) for row in self._db.incidents(limit)]

    def incident_count(self) -> int:
        return self._db.incident_count()

    def positions(self) -> dict[Partition, int]:
        """Next offset to read, by partition."""
        return {(topic, partition): position for topic, partition, position in self._db.positions()}

    def seen(self) -> dict[str, int]:
        """When ``view`` and ``intake`` last gave a sign of life."""
        return dict(self._db.seen())


def _summary(row: Sequence[object]) -> Summary:
    facts = list(row)
    facts[7], facts[8] = json.loads(str(facts[7])), json.loads(str(facts[8]))
    return Summary(*facts)  # type: ignore[arg-type]


__all__ = ["Hold", "Incident", "OpenIncident", "Page", "Summary", "Trace", "UncorrelatedTopic", "View"]
