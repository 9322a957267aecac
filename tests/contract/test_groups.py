"""Groups: who reads what, from where, and who may commit."""

from __future__ import annotations

import pytest

from contract.cluster import Cluster, Joined
from kantor.clients import TopicSpec
from kantor.errors import KafkaUnavailableError


def test_a_member_gets_all_partitions_and_reads_from_the_beginning(cluster: Cluster) -> None:
    """Where nothing was committed."""
    topic = cluster.topic(partitions=2)
    cluster.write(topic, "a", partition=0)
    cluster.write(topic, "b", partition=1)
    member = cluster.member("g", topic).joined(2)
    cluster.until(lambda: len(member.poll().records) == 2, "both records came")
    assert sorted(member.values) == ["a", "b"]
    assert sorted(member.assigned) == [(topic, 0), (topic, 1)]


def test_on_assign_may_say_where_to_start(cluster: Cluster) -> None:
    """Its positions rule; the committed ones are not asked."""
    topic = cluster.topic()
    cluster.write(topic, "a", "b", "c")
    member = cluster.member("g", topic)
    member.start = {(topic, 0): 2}
    assert member.more(1) == ["c"]


def test_the_next_member_goes_on_after_the_committed_position(cluster: Cluster) -> None:
    """A commit that waits is in force when it returns."""
    topic = cluster.topic()
    cluster.write(topic, "a", "b", "c")
    first = cluster.member("g", topic)
    first.more(3)
    first.consumer.commit({(topic, 0): 2}, wait=True)
    first.consumer.close()
    assert cluster.member("g", topic).more(1) == ["c"]
    assert cluster.admin.group_offsets(cluster.name("g")) == {(topic, 0): 2}


def test_a_position_tells_that_a_member_has_committed_it(cluster: Cluster) -> None:
    """Tools that set positions from outside leave no mark."""
    topic = cluster.topic(partitions=2)
    cluster.write(topic, "a", "b", "c", partition=0)
    first = cluster.member("g", topic)
    first.more(3)
    first.consumer.commit({(topic, 0): 2}, wait=True)
    assert first.consumer.whose([(topic, 0), (topic, 1)]) == {(topic, 0): (2, True)}
    assert first.consumer.committed([(topic, 0), (topic, 1)]) == {(topic, 0): 2}


def test_leaving_tells_what_is_revoked_and_can_still_commit(cluster: Cluster) -> None:
    """on_revoke runs inside close."""
    topic = cluster.topic()
    cluster.write(topic, "a")
    member = cluster.member("g", topic).joined()
    member.commit_on_revoke = {(topic, 0): 1}
    member.consumer.close()
    assert member.revoked == [(topic, 0)]
    assert cluster.admin.group_offsets(cluster.name("g")) == {(topic, 0): 1}


def test_who_fails_while_leaving_has_left(cluster: Cluster) -> None:
    """The others need not wait for what its callback raised."""
    topic = cluster.topic()
    cluster.write(topic, "a")
    member = cluster.member("g", topic).joined()
    member.fails_on_revoke = True
    with pytest.raises(KafkaUnavailableError, match="can't be committed"):
        member.consumer.close()
    assert member.revoked == [(topic, 0)]
    assert cluster.member("g", topic).more(1) == ["a"]


def test_a_second_member_gets_its_share_after_it_was_given_back(cluster: Cluster) -> None:
    """The first keeps the others (cooperative): only what moves is revoked."""
    topic = cluster.topic(partitions=2)
    first = cluster.member("g", topic).joined(2)
    second = cluster.member("g", topic)

    def shared() -> bool:
        first.poll()
        second.poll()
        return len(first.consumer.assignment()) == len(second.consumer.assignment()) == 1

    cluster.until(shared, "one partition each")
    assert len(first.revoked) == 1
    assert second.assigned == first.revoked


def test_offsets_in_a_transaction_are_known_when_it_commits(cluster: Cluster) -> None:
    """Until then nobody is told any position: it may be either (KIP-447)."""
    topic = cluster.topic()
    cluster.write(topic, "a", "b")
    member = cluster.member("g", topic)
    member.more(2)
    producer = cluster.producer("t")
    producer.begin()
    producer.send_offsets({(topic, 0): 2}, member.consumer.group_metadata())
    with pytest.raises(KafkaUnavailableError):
        member.consumer.committed([(topic, 0)], timeout=1)
    producer.commit()
    cluster.until(lambda: member.consumer.committed([(topic, 0)]) == {(topic, 0): 2}, "it is committed")


def test_offsets_in_an_aborted_transaction_do_not_count(cluster: Cluster) -> None:
    """The group reads again from where it was."""
    topic = cluster.topic()
    cluster.write(topic, "a")
    member = cluster.member("g", topic)
    member.more(1)
    producer = cluster.producer("t")
    producer.begin()
    producer.send_offsets({(topic, 0): 1}, member.consumer.group_metadata())
    producer.abort()
    member.consumer.close()
    assert cluster.member("g", topic).more(1) == ["a"]


def test_offsets_by_the_metadata_of_an_old_generation_are_refused(cluster: Cluster) -> None:
    """KIP-447: what was read before a rebalance can't be committed after it."""
    topic = cluster.topic(partitions=2)
    first = cluster.member("g", topic).joined(2)
    metadata = first.consumer.group_metadata()
    second = cluster.member("g", topic)

    def shared() -> bool:
        first.poll()
        second.poll()
        return len(second.consumer.assignment()) == 1

    cluster.until(shared, "the second member has its partition")
    producer = cluster.producer("t")
    producer.begin()
    with pytest.raises(KafkaUnavailableError):
        producer.send_offsets({(topic, 0): 1}, metadata)


