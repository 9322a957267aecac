"""One suite for the broker in memory and for Apache Kafka: what the first promises, the second must keep, and as it does.
So with the view: what its unit tests state of SQLite, PostgreSQL must keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.cluster import Cluster, Network
from kantor.kafka import KafkaSettings
from kantor.testing import MemoryBroker
from view_places import Places, Postgres


@pytest.fixture(params=["memory", "kafka"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with topics and groups of the test's own."""
    if request.param == "memory":
        broker = MemoryBroker()
        network = Network(broker.clock)
        made = Cluster(broker.clients(network), broker, network)
    else:
        servers = request.getfixturevalue("kafka")
        made = Cluster(KafkaSettings(servers), pid=request.getfixturevalue("shared_broker").status().pid)
    with made:
        yield made


@pytest.fixture
def places(postgresql: Postgres) -> Places:
    made: dict[str, str] = {}

    def place(name: str) -> str:
        if name not in made:
            made[name] = postgresql.empty(name)
        return made[name]

    return place
