"""What people ask of the view. Times are milliseconds since the epoch; 0 and empty text mean: none."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from kantor.clients import Partition
from kantor.errors import NotFoundError
from kantor_orchestrator.core.step_kinds import KANTOR
from kantor_orchestrator.view.columns import LISTED, Summary, shown
from kantor_orchestrator.view.database import INTAKE, Location
from kantor_orchestrator.view.reader import Reader
from kantor_orchestrator.view.search import Criteria, PageTokenError
from kantor_orchestrator.view.status import ShownStatus, is_not_looked_at
from kantor_orchestrator.view.trace import Child, Incident, Trace, build_trace

#: Of a saga, its version and the names of its keys: those that are not for everybody.
Hides = Callable[[str, int, Collection[str]], frozenset[str]]

#: Intake says it every ten seconds; what it has not said for so long (ms) is over.
REFUSED_FOR = 30_000


@dataclass(frozen=True, slots=True)
class Page:
    """``next_page`` is opaque; empty on the last page. ``is_partial``: the search took too long to fill the page; it goes
    on with the next one."""

    transactions: list[Summary]
    next_page: str
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class UncorrelatedTopic:
    """Records of one topic that could not be journaled for one reason. ``sample``: ``topic/partition/offset`` of the latest."""

    topic: str
    count: int
    reason: str
    sample: str
    at: int


@dataclass(frozen=True, slots=True)
class RefusedTopic:
    """A topic that intake may see but not read: every timeout waits."""

    topic: str
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class UnreadDecisions:
    """Decisions in a shard's history that count, or may, and that the view could not read. ``place``, ``transaction_id`` (empty: it
    does not say) and ``reason``: of the first."""

    shard: int
    count: int
    place: str
    transaction_id: str
    reason: str
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
    version: int = 0
    keys: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """``next_page`` is opaque; empty on the last page."""

    incidents: list[OpenIncident]
    next_page: str


class View:
    """The view's database, for reading. Close it, or use it with ``with``."""

    def __init__(self, place: Location, hides: Hides = lambda _saga, _version, _names: frozenset()) -> None:
        """``place``: a URL as in KANTOR_VIEW_URL, or the path of an SQLite file. ``hides``: which of these keys of a saga and
        its version lists must not show. Raises ``NoViewError`` if nothing has been projected yet, ``ViewUnavailableError`` if
        the server does not answer."""
        self._db = Reader(place)
        self._hides = hides

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def find(self, text: str, limit: int = 50) -> list[str]:
        """Transactions by id, by ``key=value``, by a key's value or by the beginning of an id; the newest first."""
        found = self._db.search("no, id", Criteria(text=text), limit, "") if text else None
        return [str(id_) for _, id_ in found.rows] if found else []

    def trace(self, transaction_id: str) -> Trace:
        """Raises ``NotFoundError``."""
        stored = self._db.transaction(transaction_id)
        if stored is None:
            raise NotFoundError(f"no transaction {transaction_id}")
        looked_at = self._db.looked_at().get(stored.shard, -1)
        if is_not_looked_at(stored.status, stored.saga, stored.entry, looked_at):
            stored = replace(stored, status=ShownStatus.NOT_LOOKED_AT.value, waiting_on=[KANTOR])
        story = build_trace(stored)
        for child in story.children:
            found = self.summaries([child.transaction_id])
            child.status = found[0].status if found else ""
        return story

    def stamp(self, transaction_id: str) -> str:
        """Another text after each change of this transaction; empty: there is none."""
        found = self._db.stamp(transaction_id)
        return "-".join(map(str, found)) if found else ""

    def changes(self) -> int:
        """Another number after each change of the database, if the same ``View`` asks."""
        return self._db.changes()

    def search(
        self, wanted: Criteria, *, limit: int = 50, page: str = "", budget: float | None = None
    ) -> Page:
        """Transactions, the newest first. ``page``: the last one's ``next_page``. ``budget``: seconds that it may search.

        Raises ``PageTokenError``."""
        options = {} if budget is None else {"budget": budget}
        found = self._db.search(LISTED, wanted, limit, page, **options)
        return Page(self._summaries(found.rows), found.next_page, found.is_partial)

    def transactions(
        self,
        *,
        status: str | None = None,
        saga: str | None = None,
        version: int | None = None,
        limit: int = 50,
        page: str = "",
    ) -> Page:
        """:meth:`search` by status, saga and its version."""
        wanted = Criteria(status=(status,) if status else (), saga=saga or "", version=version or 0)
        return self.search(wanted, limit=limit, page=page)

    def summaries(self, ids: Sequence[str]) -> list[Summary]:
        return self._summaries(self._db.by_ids(LISTED, ids))

    def overdue(self, before: int, limit: int = 50) -> list[Summary]:
        """Open transactions whose next timer should have gone off before ``before``, the longest overdue first."""
        return self._summaries(self._db.overdue(LISTED, before, limit))

    def counts(self) -> dict[tuple[str, str], int]:
        """Transactions by saga and status."""
        return {(saga, status): count for saga, status, count in self._db.tallies()}

    def uncorrelated(self) -> list[UncorrelatedTopic]:
        """Over all intake processes, the most frequent first."""
        return [UncorrelatedTopic(*row) for row in self._db.uncorrelated()]

    def refused(self) -> list[RefusedTopic]:
        """What intake said with its latest watermarks."""
        since = self.seen().get(INTAKE, 0) - REFUSED_FOR
        return [RefusedTopic(*row) for row in self._db.refused(since)]

    def unread(self) -> list[UnreadDecisions]:
        """By shard; a view that lacks nothing has none."""
        return [UnreadDecisions(*row) for row in self._db.unread()]

    def holds(self) -> list[Hold]:
        """What a person holds now."""
        return [Hold(*row) for row in self._db.holds()]

    def incidents(self, limit: int = 50) -> list[OpenIncident]:
        """Open ones, the oldest first."""
        return self._incidents(self._db.incidents(limit))

    def incident_page(self, *, limit: int = 50, page: str = "") -> IncidentPage:
        """Open incidents, the oldest first. Raises ``PageTokenError``."""
        rows = self._db.incidents(limit + 1, _incident_place(page))
        more = "" if len(rows) <= limit else _incident_token(rows[limit - 1])
        return IncidentPage(self._incidents(rows[:limit]), more)

    def incident_count(self) -> int:
        return self._db.incident_count()

    def incidents_by_saga(self) -> tuple[dict[str, int], int]:
        """How many are open, by saga (empty: of none), and when the oldest was opened (ms; 0: none is open)."""
        rows = self._db.incidents_by_saga()
        return {saga: count for saga, count, _ in rows}, min((oldest for _, _, oldest in rows), default=0)

    def _summaries(self, rows: Sequence[Sequence[Any]]) -> list[Summary]:
        """Of rows with the columns of ``LISTED``."""
        looked_at = self._db.looked_at() if rows else {}
        found = [_summary(row, looked_at) for row in rows]
        keys = self._keys([row[0] for row in rows], found)
        return [replace(one, keys=its) for one, its in zip(found, keys, strict=True)]

    def _incidents(self, rows: Sequence[Sequence[Any]]) -> list[OpenIncident]:
        found = [OpenIncident(*[*row[:6], row[8]]) for row in rows]
        keys = self._keys([row[6] for row in rows], found)
        return [replace(one, keys=its) for one, its in zip(found, keys, strict=True)]

    def _keys(
        self, numbers: Sequence[object], found: Sequence[Summary | OpenIncident]
    ) -> list[list[tuple[str, str]]]:
        """Of each, but for those that are hidden."""
        asked = [(int(str(no)), one.saga, one.version) for no, one in zip(numbers, found, strict=True)]
        keys = self._db.keys_of(asked)
        names: dict[tuple[str, int], set[str]] = {}
        for (_, saga, version), its in zip(asked, keys, strict=True):
            names.setdefault((saga, version), set()).update(name for name, _ in its)
        hidden = {saga: self._hides(*saga, its) for saga, its in names.items() if its}
        return [
            [(name, value) for name, value in its if name not in hidden[saga, version]]
            for (_, saga, version), its in zip(asked, keys, strict=True)
        ]

    def positions(self) -> dict[Partition, int]:
        """Next offset to read, by partition."""
        return {(topic, partition): position for topic, partition, position in self._db.positions()}

    def complete_from(self) -> int:
        """Transactions that began before may be missing, or lack their beginning: Kafka no longer had them when they were
        projected (ms; 0: nothing is missing)."""
        return self._db.complete_from()

    def seen(self) -> dict[str, int]:
        """When ``view`` and ``intake`` last gave a sign of life; ``complete``: up to when everything is in the view, said with
        each sign of the view's."""
        return dict(self._db.seen())


def _summary(row: Sequence[Any], looked_at: Mapping[int, int]) -> Summary:
    _, shard, entry, *values = row
    found = Summary(**shown(values, json.loads))
    if is_not_looked_at(found.status, found.saga, entry, looked_at.get(shard, -1)):
        return replace(found, status=ShownStatus.NOT_LOOKED_AT.value, waiting_on=[KANTOR])
    return found


def _incident_token(row: Sequence[object]) -> str:
    return urlsafe_b64encode(f"{row[5]}.{row[6]}.{row[7]}".encode()).decode().rstrip("=")


def _incident_place(token: str) -> tuple[int, int, int]:
    if not token:
        return -1, -1, -1
    try:
        parts = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)).decode("ascii").split(".")
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 19 for part in parts):
        raise PageTokenError("this page token is not from the list of incidents: begin without one")
    return int(parts[0]), int(parts[1]), int(parts[2])


__all__ = [
    "Child", "Criteria", "Hold", "Incident", "IncidentPage", "OpenIncident", "Page", "PageTokenError", "Summary", "Trace",
    "UncorrelatedTopic", "View",
]  # fmt: skip
