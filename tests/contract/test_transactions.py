"""Kafka transactions: what readers see of them, and who may go on writing."""

from __future__ import annotations

from typing import Any

import pytest

from contract.cluster import Cluster
from kantor.clients import Producer
from kantor.errors import FencedError, KafkaUnavailableError, KantorError

#: The broker does not wait long for a dead producer (s); long enough for a slow machine to write a record meanwhile: that is
#: also all the time that the client takes for it.
SOON = 3.0


def test_an_open_transaction_is_hidden(cluster: Cluster) -> None:
    """A read_committed reader stops before it, and reports its end there."""
    topic = cluster.topic()
    cluster.write(topic, "plain")
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"open", b"k", None, 0)
    producer.flush()
    cluster.write(topic, "behind it")
    reader = cluster.reader(topic)
    assert reader.to(1) == ["plain"]
    assert reader.rest() == ["plain"]
    assert reader.ends == [1]
    producer.commit()
    assert reader.to(4) == ["plain", "open", "behind it"]


def test_a_read_uncommitted_reader_sees_an_open_transaction(cluster: Cluster) -> None:
    """And what is aborted later, too."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"open", b"k", None, 0)
    producer.flush()
    assert cluster.reader(topic, isolation="read_uncommitted").more(1) == ["open"]
    producer.abort()


def test_an_aborted_transaction_is_never_read(cluster: Cluster) -> None:
    """Its records and its marker have offsets nevertheless."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"no", b"k", None, 0)
    producer.flush()
    producer.abort()
    producer.begin()
    producer.produce(topic, b"yes", b"k", None, 0)
    producer.commit()
    reader = cluster.reader(topic)
    assert reader.to(4) == ["yes"]
    assert [record.offset() for record in reader.records] == [2]


def test_a_transaction_that_is_aborted_before_it_is_sent_leaves_nothing(cluster: Cluster) -> None:
    """What was only queued is dropped."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"no", b"k", None, 0)
    producer.abort()
    cluster.write(topic, "a")
    assert cluster.reader(topic).more(1) == ["a"]


def test_a_marker_takes_an_offset(cluster: Cluster) -> None:
    """The position after the last record stops short of the end that is reported."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"a", b"k", None, 0)
    producer.commit()
    reader = cluster.reader(topic)
    reader.to(2)
    assert reader.records[-1].offset() + 1 == 1
    assert reader.ends[-1] == 2


def test_the_uncommitted_end_counts_an_open_transaction(cluster: Cluster) -> None:
    """The admin's ends are past it, a read_committed consumer's end is before it."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"a", b"k", None, 0)
    producer.flush()
    reader = cluster.reader(topic)
    assert cluster.admin.ends([(topic, 0)]) == {(topic, 0): 1}
    assert reader.consumer.end((topic, 0)) == 0
    producer.commit()


def test_ends_of_unknown_topics_are_left_out(cluster: Cluster) -> None:
    """Those of others are told."""
    topic = cluster.topic()
    assert cluster.admin.ends([(cluster.name("nowhere"), 0), (topic, 0)]) == {(topic, 0): 0}


def test_a_transaction_over_two_partitions_has_a_marker_in_each(cluster: Cluster) -> None:
    """And none in a partition that it did not write to."""
    topic = cluster.topic(partitions=3)
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"a", b"k", None, 0)
    producer.produce(topic, b"b", b"k", None, 1)
    producer.commit()
    partitions = [(topic, number) for number in range(3)]
    cluster.until(
        lambda: list(cluster.admin.ends(partitions).values()) == [2, 2, 0], "both markers are written"
    )


def test_initialising_an_id_again_ends_the_open_transaction(cluster: Cluster) -> None:
    """Readers do not wait for its timeout: it is aborted by then."""
    topic = cluster.topic()
    old = cluster.producer("t")
    old.begin()
    old.produce(topic, b"no", b"k", None, 0)
    old.flush()
    new = cluster.producer("t")
    new.begin()
    new.produce(topic, b"yes", b"k", None, 0)
    new.commit()
    assert cluster.reader(topic).to(4) == ["yes"]


def test_a_fenced_producer_can_not_commit(cluster: Cluster) -> None:
    """It is told so; nothing of it is ever read."""
    topic = cluster.topic()
    old = cluster.producer("t")
    old.begin()
    old.produce(topic, b"no", b"k", None, 0)
    cluster.producer("t")
    with pytest.raises(FencedError):
        old.commit()
    cluster.write(topic, "a")
    assert cluster.reader(topic).more(1) == ["a"]


def test_a_fenced_producer_stays_fenced(cluster: Cluster) -> None:
    """Whatever it tries next fails as well."""
    topic = cluster.topic()
    old = cluster.producer("t")
    old.begin()
    old.produce(topic, b"no", b"k", None, 0)
    cluster.producer("t")
    with pytest.raises(FencedError):
        old.commit()
    with pytest.raises(FencedError):
        old.flush()


def test_beginning_twice_is_refused(cluster: Cluster) -> None:
    """One Kafka transaction after the other."""
    producer = cluster.producer("t")
    producer.begin()
    with pytest.raises(KafkaUnavailableError):
        producer.begin()


def test_delivery_reports_tell_offsets_by_the_time_a_commit_returns(cluster: Cluster) -> None:
    """What waits for the changelog's position has it then."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    offsets: list[int] = []

    def delivered(error: Any, record: Any) -> None:
        assert error is None
        offsets.append(record.offset())

    for _ in range(2):
        producer.begin()
        producer.produce(topic, b"a", b"k", None, 0, on_delivery=delivered)
        producer.commit()
    assert offsets == [0, 2]


def test_an_empty_transaction_commits(cluster: Cluster) -> None:
    """Without a trace."""
    topic = cluster.topic()
    producer = cluster.producer("t")
    producer.begin()
    producer.commit()
    assert cluster.admin.ends([(topic, 0)]) == {(topic, 0): 0}


def test_a_dead_producers_transaction_is_aborted_after_its_timeout(cluster: Cluster) -> None:
    """Readers wait for that long, and go on without it; should it come back, it can't commit."""
    topic = cluster.topic()
    began = cluster.now()
    dead = dies_in_a_transaction(cluster, topic)
    cluster.write(topic, "behind it")
    reader = cluster.reader(topic)
    assert reader.more(1) == ["behind it"]
    assert cluster.now() - began >= SOON
    with pytest.raises(KantorError):
        dead.commit()
    assert cluster.reader(topic).to(3) == ["behind it"]


def test_after_a_timeout_the_same_id_can_be_taken_again(cluster: Cluster) -> None:
    """By a new producer: the old one is of no use any more."""
    topic = cluster.topic()
    dies_in_a_transaction(cluster, topic)
    cluster.write(topic, "behind it")
    cluster.reader(topic).more(1)
    new = cluster.producer("t")
    new.begin()
    new.produce(topic, b"yes", b"k", None, 0)
    new.commit()
    assert cluster.reader(topic).more(2) == ["behind it", "yes"]


def dies_in_a_transaction(cluster: Cluster, topic: str) -> Producer:
    """A producer that has written one record and does nothing any more, its Kafka transaction open."""
    dead = cluster.producer("t", **{"transaction.timeout.ms": int(SOON * 1_000)})
    dead.begin()
    dead.produce(topic, b"no", b"k", None, 0)
    dead.flush()
    assert cluster.admin.ends([(topic, 0)]) == {(topic, 0): 1}, "the record was not written in time"
    return dead
