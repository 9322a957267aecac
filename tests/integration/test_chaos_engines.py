"""Two engines share the shards and take them from each other, in good order and otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from integration.evidence import broken_promises, completed, repeated_moves, wrong_snapshots
from integration.platform_kit import SHARDS, Platform
from integration.settling import settle
from kantor_orchestrator.store import StoreLostError
from kantor_orchestrator.store.sqlite import SqliteStore


@pytest.fixture
def platform(kafka: str, tmp_path: Path) -> Iterator[Platform]:
    with Platform(kafka, tmp_path) as platform:
        platform.services()
        yield platform


def test_a_store_belongs_to_whom_opened_it_last(tmp_path: Path) -> None:
    """An engine that was frozen, and lost its shard to another one on this machine, changes nothing in the store."""
    with closing(SqliteStore(tmp_path / "shard", "changelog", 3600)) as lost:
        lost.flush({"t": (b"first", None, None)}, 1, 0)
        with closing(SqliteStore(tmp_path / "shard", "changelog", 3600)) as taken:
            taken.flush({"t": (b"second", None, None)}, 2, 0)
            with pytest.raises(StoreLostError):
                lost.flush({"t": (b"late", None, None)}, 1, 0)
            assert (taken.load("t"), taken.position) == (b"second", 2)


def test_a_store_that_a_frozen_engine_has_locked_is_made_anew(tmp_path: Path) -> None:
    """An engine that was frozen in the middle of writing keeps nobody from taking its shard."""
    with closing(SqliteStore(tmp_path / "shard", "changelog", 3600)) as lost:
        lost.flush({"t": (b"first", None, None)}, 1, 0)
        with closing(sqlite3.connect(tmp_path / "shard", isolation_level=None)) as frozen:
            frozen.execute("BEGIN IMMEDIATE")
            with closing(SqliteStore(tmp_path / "shard", "changelog", 3600)) as taken:
                taken.flush({"t": (b"second", None, None)}, 2, 0)
                assert (taken.load("t"), taken.position) == (b"second", 2)


def test_shards_that_change_hands_lose_and_double_nothing(platform: Platform) -> None:
    """Shards that go between two engines by joining, kill -9, freezing and leaving lose nothing and apply nothing twice."""
    platform.role("intake").start().await_ready()
    first, second = platform.role("engine", "engine-1"), platform.role("engine", "engine-2")
    first.start().await_ready()
    with platform.load(per_second=40) as orders:
        platform.await_more(orders)
        second.start().await_ready()
        platform.await_shards({first: SHARDS // 2, second: SHARDS // 2})
        platform.await_more(orders, 20)
        first.kill()
        platform.await_shards({second: SHARDS})
        platform.await_more(orders, 20)
        first.start().await_ready()
        platform.await_shards({first: SHARDS // 2, second: SHARDS // 2})
        second.freeze()
        platform.await_shards({first: SHARDS})
        platform.await_more(orders, 20)
        second.thaw()
        platform.await_shards({first: SHARDS // 2, second: SHARDS // 2})
        platform.await_more(orders, 20)
        second.stop()
        platform.await_shards({first: SHARDS})
        platform.await_more(orders, 20)
    settle(platform, orders)
    assert broken_promises(platform, orders) == []
    assert repeated_moves(platform, orders) == []
    assert wrong_snapshots(platform, orders) == []
    assert completed(platform, orders) > 100
