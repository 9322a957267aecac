"""The engine dies, again and again: every order ends with all of its effects or with none, each effect happens once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.evidence import broken_promises, completed, repeated_moves, wrong_snapshots
from integration.platform_kit import FLOOD, SHARDS, Platform
from integration.settling import settle
from kantor.envelope import shard_of


@pytest.fixture
def platform(kafka: str, tmp_path: Path) -> Iterator[Platform]:
    with Platform(kafka, tmp_path) as platform:
        platform.services()
        yield platform


def test_an_engine_that_is_fenced_in_a_backlog_goes_on(platform: Platform) -> None:
    """An engine that loses a producer while it holds a backlog back retakes the shard and finishes the backlog."""
    platform.flood(12_000)
    platform.role("intake").start()
    platform.await_journaled(FLOOD)
    engine = platform.role("engine").start().await_ready()
    for _ in range(5):
        platform.fence()
    orders = platform.place(12, "good")
    while not any(shard_of(id_, SHARDS) == 0 for id_ in orders):
        platform.place(1, "good", orders)
    platform.await_completed(orders)
    assert engine.metric("kantor_shards_retaken_total") > 0


def test_an_engine_killed_in_the_middle_leaves_nothing_half_done(platform: Platform) -> None:
    """After four kill -9 of the engine among 500 orders, each order has all of its effects or none, and none twice."""
    platform.role("intake").start().await_ready()
    engine = platform.role("engine").start().await_ready()
    with platform.load(per_second=40, count=500) as orders:
        for _ in range(4):
            platform.await_more(orders, 10)
            engine.kill()
            engine.start()
    settle(platform, orders)
    assert broken_promises(platform, orders) == []
    assert repeated_moves(platform, orders) == []
    assert wrong_snapshots(platform, orders) == []
    assert completed(platform, orders) > 100
