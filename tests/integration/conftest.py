"""Real programs for the tests: Apache Kafka and Apicurio Registry, on loopback, stopped by pid when the tests end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from brokers import running_broker
from integration.apicurio import Registry
from kantor_orchestrator.dev.broker import DevBroker
from waiting import until


@pytest.fixture(scope="session")
def spare_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevBroker]:
    """For :func:`empty_kafka`: to empty a broker takes a third of the time that a new one takes to start."""
    with running_broker(tmp_path_factory.mktemp("spare")) as broker:
        yield broker


@pytest.fixture
def empty_kafka(spare_broker: DevBroker) -> str:
    """Bootstrap servers of a Kafka that holds nothing yet, and is this test's alone. Never stop it."""
    servers = spare_broker.start()
    admin = AdminClient({"bootstrap.servers": servers})

    def left() -> list[str]:
        return [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]

    if old := left():
        for gone in admin.delete_topics(old).values():
            gone.result(30)
    until(lambda: not left(), "no topic is left")
    return servers


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
