"""What becomes of a record whose producer was not answered."""

from __future__ import annotations

from typing import Any

import pytest

from contract.cluster import Cluster
from kantor.clients import AS_JAVA, BEGINNING, java_partition
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


def test_a_key_lies_where_java_would_put_it(cluster: Cluster) -> None:
    """With ``AS_JAVA`` a producer chooses the partition of a key as Kafka's own client does."""
    topic = cluster.topic(partitions=7)
    producer = cluster.producer(**AS_JAVA)
    for key in KEYS:
        producer.produce(topic, key, key, None)
    producer.flush()
    reader = cluster.clients.consumer("contract-java", ends=True)
    reader.assign({(topic, number): BEGINNING for number in range(7)})
    found: dict[bytes, int] = {}

    def met() -> bool:
        found.update({r.key() or b"": r.partition() for r in reader.poll(0.1).records})
        return len(found) == len(KEYS)

    cluster.until(met, "all keys")
    reader.close()
    assert found == {key: java_partition(key, 7) for key in KEYS}


#: Of all lengths modulo 4, and beyond 7 bits.
KEYS = [
    b"a",
    b"21",
    b"foo",
    b"abcd",
    b"t-1",
    b"order-4711",
    "größe".encode(),
    b"a-little-bit-long-string",
    b"\xff" * 9,
]
