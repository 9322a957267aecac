"""Searching a view of a million finished transactions: how long people wait.

    python tests/bench/view_search.py [transactions]

The transactions are those that the real projector makes of the checkout example (19 of 20 complete, the others
compensate, a thousand are open), copied inside the database under other ids and keys: what is measured is reading.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # view_traffic is there

import random
import tempfile
import time
from collections.abc import Callable

import apsw

from kantor_orchestrator.view import as_json
from kantor_orchestrator.view.database import PARTS
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.search import Criteria
from view_traffic import Traffic, project

OPEN = 1_000
_COLUMNS = "shard, saga, version, status, started_at, updated_at, ended_at, reason, last_error, waiting_on, open_steps, due, open_incidents, parts, held"


def build(path: Path, count: int) -> None:
    """A view of ``count`` finished transactions and ``OPEN`` open ones, a new one every 5 ms."""
    traffic = Traffic()
    traffic.completed("template-1", 1)
    traffic.compensated("template-2", 2)
    traffic.order("template-3", 3)
    project(traffic, path)
    db = apsw.Connection(str(path))
    for pragma, value in {"synchronous": "OFF", "cache_size": -500_000}.items():
        db.pragma(pragma, value)
    with db:
        db.execute("CREATE TEMP TABLE copies (no INTEGER PRIMARY KEY, id TEXT, template INTEGER)")
        numbers = random.Random(5)
        db.executemany(
            "INSERT INTO copies VALUES (?, ?, ?)",
            (
                (no, f"{numbers.getrandbits(128):032x}", 3 if no > count else 1 if no % 20 else 2)
                for no in range(4, count + OPEN + 1)
            ),
        )
        moved = _COLUMNS.replace("started_at", "started_at + copies.no * 5").replace(
            "updated_at", "updated_at + copies.no * 5"
        )
        db.execute(
            f"INSERT INTO transactions (no, id, {_COLUMNS}) SELECT copies.no, copies.id, {moved}"
            " FROM copies JOIN transactions t ON t.no = copies.template ORDER BY copies.no"
        )
        db.execute(
            f"INSERT INTO timeline SELECT copies.no * {PARTS} + place % {PARTS}, messages, moves"
            f" FROM copies JOIN timeline ON place >= template * {PARTS} AND place < (template + 1) * {PARTS}"
        )
        db.execute("INSERT INTO keys SELECT 'order_id', 'o-' || no, no FROM copies")
        db.execute("INSERT INTO keys SELECT 'customer_id', 'c-' || (no % 9973), no FROM copies")
        db.execute("DELETE FROM tallies")
        db.execute("INSERT INTO tallies SELECT saga, status, count(*) FROM transactions GROUP BY 1, 2")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def p99_ms(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))] * 1000


def timed(ask: Callable[[], object]) -> float:
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


def measure(path: Path, count: int, rounds: int = 500) -> dict[str, float]:
    """p99 in milliseconds over ``rounds`` questions of each kind, with what the API makes of the answers."""
    numbers = random.Random(7)
    db = apsw.Connection(str(path))
    ids = [
        str(
            db.execute("SELECT id FROM transactions WHERE no = ?", (numbers.randrange(4, count),)).fetchall()[
                0
            ][0]
        )
        for _ in range(rounds)
    ]
    start = int(str(db.execute("SELECT min(started_at) FROM transactions").fetchall()[0][0]))
    with View(path) as view:

        def page(wanted: Criteria, token: str = "") -> object:
            return as_json.page(view.search(wanted, page=token), view.complete_from())

        def instant() -> int:
            return start + numbers.randrange(count) * 5

        deep = view.search(Criteria(started_before=start + count)).next_page
        lists: list[Callable[[], object]] = [
            lambda: page(Criteria()),
            lambda: page(Criteria(saga="checkout")),
            lambda: page(Criteria(status=("compensated",))),
            lambda: page(Criteria(status=("completed",), saga="checkout")),
            lambda: page(Criteria(is_open=True)),
            lambda: page(Criteria(service="inventory")),
            lambda: page(Criteria(step="shipping")),
            lambda: page(Criteria(error="no truck")),
            lambda: page(Criteria(error="nobody ever wrote this")),
            lambda: page(Criteria(unchanged_since=start)),
            lambda: page(Criteria(saga="nothing of it")),
            lambda: page(Criteria(version=7)),
            lambda: page(Criteria(started_after=(at := instant()), started_before=at + 60_000)),
            lambda: page(Criteria(started_before=start + count), deep),
        ]
        by_kind = [[timed(ask) for _ in range(max(20, rounds // len(lists)))] for ask in lists]
        return {
            "search_p99_ms": p99_ms(
                [timed(lambda id_=id_: page(Criteria(text=id_))) for id_ in ids]  # type: ignore[misc]
                + [
                    timed(lambda: page(Criteria(text=f"order_id=o-{numbers.randrange(4, count)}")))
                    for _ in ids
                ]
                + [timed(lambda: page(Criteria(text=f"c-{numbers.randrange(9973)}"))) for _ in ids]
                + [timed(lambda id_=id_: page(Criteria(text=id_[:8]))) for id_ in ids]  # type: ignore[misc]
            ),
            "list_p99_ms": max(p99_ms(times) for times in by_kind),
            "page_p99_ms": p99_ms([timed(lambda id_=id_: as_json.trace(view.trace(id_), 0)) for id_ in ids]),  # type: ignore[misc]
        }


def run(count: int) -> dict[str, float]:
    """Build a view of ``count`` finished transactions, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "view.db"
        build(path, count)
        return {name: round(value, 1) for name, value in measure(path, count).items()}


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    for name, value in run(numbers[0] if numbers else 1_000_000).items():
        print(f"{name:16} {value:8.1f}")


if __name__ == "__main__":
    main()
