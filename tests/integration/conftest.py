"""Real programs for the tests: Apache Kafka and Apicurio Registry, on loopback, stopped by pid when the tests end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.apicurio import Registry
from kantor_orchestrator.dev.broker import DevBroker


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[DevBroker]:
    """A broker for one test, not started yet: the test may start, kill and stop it."""
    broker = DevBroker(tmp_path / "own")
    try:
        yield broker
    finally:
        broker.reset()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a schema registry's Confluent-compatible API that all tests share. Use subjects of your own."""
    registry = Registry(tmp_path_factory.mktemp("registry"))
    try:
        yield registry.start()
    finally:
        registry.stop()
