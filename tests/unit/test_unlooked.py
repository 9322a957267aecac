"""Which journal entries no engine has looked at, and whether its engine stands still; asked of a broker in memory."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kantor.clients import Partition, TopicSpec
from kantor.testing import MemoryBroker
from kantor.testing.clock import SkewedClock
from kantor_orchestrator.formats import topics
from kantor_orchestrator.operations.durability import weaknesses
from kantor_orchestrator.operations.unlooked import Unlooked, unlooked

FIRST, SECOND = (topics.JOURNAL, 0), (topics.JOURNAL, 1)


class Shards:
    """A journal of two shards with 20 entries in the second, the first of them 34 seconds old; and its engine."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        config = {"message.timestamp.type": "LogAppendTime"}
        self.broker.clients().admin().create_topics([TopicSpec(topics.JOURNAL, 2, config)])
        producer = self.broker.clients().producer("test")
        for number in range(20):
            producer.produce(topics.JOURNAL, b"%d" % number, b"t", None, 1)
            producer.flush()
            self.broker.clock.sleep(1.7)
        self.positions: dict[Partition, int] = {FIRST: 0, SECOND: 0}
        self.speed = 0
        self.asked = 0

    def ask(self) -> Mapping[Partition, int]:
        self.asked += 1
        if self.asked > 1:
            self.positions[SECOND] = min(20, self.positions[SECOND] + self.speed)
        return dict(self.positions)

    def unlooked(self) -> list[Unlooked]:
        ends = self.broker.clients().admin().ends([FIRST, SECOND])
        # This machine's clock is two minutes slow; the broker's time is told by what the broker stamps.
        clock = SkewedClock(self.broker.clock, -120)
        return unlooked(self.broker.clients(), ends, self.ask, clock, time=self.broker.clock.now)


@pytest.fixture
def shards() -> Shards:
    return Shards()


def test_a_shard_that_does_not_move_stands_still(shards: Shards) -> None:
    """With what waits in it, and for how long; within seconds."""
    began = shards.broker.clock.monotonic()
    assert shards.unlooked() == [Unlooked(1, 0, 20, 34_000, stands=True)]
    assert shards.broker.clock.monotonic() - began < 5


def test_a_shard_that_moves_is_behind(shards: Shards) -> None:
    """It has not got through, but it goes on."""
    shards.speed = 1
    (found,) = shards.unlooked()
    assert (found.shard, found.stands) == (1, False)
    assert found.count == 20 - found.position


def test_a_shard_that_gets_through_is_well(shards: Shards) -> None:
    """It is looked at once more, not longer than it takes."""
    shards.speed = 10
    assert shards.unlooked() == []
    assert shards.asked == 3


def test_young_entries_are_on_their_way(shards: Shards) -> None:
    """An engine tells its position once a second: nobody waits for it."""
    shards.positions[SECOND] = 17
    assert shards.unlooked() == []
    assert shards.asked == 1


class Asked:
    """Topics with so many replicas, and these settings."""

    def __init__(self, replicas: int, **config: str) -> None:
        self._replicas = replicas
        self._config = {name.replace("_", "."): value for name, value in config.items()}

    def replicas(self, timeout: float = 10.0) -> dict[str, int]:
        return dict.fromkeys((topics.HISTORY, topics.JOURNAL, topics.STATE), self._replicas)

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]:
        return self._config


@pytest.mark.parametrize(
    ("asked", "remedies"),
    [
        (Asked(1, min_insync_replicas="1"), []),
        (Asked(3, min_insync_replicas="2", unclean_leader_election_enable="false"), []),
        (Asked(3, min_insync_replicas="1"), ["set min.insync.replicas=2 on sys.kantor.history"]),
        (
            Asked(3, min_insync_replicas="2", unclean_leader_election_enable="true"),
            ["set unclean.leader.election.enable=false on sys.kantor.history"],
        ),
    ],
)
def test_what_may_lose_acknowledged_records_is_told(asked: Asked, remedies: list[str]) -> None:
    """Where there are replicas; each topic of the platform's truth by name."""
    found = weaknesses(asked)
    assert [remedy for _, remedy in found][:1] == remedies
    assert len(found) == 3 * len(remedies)


@pytest.mark.parametrize(
    ("config", "remedies"),
    [
        ({"retention_ms": str(365 * 86_400_000), "retention_bytes": "-1"}, []),
        ({"retention_ms": "-1"}, []),
        ({"retention_ms": "604800000"}, ["set retention.ms=2592000000 on sys.kantor.history, or more"]),
        ({"retention_bytes": "1000000"}, ["set retention.bytes=-1 on sys.kantor.history"]),
    ],
)
def test_a_history_that_forgets_what_stubs_point_to_is_told(
    config: dict[str, str], remedies: list[str]
) -> None:
    """Also of one broker alone: the retained record of a transaction may live for 30 days."""
    assert [remedy for _, remedy in weaknesses(Asked(1, **config))] == remedies


class Made:
    """One topic of the platform, as somebody made it by hand."""

    def __init__(self, topic: str, **config: str) -> None:
        self._topic = topic
        self._config = {name.replace("_", "."): value for name, value in config.items()}

    def replicas(self, timeout: float = 10.0) -> dict[str, int]:
        return {self._topic: 1}

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]:
        assert topic == self._topic
        return self._config


@pytest.mark.parametrize(
    ("made", "remedies"),
    [
        (Made(topics.STATE, cleanup_policy="delete"), ["set cleanup.policy=compact on sys.kantor.state"]),
        (
            Made(topics.DEFINITIONS, cleanup_policy="compact,delete"),
            ["set cleanup.policy=compact on sys.kantor.definitions"],
        ),
        (Made(topics.SCHEMAS, cleanup_policy="compact"), []),
        (Made(topics.JOURNAL, cleanup_policy="compact"), ["set cleanup.policy=delete on sys.kantor.journal"]),
        (Made(topics.HISTORY, cleanup_policy="delete", message_timestamp_type="LogAppendTime"), []),
        (
            Made(topics.HISTORY, message_timestamp_type="CreateTime"),
            ["set message.timestamp.type=LogAppendTime on sys.kantor.history"],
        ),
        (
            Made(topics.STATE, max_message_bytes="1048588"),
            ["set max.message.bytes=8388608 on sys.kantor.state, or more"],
        ),
        (
            Made(topics.JOURNAL, max_message_bytes="1048588"),
            ["set max.message.bytes=2097152 on sys.kantor.journal, or more"],
        ),
        (Made(topics.JOURNAL, max_message_bytes=str(32 << 20), retention_ms="-1"), []),
        (Made(topics.JOURNAL, retention_ms="3600000"), ["set retention.ms=2592000000 on sys.kantor.journal"]),
        (Made(topics.ENDED, cleanup_policy="compact"), []),
    ],
)
def test_a_topic_that_somebody_made_with_settings_that_lose_records_is_told(
    made: Made, remedies: list[str]
) -> None:
    """Topics that exist keep their settings: one made by hand has the broker's, which delete the state of a waiting transaction
    after a week."""
    assert [remedy for _, remedy in weaknesses(made)] == remedies
