"""Arithmetic of the benchmarks: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of all values do not exceed (nearest rank, no
    interpolation: an answer that was really measured). Raises ``ValueError`` for no values."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value; of an even number the mean of the middle two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def middle_rate(moments: Sequence[float]) -> float:
    """Events per second between the tenth and the ninetieth percentile of their moments (s): without the ramps."""
    ordered = sorted(moments)
    first, last = len(ordered) // 10, len(ordered) - 1 - len(ordered) // 10
    seconds = ordered[last] - ordered[first]
    return (last - first) / seconds if seconds > 0 else 0.0


def slope(samples: Sequence[tuple[float, float]], skip: float = 0.1) -> float:
    """The rate (per s) at which a growing count rose, from samples (moment in s, count), without the first and the
    last ``skip`` of its way: starting and ending are not part of it."""
    first, last = samples[0][1], samples[-1][1]
    low, high = first + (last - first) * skip, last - (last - first) * skip
    inner = [(at, count) for at, count in samples if low <= count <= high]
    if len(inner) < 2 or inner[-1][0] <= inner[0][0]:
        raise ValueError("too few samples: measure for longer")
    return (inner[-1][1] - inner[0][1]) / (inner[-1][0] - inner[0][0])


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds by process between two samples. Raises ``ValueError`` if a process came or went: what it used is
    then unknown, and the run does not count."""
    if before.keys() != after.keys():
        changed = sorted(before.keys() ^ after.keys())
        raise ValueError(f"processes came or went while it was measured: {', '.join(changed)}")
    return {name: after[name] - before[name] for name in before}
