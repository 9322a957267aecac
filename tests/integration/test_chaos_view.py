"""The view is killed again and again at random points, under load: nothing is missing, and nothing is there twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.evidence import entries, wrong_snapshots
from integration.platform_kit import Orders, Platform
from integration.program import Program
from integration.settling import settle
from kantor.errors import KantorError
from kantor_orchestrator.operations.acts import moves_of
from kantor_orchestrator.view.database import PARTS, for_reading
from kantor_orchestrator.view.facts import frames
from kantor_orchestrator.view.queries import View
from view_places import Postgres
from waiting import until

#: Orders a second, until the last kill; so there is always something in hand.
RATE, KILLS = 20, 6


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'killed.db'}"
    server: Postgres = request.getfixturevalue("postgresql")
    return server.empty("killed")


@pytest.fixture
def platform(kafka: str, tmp_path: Path) -> Iterator[Platform]:
    with Platform(kafka, tmp_path) as platform:
        platform.services()
        platform.role("intake").start().await_ready()
        yield platform


def projected(url: str) -> int:
    """Records up to where the view's positions are."""
    with suppress(KantorError), View(url) as view:
        return sum(view.positions().values())
    return 0


def shown(url: str, orders: Orders) -> dict[str, str]:
    """The orders' statuses."""
    with View(url) as view:
        return {one.transaction_id: one.status for one in view.summaries(list(orders))}


def moves_in(url: str) -> dict[str, list[tuple[int, bytes]]]:
    """By transaction, its transitions as they are stored."""
    db = for_reading(url)
    try:
        ids: dict[int, str] = dict(db.rows("SELECT no, id FROM transactions"))
        found: dict[str, list[tuple[int, bytes]]] = {id_: [] for id_ in ids.values()}
        for place, moves in db.rows("SELECT place, moves FROM timeline ORDER BY place"):
            found[ids[place // PARTS]] += frames(moves)
        assert len(found) == len(ids), "a transaction is there twice"
        return found
    finally:
        db.close()


def kill_in_the_middle(platform: Platform, views: list[Program], url: str, chance: random.Random) -> None:
    """kill -9 of all of them once the view has gone on by some number of records, batches in hand."""
    before, further = projected(url), chance.randrange(1, 300)
    until(
        lambda: projected(url) >= before + further,
        "the view goes on",
        platform.tails,
        pause=chance.random() / 50,
    )
    for view in views:
        view.kill()
    for view in views:
        view.start()


@pytest.mark.parametrize("seed", [1])
def test_kill_9_of_the_view_loses_and_doubles_nothing(platform: Platform, url: str, seed: int) -> None:
    """Compared with the history, the journal and the state topic, transaction by transaction. On PostgreSQL two replicas
    share the view, and one alone is killed every other time: the other takes over. The engine is killed once, too, so what
    it had sent is answered again."""
    chance = random.Random(seed)
    replicas = ["view", "view-2"] if url.startswith("postgres") else ["view"]
    engine = platform.role("engine").start().await_ready()
    views = [platform.role("view", name, KANTOR_VIEW_URL=url).start() for name in replicas]
    with platform.load(per_second=RATE) as orders:
        for turn in range(KILLS):
            kill_in_the_middle(platform, views[: 1 + turn % 2], url, chance)
            if turn == KILLS // 2:
                engine.kill()
                engine.start()
    settle(platform, orders)

    def expected() -> dict[str, str]:
        return {id_: str(status.value) for id_ in orders if (status := platform.follower.status(id_))}

    until(lambda: shown(url, orders) == expected(), "the view shows every order's end", platform.tails)
    until(lambda: placed(url, orders), "every message has its place", platform.tails)
    stored = moves_in(url)
    for id_ in orders:
        decisions = [platform.codec.decode(value) for _, value in stored[id_]]
        assert [move for d in decisions for move in moves_of(d)] == platform.follower.moves[id_], id_
        offsets = [offset for offset, _ in stored[id_]]
        assert offsets == sorted(set(offsets)), id_
    assert wrong_snapshots(platform, orders) == []
    journaled = Counter(id_ for id_, _ in entries(platform, orders))
    with View(url) as view:
        counts = view.counts()
        repeats = 0
        for id_ in orders:
            timeline = view.trace(id_).timeline
            said = [m for m in timeline if m.kind == "event"]
            assert sum(m.seen for m in said) == journaled[id_], id_
            told = [m.id for m in timeline if m.id and not m.is_repeat]
            assert len(set(told)) == len(told), id_
            # What an engine that takes a shard sends again is answered again: told as repeats, each with its own place.
            assert {m.id for m in timeline if m.is_repeat} <= set(told), id_
            places = [m.origin for m in timeline]
            assert len(set(places)) == len(places), id_
            repeats += sum(m.is_repeat for m in timeline)
            assert view.find(f"order_id={id_}") == [id_]
        assert repeats, "the killed engine's successor sent nothing again"
    of_the_platform = Counter(move[-1]["status"] for move in platform.follower.moves.values())
    for status, count in of_the_platform.items():
        assert sum(n for (_, found), n in counts.items() if found == status) >= count


def placed(url: str, orders: Orders) -> bool:
    with View(url) as view:
        return all(m.origin for id_ in orders for m in view.trace(id_).timeline)
