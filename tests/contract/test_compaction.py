"""What whoever restores from a compacted topic may rely on."""

from __future__ import annotations

from typing import Any

from contract.cluster import Cluster, Reader
from kantor.clients import Record

#: A segment that is old enough at once, and worth compacting however little is in it.
SOON: dict[str, Any] = {
    "segment_ms": "100",
    "min_cleanable_dirty_ratio": "0.01",
    "max_compaction_lag_ms": "100",
}


#: A Kafka transaction may be open until the cleaner has come by.
LONG: dict[str, Any] = {"transaction.timeout.ms": 120_000}


def compacted(cluster: Cluster, **config: Any) -> str:
    return cluster.topic("sys.contract", cleanup_policy="compact", **SOON, **config)


def delete(cluster: Cluster, topic: str, key: str) -> None:
    producer = cluster.producer()
    producer.produce(topic, None, key.encode(), None, 0)
    producer.flush()


def read_all(cluster: Cluster, topic: str) -> Reader:
    reader = cluster.reader(topic)
    reader.to(cluster.admin.ends([(topic, 0)])[topic, 0])
    return reader


def cleaned(cluster: Cluster, topic: str, gone: str) -> list[Record]:
    """What there is once the value ``gone`` was compacted away."""
    found: list[Record] = []

    def is_gone() -> bool:
        cluster.clean(topic)
        cluster.pass_time(0.2)  # between two looks
        found[:] = read_all(cluster, topic).records
        return gone.encode() not in [record.value() for record in found]

    cluster.until(is_gone, f"{gone} is compacted away")
    return [record for record in found if record.key() != b"roller"]


def test_the_latest_value_of_each_key_survives_where_it_was(cluster: Cluster) -> None:
    """With its offset; older values go."""
    topic = compacted(cluster)
    cluster.write(topic, "a1", "a2", key="a")
    cluster.write(topic, "b1", key="b")
    cluster.write(topic, "a3", key="a")
    found = cleaned(cluster, topic, "a2")
    assert [(r.key(), r.value(), r.offset()) for r in found] == [(b"b", b"b1", 2), (b"a", b"a3", 3)]


def test_a_tombstone_can_be_read_for_a_while(cluster: Cluster) -> None:
    """Whoever reads within delete.retention.ms learns that the key is gone."""
    topic = compacted(cluster, delete_retention_ms="86400000")
    cluster.write(topic, "a1", key="a")
    delete(cluster, topic, "a")
    found = cleaned(cluster, topic, "a1")
    assert [(r.key(), r.value(), r.offset()) for r in found] == [(b"a", None, 1)]


def test_a_tombstone_is_gone_in_the_end(cluster: Cluster) -> None:
    """Who slept for longer never learns of the key: its cache must not be older than that."""
    topic = compacted(cluster, delete_retention_ms="0")
    cluster.write(topic, "a1", key="a")
    delete(cluster, topic, "a")
    cluster.write(topic, "b1", key="b")
    cleaned(cluster, topic, "a1")
    keys: list[bytes | None] = []

    def is_gone() -> bool:
        cluster.clean(topic)
        cluster.pass_time(0.2)  # between two looks
        keys[:] = [record.key() for record in read_all(cluster, topic).records]
        return b"a" not in keys

    cluster.until(is_gone, "the tombstone is removed")
    assert b"b" in keys


def test_the_end_stays_where_it_is(cluster: Cluster) -> None:
    """A reader reaches it though the last records are gone."""
    topic = compacted(cluster)
    cluster.write(topic, "a1", "a2", key="a")
    cleaned(cluster, topic, "a1")
    end = cluster.admin.ends([(topic, 0)])[topic, 0]
    reader = cluster.reader(topic)
    reader.to(end)
    assert reader.ends[-1] == end


def test_what_is_aborted_hides_nothing(cluster: Cluster) -> None:
    """The last value that was committed survives a later one that was not."""
    topic = compacted(cluster)
    cluster.write(topic, "a1", "a2", key="a")
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"never", b"a", None, 0)
    producer.flush()
    producer.abort()
    found = cleaned(cluster, topic, "a1")
    assert [(r.key(), r.value()) for r in found] == [(b"a", b"a2")]


def test_an_open_transaction_is_not_compacted(cluster: Cluster) -> None:
    """What it would replace is still there if it is aborted."""
    topic = compacted(cluster)
    cluster.write(topic, "a1", "a2", key="a")
    cluster.pass_time(
        0.2
    )  # so that these get a segment of their own: what an open one is in is not compacted at all
    cluster.clean(topic)
    producer = cluster.producer("t", **LONG)
    producer.begin()
    producer.produce(topic, b"a3", b"a", None, 0)
    producer.flush()

    def is_gone() -> bool:
        cluster.clean(topic)
        cluster.pass_time(0.2)  # between two looks
        reader = cluster.reader(topic, isolation="read_uncommitted")
        reader.to(cluster.admin.ends([(topic, 0)])[topic, 0])
        return "a1" not in reader.values

    cluster.until(is_gone, "a1 is compacted away")
    producer.abort()
    assert [r.value() for r in read_all(cluster, topic).records if r.key() == b"a"] == [b"a2"]
