"""How long one order takes while the platform has little to do: orders at a fixed rate, an open loop.

From the moment an order was *scheduled* to be produced until its terminal record is seen by a ``read_committed``
consumer of ``sys.kantor.history``. A slow answer delays no later order, so nothing is left out.
"""

from __future__ import annotations

from typing import Any

from bench.services import GOOD
from bench.stack import Platform
from bench.stats import percentile

RATE = 20.0


def measure(platform: Platform, seconds: float) -> dict[str, Any]:
    moments = platform.place(int(RATE * seconds), GOOD, RATE)
    found = [(end - start) / 1e6 for start, end in moments.values()]
    return {
        "p50_ms": round(percentile(found, 0.5), 2),
        "p99_ms": round(percentile(found, 0.99), 2),
        "max_ms": round(max(found), 2),
        "orders": len(found),
    }
