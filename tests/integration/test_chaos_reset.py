"""One engine's connections are reset, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.evidence import completed
from integration.platform_kit import SHARDS, Orders
from integration.settling import settle
from integration.storm import ENGINES, Storm
from kantor.envelope import shard_of


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    with Storm(tmp_path) as storm:
        yield storm


def in_every_shard(storm: Storm, count: int) -> Orders:
    """At least ``count`` orders, some in each shard."""
    orders = storm.platform.place(count, "good")
    while len({shard_of(id_, SHARDS) for id_ in orders}) < SHARDS:
        storm.platform.place(1, "good", orders)
    return orders


def test_a_reset_of_an_engines_connections_freezes_no_shard(storm: Storm) -> None:
    """Twenty orders placed before, and twenty after it, complete; in the shards of both engines."""
    platform = storm.platform
    platform.await_shards({storm.engine(name): SHARDS // 2 for name in ENGINES})
    before = in_every_shard(storm, 20)
    assert storm.reset(ENGINES[0]) > 0
    after = in_every_shard(storm, 20)
    orders = Orders(before | after)
    settle(platform, orders)
    assert completed(platform, orders) == len(orders)
    assert storm.wrongs(orders) == []
