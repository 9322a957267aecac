"""The Kafka that every tier of tests shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kantor_orchestrator.dev.broker import DevBroker


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a Kafka that all tests share. Use topics and groups of your own; never stop it."""
    broker = DevBroker(tmp_path_factory.mktemp("kafka"))
    try:
        yield broker.start()
    finally:
        broker.reset()
