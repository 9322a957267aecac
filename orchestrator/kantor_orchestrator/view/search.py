"""Searching transactions by anything that people ask for, among millions, a page at a time, the newest first.

Two steps. An index gives candidates in order: those of a status, of a saga, with a key, with an error, the open ones; the
narrowest that the criteria allow. Their rows are then looked at for the rest. So a page begins below a number (the keyset),
and costs the same on the first page and on the thousandth.

What no index narrows down (a word in the errors of a saga that never fails) would be a scan of everything. It stops after
``BUDGET`` seconds, and the page says that it is partial and where to go on: no question makes anybody wait.
"""

from __future__ import annotations

import base64
import binascii
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from heapq import merge
from itertools import groupby, islice

from kantor.errors import ConfigError
from kantor_orchestrator.view.sql import Dialect, Row
from kantor_orchestrator.view.status import NO_TRANSACTION, ShownStatus

#: Seconds that a page may search.
BUDGET = 0.08
#: Candidates looked at in one go: at first, and at most.
_FIRST, _MOST = 256, 8_192
#: A shorter beginning of an id would find anything.
SHORTEST_PREFIX = 6
#: Transactions that a beginning of an id may mean.
_PREFIX_MATCHES = 1_000

OPEN = ("running", "parked", "compensating")
#: The condition of the index transactions_by_status, word for word: SQLite uses it only for queries that say it.
FEW = "status NOT IN ('completed', 'observed')"
_OBSERVED = {ShownStatus.OBSERVED.value, ShownStatus.NOT_LOOKED_AT.value}
#: ``shown.is_not_looked_at`` as a condition.
_NOT_LOOKED_AT = (
    "(status = 'observed' AND saga = '' AND entry > coalesce("
    "(SELECT max(p.entry) FROM positions p WHERE p.partition = transactions.shard), -1))"
)
_WHY = "(last_error <> '' OR reason <> '')"

#: Runs a query.
Rows = Callable[..., list[Row]]
#: The numbers of candidates below a number, the highest first, at most so many.
_Candidates = Callable[[int, int], list[int]]


class PageTokenError(ConfigError):
    """A page token that is none, or of another search."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What to look for; empty, 0 and False: anything. Times are ms since the epoch.

    ``text``: an id, the beginning of one, ``key=value``, or a key's value. ``step``: open there, or its last error is of it.
    ``service``: whom it is waiting on. ``error``: part of the last error or of the reason. ``unchanged_since``: open, and nothing
    has happened since then: stuck. ``is_open``: not ended, or with an open incident.
    """

    text: str = ""
    status: tuple[str, ...] = ()
    saga: str = ""
    version: int = 0
    step: str = ""
    service: str = ""
    error: str = ""
    started_after: int = 0
    started_before: int = 0
    unchanged_since: int = 0
    is_open: bool = False

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


