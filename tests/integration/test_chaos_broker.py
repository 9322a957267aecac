"""The broker dies, or is restarted: whoever uses it waits, and goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.evidence import broken_promises, completed, repeated_moves, wrong_snapshots
from integration.platform_kit import Platform
from integration.settling import settle
from kantor_orchestrator.dev.broker import DevBroker


@pytest.fixture
def platform(own_kafka: DevBroker, tmp_path: Path) -> Iterator[Platform]:
    with Platform(own_kafka.start(), tmp_path) as platform:
        platform.services()
        yield platform


def test_a_broker_killed_and_restarted_loses_and_doubles_nothing(
    platform: Platform, own_kafka: DevBroker
) -> None:
    """A kill -9 of the broker under load, and later a clean restart, leave every order whole or compensated, once."""
    platform.role("intake").start().await_ready()
    platform.role("engine").start().await_ready()
    with platform.load(per_second=40) as orders:
        platform.await_more(orders, 20)
        own_kafka.kill()
        own_kafka.start()
        platform.await_more(orders, 20)
        own_kafka.stop()
        own_kafka.start()
        platform.await_more(orders, 20)
    settle(platform, orders)
    assert broken_promises(platform, orders) == []
    assert repeated_moves(platform, orders) == []
    assert wrong_snapshots(platform, orders) == []
    assert completed(platform, orders) > 20