def test_offsets_by_a_member_that_left_are_refused(cluster: Cluster) -> None:
    """Its metadata names nobody any more."""
    topic = cluster.topic()
    member = cluster.member("g", topic).joined()
    metadata = member.consumer.group_metadata()
    member.consumer.close()
    cluster.member("g", topic).joined()
    producer = cluster.producer("t")
    producer.begin()
    with pytest.raises(KafkaUnavailableError):
        producer.send_offsets({(topic, 0): 1}, metadata)


def test_a_batch_that_was_refused_can_be_aborted_and_begun_anew(cluster: Cluster) -> None:
    """The producer is as good as before."""
    topic = cluster.topic()
    member = cluster.member("g", topic).joined()
    metadata = member.consumer.group_metadata()
    member.consumer.close()
    cluster.member("g", topic).joined()
    producer = cluster.producer("t")
    producer.begin()
    producer.produce(topic, b"no", b"k", None, 0)
    with pytest.raises(KafkaUnavailableError):
        producer.send_offsets({(topic, 0): 1}, metadata)
    producer.abort()
    producer.begin()
    producer.produce(topic, b"yes", b"k", None, 0)
    producer.commit()
    assert cluster.reader(topic).more(1) == ["yes"]


def test_seeking_a_partition_that_is_not_assigned_is_refused(cluster: Cluster) -> None:
    """It may be another's by now."""
    topic = cluster.topic(partitions=1)
    member = cluster.member("g", topic).joined()
    with pytest.raises(KafkaUnavailableError):
        member.consumer.seek((topic, 7), 0)


def test_a_pattern_finds_a_topic_that_is_made_later(cluster: Cluster) -> None:
    """Within the refresh of metadata, by itself."""
    first = cluster.topic("evt.found.first")
    member = cluster.member("g", f"^evt\\.found\\..*{first.rpartition('-')[2]}").joined()
    later = cluster.name("evt.found.later")
    cluster.admin.create_topics([TopicSpec(later, 1)])
    cluster.write(later, "a")
    cluster.until(lambda: member.poll().values == ["a"], "the new topic is read")
    assert sorted(member.assigned) == [(first, 0), (later, 0)]


def test_a_member_that_stood_still_loses_its_partitions_without_a_revoke(cluster: Cluster) -> None:
    """Another has them by then; the next poll tells it so, and it joins again."""
    topic = cluster.topic(partitions=2)
    first = cluster.member("g", topic, max_poll_interval_ms=6_000).joined(2)
    second = cluster.member("g", topic)
    cluster.until(lambda: shared(first, second), "one partition each")
    revoked, (kept,) = list(first.revoked), first.consumer.assignment()
    first.freeze()
    second.joined(2)
    first.thaw()
    cluster.until(lambda: bool(first.poll().lost), "it is told")
    assert (first.lost, first.revoked) == ([kept], revoked)
    cluster.until(lambda: shared(first, second), "one partition each")


def shared(first: Joined, second: Joined) -> bool:
    """After a poll of both: whether they have a partition each."""
    first.poll()
    second.poll()
    return len(first.consumer.assignment()) == len(second.consumer.assignment()) == 1


def test_what_was_read_before_partitions_went_to_another_can_not_be_committed(cluster: Cluster) -> None:
    """Whether it is told of a revoke, too late, or of a loss; plainly or in a Kafka transaction: the other may be further."""
    topic = cluster.topic()
    cluster.write(topic, "a", "b")
    first = cluster.member("g", topic, max_poll_interval_ms=6_000)
    first.more(2)
    metadata = first.consumer.group_metadata()
    first.commit_on_revoke = {(topic, 0): 2}
    first.freeze()
    second = cluster.member("g", topic)
    assert second.more(2) == ["a", "b"]
    second.consumer.commit({(topic, 0): 1}, wait=True)
    first.thaw()
    cluster.until(lambda: first.poll().lost + first.revoked == [(topic, 0)], "it is told")
    assert first.refused
    producer = cluster.producer("t")
    producer.begin()
    with pytest.raises(KafkaUnavailableError):
        producer.send_offsets({(topic, 0): 2}, metadata)
    assert cluster.admin.group_offsets(cluster.name("g")) == {(topic, 0): 1}


def test_a_paused_partition_that_comes_back_is_read(cluster: Cluster) -> None:
    """Who lost it while it was paused, and has forgotten that, resumes nothing: it must not stay silent for ever."""
    topic = cluster.topic(partitions=2)
    first = cluster.member("g", topic).joined(2)
    first.consumer.pause(sorted(first.consumer.assignment()))
    second = cluster.member("g", topic)
    cluster.until(lambda: shared(first, second), "one partition each")
    (moved,), (kept,) = first.revoked, first.consumer.assignment()
    second.consumer.close()
    cluster.until(lambda: len(first.poll().consumer.assignment()) == 2, "both again")
    cluster.write(topic, "kept", partition=kept[1])
    cluster.write(topic, "moved", partition=moved[1])
    cluster.until(lambda: bool(first.poll().records), "what came back is read")
    assert first.values == ["moved"]
    first.consumer.resume([kept])
    first.more(1)
    assert first.values == ["moved", "kept"]