def asked(
    now: int,
    *,
    text: str = "",
    status: Iterable[str] = (),
    saga: str = "",
    version: int | None = None,
    step: str = "",
    service: str = "",
    error: str = "",
    started_after: int | None = None,
    started_before: int | None = None,
    stuck_for: int | None = None,
    is_open: bool = False,
) -> Criteria:
    """What people ask for at ``now`` (ms since the epoch), by the command line and the API alike: what they leave out is
    None. ``stuck_for``: ms."""
    return Criteria(
        text=text,
        status=tuple(sorted(set(status))),
        saga=saga,
        version=version or 0,
        step=step,
        service=service,
        error=error,
        started_after=started_after or 0,
        started_before=started_before or 0,
        unchanged_since=now - stuck_for if stuck_for else 0,
        is_open=is_open,
    )


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Rows: ``no``, then the columns asked for. ``next_page`` empty: these are the last. ``is_partial``: the time was up
    before the page was full."""

    rows: list[Row]
    next_page: str
    is_partial: bool


def search(
    rows: Rows,
    dialect: Dialect,
    key_names: Callable[[], Sequence[str]],
    columns: str,
    wanted: Criteria,
    limit: int,
    page: str = "",
    budget: float = BUDGET,
) -> FoundRows:
    """One page. ``columns``: ``no`` first. Raises ``PageTokenError`` for a ``page`` that is not from this search."""
    before = _number_in(page, wanted)
    candidates, (where, values) = _plan(rows, dialect, key_names, wanted)
    deadline = time.monotonic() + budget
    found: list[Row] = []
    chunk = _FIRST
    while True:
        numbers = candidates(before, chunk)
        if numbers:
            condition = f" AND status <> '{NO_TRANSACTION}'" + (f" AND {where}" if where else "")
            found += rows(
                f"SELECT {columns} FROM transactions"  # noqa: S608 - our own text
                f" WHERE {dialect.among.format('no')}{condition} ORDER BY no DESC LIMIT ?",
                dialect.many(numbers),
                *values,
                limit + 1 - len(found),
            )
            before = numbers[-1]
        if len(found) > limit:
            return FoundRows(found[:limit], _token(int(found[limit - 1][0]), wanted), False)
        if len(numbers) < chunk:
            return FoundRows(found, "", False)
        if time.monotonic() > deadline:
            return FoundRows(found, _token(before, wanted), True)
        chunk = min(_MOST, chunk * 4)


def _plan(
    rows: Rows, dialect: Dialect, key_names: Callable[[], Sequence[str]], wanted: Criteria
) -> tuple[_Candidates, tuple[str, list[object]]]:
    """Where candidates come from, and what is left to look at in their rows."""
    conditions = list(_conditions(dialect, wanted))
    rest = " AND ".join(condition for condition, _ in conditions), [v for _, vs in conditions for v in vs]
    if wanted.text:
        return _by_text(rows, dialect, key_names, wanted.text), rest
    few = wanted.status and not {"completed", *_OBSERVED} & set(wanted.status)
    if few:
        return _merged([_by_status(rows, status) for status in wanted.status]), rest
    if wanted.is_open or wanted.service or wanted.unchanged_since:
        return _open(rows), rest
    if wanted.error:
        return _where(rows, _WHY), rest
    if wanted.step:
        return _merged([_open(rows), _where(rows, _WHY)]), rest
    at_least, at_most = _bounds(rows, wanted)
    condition = "no >= ? AND no <= ?"
    values: list[object] = [at_least, at_most]
    if wanted.saga:
        condition, values = f"saga = ? AND {condition}", [wanted.saga, *values]
    return _where(rows, condition, *values), rest


def _conditions(dialect: Dialect, wanted: Criteria) -> Iterator[tuple[str, list[object]]]:
    like = dialect.like
    if wanted.status:
        plain = [one for one in wanted.status if one not in _OBSERVED]
        found = [f"status IN ({', '.join('?' * len(plain))})"] if plain else []
        if len(_OBSERVED & set(wanted.status)) == 2:
            found.append("status = 'observed'")
        elif ShownStatus.NOT_LOOKED_AT in wanted.status:
            found.append(_NOT_LOOKED_AT)
        elif ShownStatus.OBSERVED in wanted.status:
            found.append(f"(status = 'observed' AND NOT {_NOT_LOOKED_AT})")
        yield f"({' OR '.join(found)})", list(plain)
    if wanted.saga:
        yield "saga = ?", [wanted.saga]
    if wanted.version:
        yield "version = ?", [wanted.version]
    if wanted.step:
        path, text = wanted.step, _escaped(wanted.step)
        steps = dialect.elements.format("open_steps")
        is_open = f"EXISTS (SELECT 1 FROM {steps} WHERE value = ? OR value {like} ? ESCAPE '\\')"  # noqa: S608
        yield f"({is_open} OR last_error {like} ? ESCAPE '\\')", [path, f"{text}[%", f"{text}: %"]
    if wanted.service:
        names = dialect.elements.format("waiting_on")
        yield f"EXISTS (SELECT 1 FROM {names} WHERE value = ?)", [wanted.service]  # noqa: S608 - our own text
    if wanted.error:
        text = f"%{_escaped(wanted.error)}%"
        yield f"(last_error {like} ? ESCAPE '\\' OR reason {like} ? ESCAPE '\\')", [text, text]
    if wanted.started_after:
        yield "started_at >= ?", [wanted.started_after]
    if wanted.started_before:
        yield "started_at < ?", [wanted.started_before]
    if wanted.unchanged_since:
        yield "updated_at < ?", [wanted.unchanged_since]
    if wanted.is_open or wanted.unchanged_since:
        yield f"(status IN ({', '.join(repr(one) for one in OPEN)}) OR open_incidents > 0)", []


def _escaped(text: str) -> str:
    """With nothing in it that means something to LIKE."""
    return "".join(f"\\{char}" if char in "\\%_" else char for char in text)


# -- candidates


def _where(rows: Rows, condition: str, *values: object) -> _Candidates:
    query = f"SELECT no FROM transactions WHERE {condition} AND no < ? ORDER BY no DESC LIMIT ?"  # noqa: S608 - our own text
    return lambda before, limit: [int(no) for (no,) in rows(query, *values, before, limit)]


def _by_status(rows: Rows, status: str) -> _Candidates:
    return _where(rows, f"status = ? AND {FEW}", status)


def _open(rows: Rows) -> _Candidates:
    return _merged([*(_by_status(rows, status) for status in OPEN), _where(rows, "open_incidents > 0")])


def _merged(sources: Sequence[_Candidates]) -> _Candidates:
    """Each number once, of all sources."""

    def candidates(before: int, limit: int) -> list[int]:
        found = merge(*(source(before, limit) for source in sources), reverse=True)
        return list(islice((number for number, _ in groupby(found)), limit))

    return sources[0] if len(sources) == 1 else candidates


def _by_text(rows: Rows, dialect: Dialect, key_names: Callable[[], Sequence[str]], text: str) -> _Candidates:
    """As an id; else as a key's value, or ``key=value``; else as the beginning of an id."""
    whole = rows("SELECT no FROM transactions WHERE id = ?", text)
    if whole:
        return _listed([int(whole[0][0])])
    name, equals, value = text.partition("=")
    names = [name] if equals else key_names()
    query = "SELECT no FROM keys WHERE name = ? AND value = ? AND no < ? ORDER BY no DESC LIMIT ?"
    by_key = _merged([_by_key(rows, query, one, value if equals else text) for one in names] or [_listed([])])
    if equals or len(text) < SHORTEST_PREFIX or by_key(_END, 1):
        return by_key
    id_ = dialect.beginning
    begin = rows(
        f"SELECT no FROM transactions WHERE {id_} >= ? AND {id_} < ? ORDER BY {id_} LIMIT ?",  # noqa: S608 - our own text
        text,
        text + "\U0010ffff",
        _PREFIX_MATCHES,
    )
    return _listed(sorted((int(no) for (no,) in begin), reverse=True))


