"""`kantor dev` against a real Kafka."""

from __future__ import annotations

from kantor_orchestrator.dev.broker import DevBroker, running_address


def test_a_started_broker_answers_and_its_home_knows_the_address(own_kafka: DevBroker) -> None:
    """start() returns an address that answers, and running_address finds it again."""
    address = own_kafka.start()
    assert own_kafka.status().state == "running"
    assert running_address(own_kafka.folder.parent) == address
