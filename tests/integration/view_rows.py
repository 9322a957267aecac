"""All that a view says, by transaction: two views that tell the same have the same rows, whatever the batches were."""

from __future__ import annotations

import json
from typing import Any

from kantor_orchestrator.view.columns import Beside, FoundBy
from kantor_orchestrator.view.database import PARTS, Location, for_reading
from kantor_orchestrator.view.facts import frames

_COLUMNS = ("id", *FoundBy._fields, *Beside._fields, "shard", "updated_at", "unread")


def rows_of(place: Location) -> dict[str, Any]:
    """Every table, but for positions and signs of life. What batches decide on is taken out: the transactions' numbers, how a
    timeline is cut into parts, and how messages of several topics are mixed in it."""
    db = for_reading(place)
    try:
        with db.snapshot():
            ids: dict[int, str] = dict(db.rows("SELECT no, id FROM transactions"))
            messages: dict[str, list[Any]] = {id_: [] for id_ in ids.values()}
            moves: dict[str, list[Any]] = {id_: [] for id_ in ids.values()}
            for part, told, moved in db.rows("SELECT place, messages, moves FROM timeline ORDER BY place"):
                id_ = ids[part // PARTS]
                messages[id_] += json.loads(told)
                moves[id_] += list(frames(moved))
            transactions = db.rows(f"SELECT {', '.join(_COLUMNS)} FROM transactions")
            return {
                "transactions": {row[0]: dict(zip(_COLUMNS, row, strict=True)) for row in transactions},
                "messages": {id_: sorted(map(json.dumps, told)) for id_, told in messages.items()},
                "moves": moves,
                "keys": sorted((n, v, ids[no]) for n, v, no in db.rows("SELECT name, value, no FROM keys")),
                "incidents": sorted(
                    (ids[row[0]], *row[1:])
                    for row in db.rows(
                        "SELECT no, position, kind, step, reason, opened_at, closed_at FROM incidents"
                    )
                ),
                "schemas": sorted(db.rows("SELECT id, schema FROM schemas")),
                "tallies": sorted(db.rows("SELECT saga, status, count FROM tallies WHERE count > 0")),
                "uncorrelated": sorted(
                    db.rows("SELECT topic, intake, count, reason, sample, at FROM uncorrelated")
                ),
                "refused": sorted(db.rows("SELECT topic, reason, at FROM refused")),
                "holds": sorted(db.rows("SELECT saga, shard, reason, at FROM holds")),
                "sagas": sorted(db.rows("SELECT saga, version, facts FROM sagas")),
            }
    finally:
        db.close()


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """What differs, a line each."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [f"{where}: {one} != {other}"]
    return [
        line
        for key in sorted(one.keys() | other.keys())
        for line in differences(one.get(key), other.get(key), f"{where} {key}")
    ]
