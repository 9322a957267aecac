"""What CEL's functions do with times and durations. They raise ``CelError``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kantor_orchestrator.definitions.metering import Meter
from kantor_orchestrator.definitions.operations import CelError, kind, told


def duration(value: Any, meter: Meter) -> timedelta:
    """As Go writes it: ``1h30m``, ``1.5s``."""
    if kind(value) == "duration":
        return value  # type: ignore[no-any-return]
    if kind(value) != "string":
        raise CelError(f"there is no duration({kind(value)})")
    meter.read(value)
    if _DURATION.fullmatch(value) is None or len(value) > 64:
        raise CelError(f"the {told(value)} is not a duration, such as 1h30m")
    sign = -1 if value.startswith("-") else 1
    micros = sum(Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    try:
        return sign * timedelta(microseconds=int(micros))
    except OverflowError as error:
        raise CelError(str(error)) from error


_DURATION = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?(?:h|ms|m|s|us|µs|ns))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|m|s|us|µs|ns)")
#: In microseconds.
_UNITS: Mapping[str, int | Decimal] = {
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1000,
    "us": 1,
    "µs": 1,
    "ns": Decimal("0.001"),
}


def timestamp(value: Any, _meter: Meter) -> datetime:
    if kind(value) == "timestamp":
        return value  # type: ignore[no-any-return]
    if kind(value) != "string":
        raise CelError(f"there is no timestamp({kind(value)})")
    try:
        found = datetime.fromisoformat(value[:64])
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or len(value) > 64:
        raise CelError(f"the {told(value)} is not an RFC 3339 time, such as 2026-01-31T12:00:00Z")
    return found.astimezone(UTC)


def part_of_time(name: str, value: Any) -> int:
    """``getFullYear`` and its like, in UTC."""
    if kind(value) == "duration" and name in _OF_DURATIONS:
        micros = value // timedelta(microseconds=1)
        quotient: int = abs(micros) // _OF_DURATIONS[name]
        return -quotient if micros < 0 else quotient
    if kind(value) != "timestamp":
        raise CelError(f"there is no {kind(value)}.{name}()")
    return PARTS[name](value.astimezone(UTC))


PARTS: Mapping[str, Callable[[datetime], int]] = {
    "getFullYear": lambda at: at.year,
    "getMonth": lambda at: at.month - 1,
    "getDate": lambda at: at.day,
    "getDayOfMonth": lambda at: at.day - 1,
    "getDayOfWeek": lambda at: at.isoweekday() % 7,
    "getDayOfYear": lambda at: at.timetuple().tm_yday - 1,
    "getHours": lambda at: at.hour,
    "getMinutes": lambda at: at.minute,
    "getSeconds": lambda at: at.second,
    "getMilliseconds": lambda at: at.microsecond // 1000,
}
_OF_DURATIONS = {
    "getHours": 3_600_000_000,
    "getMinutes": 60_000_000,
    "getSeconds": 1_000_000,
    "getMilliseconds": 1_000,
}
