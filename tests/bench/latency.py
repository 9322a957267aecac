"""How long one order takes while the platform has little to do: orders at a fixed rate, an open loop.

From the moment an order was *scheduled* to be produced until a ``read_committed`` consumer sees its terminal record in
``sys.kantor.history``, and until one sees its end announced on ``evt.kantor.transaction.v1``, which is what other
programs wait for. A slow answer delays no later order, so nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.services import GOOD
from bench.stack import Platform
from bench.stats import percentile

RATE = 20.0


def measure(platform: Platform, seconds: float) -> dict[str, Any]:
    moments = platform.place(int(RATE * seconds), GOOD, RATE).values()
    return (
        _milliseconds("", [one.ended - one.placed for one in moments])
        | _milliseconds("announced_", [one.announced - one.placed for one in moments])
        | {"orders": len(moments)}
    )


def _milliseconds(prefix: str, found: Sequence[int]) -> dict[str, float]:
    return {
        f"{prefix}{name}_ms": round(value / 1e6, 2)
        for name, value in (
            ("p50", percentile(found, 0.5)),
            ("p99", percentile(found, 0.99)),
            ("max", max(found)),
        )
    }
