"""What becomes of a record whose producer was not answered."""

from __future__ import annotations

from typing import Any

import pytest

from contract.cluster import Cluster
from kantor.errors import KafkaUnavailableError

#: It gives up waiting for an answer, and tries again.
SOON: dict[str, Any] = {"socket.timeout.ms": 1_000}


def test_a_producer_that_tries_again_by_itself_appends_once(cluster: Cluster) -> None:
    """It is idempotent: the broker knows the record that it has not confirmed."""
    topic = cluster.topic()
    producer = cluster.producer(**SOON)
    producer.produce(topic, b"first", b"k", None, 0)
    producer.flush()  # it knows the partition's leader
    producer.produce(topic, b"once", b"k", None, 0)
    with cluster.silence(), pytest.raises(KafkaUnavailableError):
        producer.flush(3)
    producer.flush()
    cluster.write(topic, "last")
    assert cluster.reader(topic).to(3) == ["first", "once", "last"]


def test_a_record_that_another_producer_sends_again_may_be_there_twice(cluster: Cluster) -> None:
    """What was sent and not confirmed may have arrived: who sends it again relies on its id."""
    topic = cluster.topic()
    producer = cluster.producer(**SOON)
    producer.produce(topic, b"first", b"k", None, 0)
    producer.flush()
    producer.produce(topic, b"twice", b"k", None, 0)
    with cluster.silence(), pytest.raises(KafkaUnavailableError):
        producer.flush(0.5)
    cluster.reader(topic).more(2)  # it has arrived
    producer.purge()
    another = cluster.producer()
    another.produce(topic, b"twice", b"k", None, 0)
    another.flush()
    assert cluster.reader(topic).to(3) == ["first", "twice", "twice"]
