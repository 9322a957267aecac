"""The results: a table for people, a file for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Mark:
    """What shall be reached: the number at ``path`` in the results, at least (or at most) ``mark``."""

    what: str
    path: tuple[str, ...]
    mark: float
    unit: str = ""
    at_most: bool = False

    def reached(self, number: float) -> bool:
        return number <= self.mark if self.at_most else number >= self.mark


MARKS = (
    Mark("A: every step succeeds", ("A", "sagas_per_s"), 700, "sagas/s"),
    Mark("B: shipping fails, refund and release", ("B", "sagas_per_s"), 450, "sagas/s"),
    Mark("latency at 20/s, p50", ("latency_at_20_per_s", "p50_ms"), 15, "ms", at_most=True),
    Mark(
        "latency at 20/s to the announcement, p50",
        ("latency_at_20_per_s", "announced_p50_ms"),
        15,
        "ms",
        at_most=True,
    ),
    Mark("A / Restate's", ("peers", "ratio_A"), 3.0),
    Mark("B / Restate's", ("peers", "ratio_B"), 2.3),
    Mark("A: CPU / Restate's", ("peers", "ratio_cpu"), 0.45, at_most=True),
    Mark("latency at 20/s / Restate's, p50", ("peers", "ratio_p50"), 0.85, at_most=True),
    Mark("latency at 20/s / Restate's, p99", ("peers", "ratio_p99"), 1.2, at_most=True),
    Mark("engine / bare loop", ("engine_loop_ratio",), 0.3),
    Mark("an engine with a million waiting", ("dormant_1m_rss_mb",), 300, "MB", at_most=True),
    Mark("taking a million from Kafka alone", ("restore_1m_s",), 60, "s", at_most=True),
    Mark("cost with a million open / with 1,000", ("open_1m_cost_ratio",), 1.3, at_most=True),
    Mark("written while nothing happens", ("idle_mb_per_h",), 1, "MB/h", at_most=True),
    Mark("view of a million, search by id or key, p99", ("view_1m", "search_p99_ms"), 50, "ms", at_most=True),
    Mark("view of a million, lists, p99", ("view_1m", "list_p99_ms"), 200, "ms", at_most=True),
    Mark("view of a million, one page, p99", ("view_1m", "page_p99_ms"), 150, "ms", at_most=True),
)
#: Shown without a mark.
FACTS = (
    ("A: CPU for 1,000 sagas", ("A", "cpu_s_per_1000"), "s"),
    ("B: CPU for 1,000 sagas", ("B", "cpu_s_per_1000"), "s"),
    ("latency at 20/s, p99", ("latency_at_20_per_s", "p99_ms"), "ms"),
    ("latency at 20/s to the announcement, p99", ("latency_at_20_per_s", "announced_p99_ms"), "ms"),
    ("Restate: A", ("peers", "restate", "A", "sagas_per_s"), "sagas/s"),
    ("Restate: B", ("peers", "restate", "B", "sagas_per_s"), "sagas/s"),
    ("Restate: latency at 20/s, p50", ("peers", "restate", "latency_at_20_per_s", "p50_ms"), "ms"),
    ("an engine with a million waiting: CPU", ("dormant_1m", "cpu_share"), "cores"),
    ("A: the view is behind by at most", ("view_max_lag_s",), "s"),
)


def look_up(results: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    """The number at ``path``; None if it was not measured."""
    found: Any = results
    for name in path:
        if name not in found:
            return None
        found = found[name]
    return float(found)


def merge(path: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``results`` into the file; what others (or earlier runs) have put under other keys stays."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    conditions = before.get("conditions", {}) | results.get("conditions", {})
    merged: dict[str, Any] = before | dict(results) | {"conditions": conditions}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    return merged


def show(results: Mapping[str, Any], console: Console) -> None:
    table = Table("", "measured", "mark", "", title="Kantor, everything that runs counted")
    for column in table.columns[1:3]:
        column.justify = "right"
    for mark in MARKS:
        number = look_up(results, mark.path)
        if number is not None:
            verdict = "[green]reached[/]" if mark.reached(number) else "[red]missed[/]"
            sign = "≤" if mark.at_most else "≥"
            table.add_row(mark.what, f"{number:g} {mark.unit}", f"{sign} {mark.mark:g}", verdict)
    for what, path, unit in FACTS:
        number = look_up(results, path)
        if number is not None:
            table.add_row(what, f"{number:g} {unit}", "", "")
    console.print(table)
    cases = [name for name in ("A", "B") if name in results]
    if cases:
        console.print(_by_process({name: results[name]["cpu_by_process"] for name in cases}))


def _by_process(cases: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("CPU s per 1,000 sagas", *cases)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in next(iter(cases.values())):
        table.add_row(name, *(f"{case.get(name, 0.0):.3f}" for case in cases.values()))
    return table