def _by_key(rows: Rows, query: str, name: str, value: str) -> _Candidates:
    return lambda before, limit: [int(no) for (no,) in rows(query, name, value, before, limit)]


def _listed(numbers: Sequence[int]) -> _Candidates:
    return lambda before, limit: [number for number in numbers if number < before][:limit]


def _bounds(rows: Rows, wanted: Criteria) -> tuple[int, int]:
    """Between which numbers the transactions of this time lie: they are in the order of first sight, nearly that of their
    starts."""
    # "+no": else SQLite walks the rows in their order until one is of this time.
    low, high = 0, _END
    if wanted.started_after:
        ((found,),) = rows("SELECT min(+no) FROM transactions WHERE started_at >= ?", wanted.started_after)
        low = _END if found is None else int(found)
    if wanted.started_before:
        ((found,),) = rows("SELECT max(+no) FROM transactions WHERE started_at < ?", wanted.started_before)
        high = -1 if found is None else int(found)
    return low, high


# -- page tokens

#: Above every number.
_END = 2**62


def _token(number: int, wanted: Criteria) -> str:
    """Opaque: where to go on, and of which search."""
    return base64.urlsafe_b64encode(f"{number}.{_mark(wanted)}".encode()).decode().rstrip("=")


def _number_in(token: str, wanted: Criteria) -> int:
    if not token:
        return _END
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, ValueError):
        text = ""
    number, _, mark = text.partition(".")
    if not number.isascii() or not number.isdecimal() or len(number) > 18 or mark != _mark(wanted):
        raise PageTokenError(
            "this page token is not from this search: begin without one, and change nothing between pages"
        )
    return int(number)


def _mark(wanted: Criteria) -> str:
    """Of the search. Whether it has times counts, not which: "for more than 15 minutes" is another one with each page."""
    timeless = replace(
        wanted,
        started_after=int(wanted.started_after > 0),
        started_before=int(wanted.started_before > 0),
        unchanged_since=int(wanted.unchanged_since > 0),
    )
    return f"{zlib.crc32(repr(timeless).encode()):08x}"
