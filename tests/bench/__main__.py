"""Runs the benchmarks, shows a table, writes ``.bench/latest.json``. Stops everything that it started, also on Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import platform as python
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import idle, latency, ratio, report, throughput, view_search, waiting
from bench.ends import BenchError
from bench.peers import comparison
from bench.services import GOOD, UNSHIPPABLE
from bench.stack import ground, platform

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".bench" / "latest.json"
NAMES = ("A", "B", "latency", "ratio", "peers", "waiting", "idle", "view")
#: What a comparison compares is measured in the same run.
_COMPARED = {"A", "B", "latency"}

Say = Callable[[str], None]


class Size:
    """How much is measured. ``quick`` is for trying whether everything works: its numbers mean little.

    ``KANTOR_BENCH_WAITING``, ``..._PARTITIONS``, ``..._SHARDS`` and ``..._IDLE_S`` set these sizes for a trial.
    """

    def __init__(self, *, quick: bool) -> None:
        self.warm_up = 100 if quick else 2_000
        self.orders = 200 if quick else 5_000
        self.repeat = 1 if quick else 3
        self.latency_seconds = 3.0 if quick else 30.0
        self.ratio_sagas = 4_000 if quick else 20_000
        self.viewed = 20_000 if quick else 1_000_000
        self.waiting = _from_environment("WAITING", 5_000 if quick else 1_000_000)
        self.partitions = _from_environment("PARTITIONS", 50 if quick else 2_000)
        self.shards = _from_environment("SHARDS", 4 if quick else 24)
        self.idle_seconds = float(_from_environment("IDLE_S", 5 if quick else 60))
        self.peers = {
            "seconds": 3.0 if quick else 25.0,
            "repeat": self.repeat,
            "sweep": [128] if quick else [128, 256, 512],
            "latency_seconds": self.latency_seconds,
        }


def _from_environment(name: str, default: int) -> int:
    return int(os.environ.get(f"KANTOR_BENCH_{name}") or default)


def measure(names: Collection[str], size: Size, say: Say) -> dict[str, Any]:
    """Keys of the results by what was asked for. Raises ``BenchError`` if something measured does not count."""
    results: dict[str, Any] = {}
    if "peers" in names:
        names = set(names) | _COMPARED
    if _COMPARED & set(names):
        with ground(say) as found, platform(found, size.warm_up) as running:
            if "latency" in names:
                say("latency")
                results["latency_at_20_per_s"] = latency.measure(running, size.latency_seconds)
            for name, sku in (("A", GOOD), ("B", UNSHIPPABLE)):
                if name in names:
                    say(f"case {name}: {size.repeat} times {size.orders} orders")
                    results[name] = throughput.measure(running, sku, size.orders, size.repeat)
            if "A" in results:
                results["view_max_lag_s"] = results["A"]["view_max_lag_s"]
    if "peers" in names:
        results["peers"] = comparison.measure(results, size.peers, say)
    if "ratio" in names:
        with ground(say) as found:
            results |= ratio.measure(found, size.ratio_sagas)
    if "waiting" in names:
        with ground(say, shards=size.shards, saga=waiting.SAGA) as found:
            results |= waiting.measure(found, size.waiting)
    if "idle" in names:
        with ground(say, shards=size.shards) as found:
            results |= idle.measure(found, size.partitions, size.idle_seconds)
    if "view" in names:
        say(f"a view of {size.viewed:,} finished transactions")
        results["view_1m"] = view_search.run(size.viewed)
    conditions = _conditions()
    return results | {"conditions": dict.fromkeys(results, conditions)}


def _conditions() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "python": python.python_version(),
        "cores": os.cpu_count(),
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers of everything: does it work?")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="the results as JSON on stdout, no table")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: through every finally
    console, messages = Console(), Console(stderr=True)
    try:
        results = measure(
            options.only or NAMES, Size(quick=options.quick), lambda text: messages.print(text, style="dim")
        )
    except BenchError as error:
        messages.print(f"not measured: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        messages.print("stopped")
        return 130
    merged = report.merge(options.out, results)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        report.show(merged if not options.only else results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
