"""How people are told times, durations and counts, in the terminal and on the pages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from kantor.envelope import rfc3339


def now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


#: Between these (ms) a time has a place in every zone's calendar; what a wrong unit makes of one has not.
_EARLIEST, _LATEST = -62_135_500_000_000, 253_402_200_000_000


def moment(milliseconds: int) -> datetime:
    """In the reader's own time zone; of a time outside of the calendar, the nearest that is in it."""
    return datetime.fromtimestamp(min(max(milliseconds, _EARLIEST), _LATEST) / 1000).astimezone()


def clock(milliseconds: int) -> str:
    return f"{moment(milliseconds):%H:%M:%S}.{milliseconds % 1000:03d}"


def date_and_clock(milliseconds: int) -> str:
    """With the zone: ``2026-01-31 12:00:00.000 CET``; of a time outside of the calendar, as ISO 8601 has it."""
    if not _EARLIEST <= milliseconds <= _LATEST:
        return rfc3339(milliseconds)
    found = moment(milliseconds)
    return f"{found:%Y-%m-%d} {clock(milliseconds)} {found:%Z}"


def duration(milliseconds: float) -> str:
    """Two significant parts at most: ``7 ms``, ``1.25 s``, ``3 min 20 s``, ``2 d 4 h``."""
    ms = round(milliseconds)
    if ms < 0:
        return f"-{duration(-ms)}"
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f}".rstrip("0").rstrip(".") + " s"
    seconds = round(ms / 1000)
    for size, unit, smaller, smaller_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{seconds} s"


def keys_line(keys: Iterable[tuple[str, str]]) -> str:
    """As ``kantor trace`` and ``kantor list`` take them: ``order_id=1042``."""
    return "  ".join(f"{name}={value}" for name, value in keys)


def count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def incomplete(complete_from: str) -> str:
    """Why something may not be there; the time as its reader wants it."""
    return (
        f"Transactions that began before {complete_from} may be missing or incomplete: Kafka no longer held their"
        " records when the view was built."
    )
