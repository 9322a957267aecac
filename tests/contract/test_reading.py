"""What a reader sees of a partition."""

from __future__ import annotations

from contract.cluster import Cluster
from kantor.clients import END, TopicSpec
from kantor.envelope import unreadable


def test_records_of_a_partition_come_in_order_with_all_they_have(cluster: Cluster) -> None:
    """Offset, key, value and headers arrive as they were written."""
    topic = cluster.topic()
    producer = cluster.producer()
    producer.produce(topic, b"one", b"key", [("a", b"1"), ("b", None)], 0)
    producer.produce(topic, None, None, None, 0)
    producer.flush()
    reader = cluster.reader(topic)
    reader.to(2)
    first, second = reader.records
    assert [(r.topic(), r.partition(), r.offset()) for r in (first, second)] == [(topic, 0, 0), (topic, 0, 1)]
    assert (first.key(), first.value(), first.headers()) == (b"key", b"one", [("a", b"1"), ("b", None)])
    assert (second.key(), second.value()) == (None, None)


def test_the_end_of_an_empty_partition_is_reported(cluster: Cluster) -> None:
    """Whoever reads to the end learns that there is nothing."""
    reader = cluster.reader(cluster.topic())
    assert reader.to(0) == []
    assert reader.ends == [0]


def test_the_end_is_reported_again_when_there_was_more(cluster: Cluster) -> None:
    """Each time all is read, the next offset is told."""
    topic = cluster.topic()
    cluster.write(topic, "a")
    reader = cluster.reader(topic)
    reader.to(1)
    cluster.write(topic, "b")
    assert reader.to(2) == ["a", "b"]
    assert reader.ends[-2:] == [1, 2]


def test_reading_from_the_end_passes_over_what_was_there(cluster: Cluster) -> None:
    """A reader that starts at END sees what comes later only."""
    topic = cluster.topic()
    cluster.write(topic, "old")
    reader = cluster.reader(topic, start=END)
    reader.to(1)
    cluster.write(topic, "new")
    assert reader.more(1) == ["new"]


def test_seek_reads_again_and_reports_the_end_again(cluster: Cluster) -> None:
    """A position can be set back; the end is met anew."""
    topic = cluster.topic()
    cluster.write(topic, "a", "b")
    reader = cluster.reader(topic)
    reader.to(2)
    reader.consumer.seek((topic, 0), 1)
    assert reader.more(1) == ["a", "b", "b"]
    cluster.until(lambda: len(reader.poll().ends) == 2, "the end is told twice")


def test_a_paused_partition_brings_nothing_until_it_is_resumed(cluster: Cluster) -> None:
    """Pausing holds records back and loses none."""
    topic = cluster.topic()
    reader = cluster.reader(topic)
    reader.to(0)
    reader.consumer.pause([(topic, 0)])
    cluster.write(topic, "a")
    assert reader.rest() == []
    reader.consumer.resume([(topic, 0)])
    assert reader.more(1) == ["a"]


def test_a_poll_takes_no_more_than_its_limit(cluster: Cluster) -> None:
    """What is above the limit comes with the next poll."""
    topic = cluster.topic()
    cluster.write(topic, *"abcde")
    reader = cluster.reader(topic)
    sizes: list[int] = []
    while sum(sizes) < 5:
        sizes.append(len(reader.consumer.poll(0.1, 2).records))
    assert max(sizes) <= 2


def test_the_brokers_time_is_told_as_such(cluster: Cluster) -> None:
    """With LogAppendTime a record's timestamp is of kind 2, otherwise of kind 1."""
    by_broker = cluster.topic("evt.by-broker", message_timestamp_type="LogAppendTime")
    by_producer = cluster.topic("evt.by-producer")
    kinds = []
    for topic in (by_broker, by_producer):
        cluster.write(topic, "a")
        (reader := cluster.reader(topic)).more(1)
        kinds.append(reader.records[0].timestamp()[0])
    assert kinds == [2, 1]


def test_a_topic_that_is_there_is_not_created_again(cluster: Cluster) -> None:
    """Creating names what was created, and leaves what exists as it is."""
    topic = cluster.topic(partitions=3)
    other = cluster.name("evt.other")
    assert cluster.admin.create_topics([TopicSpec(topic, 7), TopicSpec(other, 2)]) == [other]
    counts = cluster.admin.topics()
    assert (counts[topic], counts[other]) == (3, 2)


def test_every_topic_has_an_id_of_its_own(cluster: Cluster) -> None:
    """Unknown topics have none."""
    one, two = cluster.topic("evt.one"), cluster.topic("evt.two")
    ids = cluster.admin.topic_ids([one, two])
    assert len(set(ids.values())) == 2


def test_settings_can_be_read_and_changed(cluster: Cluster) -> None:
    """Defaults included."""
    topic = cluster.topic(cleanup_policy="compact")
    assert cluster.admin.config(topic)["cleanup.policy"] == "compact"
    assert int(cluster.admin.config(topic)["max.message.bytes"]) == 1_048_588
    cluster.admin.set_config(topic, "max.message.bytes", "2000000")
    cluster.until(
        lambda: cluster.admin.config(topic)["max.message.bytes"] == "2000000", "the setting is in force"
    )


def test_a_key_decides_the_partition(cluster: Cluster) -> None:
    """crc32 of the key, as librdkafka does unless told otherwise."""
    topic = cluster.topic(partitions=4)
    producer = cluster.producer()
    for number in range(8):
        producer.produce(topic, b"x", f"key-{number}".encode(), None)
    producer.flush()
    ends = cluster.admin.ends([(topic, partition) for partition in range(4)])
    assert [ends[topic, partition] for partition in range(4)] == [2, 2, 2, 2]


def test_a_header_whose_name_is_no_text_spoils_no_reading(cluster: Cluster) -> None:
    """Other clients may name a header by any bytes. The record comes with a word about them in place of its headers, however
    often it is asked for them; records before and behind it have theirs."""
    topic = cluster.topic()
    cluster.write(topic, "before")
    cluster.write_with_header(topic, b"\xff\xfe", "spoiled")
    cluster.write_with_header(topic, "größe".encode(), "behind")
    reader = cluster.reader(topic)
    assert reader.to(3) == ["before", "spoiled", "behind"]
    for _ in range(2):
        assert [record.headers() for record in reader.records] == [
            None,
            unreadable("a header's name is not UTF-8: b'\\xff\\xfe'"),
            [("ce_id", b"1"), ("größe", b"x")],
        ]
