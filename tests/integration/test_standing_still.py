"""``kantor run`` on a real Kafka: a role that stands still is replaced, and its work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.evidence import broken_promises
from integration.platform_kit import Platform
from waiting import until


@pytest.fixture
def platform(kafka: str, tmp_path: Path) -> Iterator[Platform]:
    with Platform(kafka, tmp_path) as platform:
        platform.services()
        yield platform


def test_an_engine_that_stands_still_is_replaced(platform: Platform) -> None:
    """It hangs in the middle of its work: it is ended, another one takes its shards, and nobody needs to notice."""
    kantor = platform.kantor("--role", "intake", "--role", "engine").start()
    until(lambda: len(kantor.said("ready")) == 2, "intake and engine are ready", kantor.tail)
    orders = platform.place(4, "good")
    platform.await_completed(orders)
    engine = kantor.child("engine")
    engine.suspend()
    platform.place(4, "good", orders)
    until(lambda: kantor.said("role_replaced", role="engine"), "the engine is replaced", kantor.tail)
    platform.await_completed(orders)
    assert not engine.is_running()
    assert kantor.child("engine").pid != engine.pid
    assert broken_promises(platform, orders) == []
