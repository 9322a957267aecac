"""What really happened: effects from the services' databases, transitions from the history, snapshots from the state topic, and
whether they agree."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing

from integration.chaos_services import SERVICES, database
from integration.platform_kit import Orders, Platform
from kantor.clients import Record
from kantor.envelope import shard_of
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Stub, decided_from, state_from
from waiting import until


def effects(platform: Platform) -> dict[str, dict[str, list[int]]]:
    """By order and service, the changes that the services have made."""
    found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for name in SERVICES:
        path = database(platform.folder, name)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            for order, change in db.execute('SELECT "order", change FROM effects ORDER BY rowid'):
                found[order].setdefault(name, []).append(change)
    return dict(found)


def broken_promises(platform: Platform, orders: Orders, *, tolerate_incidents: bool = False) -> list[str]:
    """Orders that are half-done, or have an effect twice, or did not end as they had to. Those that wait for a person
    are among them, unless that is to be tolerated."""
    found, changed = [], effects(platform)
    for id_, plan in orders.items():
        status = platform.follower.status(id_)
        changes = {name: changed.get(id_, {}).get(name, []) for name in SERVICES}
        if status is Status.COMPLETED:
            kept = plan == "good" and all(change == [1] for change in changes.values())
        else:
            kept = status is Status.COMPENSATED and all(
                change in ([], [1, -1]) for change in changes.values()
            )
        if not kept and not (tolerate_incidents and platform.follower.waits_for_a_person(id_)):
            found.append(f"{id_} ({plan}) is {status}: {changes}")
    return found + [f"nobody placed {id_}" for id_ in changed.keys() - orders.keys()]


def completed(platform: Platform, orders: Orders) -> int:
    return sum(platform.follower.status(id_) is Status.COMPLETED for id_ in orders)


def repeated_moves(platform: Platform, orders: Orders) -> list[str]:
    """Transactions whose history has a transition twice, or transitions out of the journal's order."""
    found = []
    for id_ in orders:
        moves = [(m["journal_offset"], m["kind"], m["step"]) for m in platform.follower.moves[id_]]
        offsets = [offset for offset, _, _ in moves]
        if len(set(moves)) < len(moves) or offsets != sorted(offsets):
            found.append(f"{id_}: {moves}")
    return found


def wrong_snapshots(platform: Platform, orders: Orders) -> list[str]:
    """Transactions whose history, folded, is not what the state topic says."""
    state = {}
    for record in platform.read(topics.STATE):
        key = (record.key() or b"").decode()
        if key in orders:
            state[key] = record.value()
    found = []
    for id_ in orders:
        folded = platform.follower.folded(id_)
        value = state.get(id_)
        stored = state_from(id_, platform.codec.decode(value)) if value else None
        if isinstance(stored, Stub):
            stored = pointed_to(platform, stored)
        if stored != folded:
            found.append(f"{id_}: history says {folded}, state says {stored}")
    return found


def pointed_to(platform: Platform, stub: Stub) -> Transaction:
    """What a retained record is of: read from the log."""
    place = (topics.HISTORY, shard_of(stub.id, platform.admin.topics()[topics.HISTORY]))
    consumer, found = platform.settings.consumer("chaos-stubs"), list[Record]()

    def there() -> bool:
        found.extend(consumer.poll(0.1, 1).records)
        return bool(found)

    try:
        consumer.assign({place: stub.history})
        until(there, f"{place} has {stub.history}")
    finally:
        consumer.close()
    decision = decided_from(platform.codec.decode(found[0].value()))
    assert (found[0].offset(), decision.transaction_id) == (stub.history, stub.id)
    return decision.transaction()


def entries(platform: Platform, transactions: Iterable[str]) -> list[tuple[str, dict[str, bytes]]]:
    """The journal's messages (not timers) of these transactions, with their headers."""
    wanted = set(transactions)
    found = []
    for record in platform.read(topics.JOURNAL, platform.began):
        id_ = (record.key() or b"").decode()
        headers = {name: value for name, value in record.headers() or () if value is not None}
        if id_ in wanted and journal.ORIGIN in headers:
            found.append((id_, headers))
    return found


def replays(platform: Platform, transactions: Iterable[str]) -> int:
    """How many messages intake has copied into the journal more often than once."""
    found = entries(platform, transactions)
    return len(found) - len({(headers[journal.TOPIC_ID], headers[journal.ORIGIN]) for _, headers in found})
