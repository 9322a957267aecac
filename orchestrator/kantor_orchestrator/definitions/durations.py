"""Durations as people write them, in milliseconds as the engine counts them."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
#: Ten years: beyond it is a typing error, and times stay far from the limits of a long.
LONGEST = 3650 * _UNITS["d"]


def parse(written: object, *, shortest: int = 1) -> int:
    """Milliseconds. Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise ValueError(
            f"{written} has no unit; write {written}ms, {written}s, {written}m, {written}h or {written}d"
        )
    found = _DURATION.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        raise ValueError(
            f"{written!r} is not a duration; write a whole number and a unit: 200ms, 30s, 15m, 2h or 21d"
        )
    milliseconds = int(found[1]) * _UNITS[found[2]]
    if not shortest <= milliseconds <= LONGEST:
        raise ValueError(f"{written!r} is out of range; write a duration from {shortest}ms to 3650d")
    return milliseconds


def is_written(text: str) -> bool:
    """Whether a text is meant as a duration."""
    return _DURATION.fullmatch(text) is not None


def text(milliseconds: int) -> str:
    """The shortest way to write it: 90000 is ``90s``, 120000 is ``2m``."""
    unit = next(name for name in reversed(_UNITS) if milliseconds % _UNITS[name] == 0)
    return f"{milliseconds // _UNITS[unit]}{unit}"
