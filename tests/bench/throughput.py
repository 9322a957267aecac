"""Cases A (every step succeeds) and B (shipping fails, refund and release follow): sagas per second, and what they cost.

The shop places all orders at full speed. The clock runs from the first order's produce until the last terminal record
is seen; the CPU time until everybody has come to rest, so that work which is deferred (the view's) counts, too.
"""

from __future__ import annotations

from typing import Any

from bench.ends import BenchError
from bench.services import GOOD
from bench.stack import Platform
from bench.stats import median, middle_rate, spent
from bench.view_lag import looking, worst_lag


def measure(platform: Platform, sku: str, count: int, repeat: int) -> dict[str, Any]:
    """The medians of ``repeat`` runs with ``count`` orders each."""
    runs = [_run(platform, sku, count) for _ in range(repeat)]
    names = sorted(runs[0]["cpu_by_process"], key=lambda name: -float(runs[0]["cpu_by_process"][name]))
    return {
        "sagas_per_s": round(median([run["sagas_per_s"] for run in runs]), 1),
        "cpu_s_per_1000": round(median([run["cpu_s_per_1000"] for run in runs]), 3),
        #: CPU seconds per 1,000 sagas.
        "cpu_by_process": {
            name: round(median([run["cpu_by_process"][name] for run in runs]), 3) for name in names
        },
        "orders": count,
        "runs_per_s": [round(run["sagas_per_s"], 1) for run in runs],
        #: Rate of the ends between the first and the last tenth; a burst's ends crowd together.
        "middle_per_s": round(median([run["middle_per_s"] for run in runs]), 1),
        #: Seconds from the last terminal record until nobody had work left.
        "settled_s": round(median([run["settled_s"] for run in runs]), 1),
        #: How long the view did not show an end, at worst, in any run.
        "view_max_lag_s": round(max(run["view_lag_s"] for run in runs), 2),
    }


def _run(platform: Platform, sku: str, count: int) -> dict[str, Any]:
    before = platform.cpu()
    with looking(platform.view, "completed" if sku == GOOD else "compensated") as looks:
        moments = platform.place(count, sku).values()
        settled = platform.settle()
    try:
        used = spent(before, platform.cpu())
    except ValueError as error:
        raise BenchError(str(error)) from error
    first, last = min(one.placed for one in moments), max(one.ended for one in moments)
    return {
        "sagas_per_s": count / ((last - first) / 1e9),
        "cpu_s_per_1000": sum(used.values()) / count * 1000,
        "cpu_by_process": {name: seconds / count * 1000 for name, seconds in used.items()},
        "middle_per_s": middle_rate([one.ended / 1e9 for one in moments]),
        "settled_s": settled,
        "view_lag_s": worst_lag(looks, [one.ended for one in moments]),
    }
