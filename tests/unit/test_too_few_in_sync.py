"""Partitions into which Kafka takes nothing, as too few replicas are in sync: `kantor status` names them, with the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from kantor.clients import Partition
from kantor.kafka import KafkaSettings
from kantor.watchdog import Guard
from kantor_orchestrator.formats import topics
from kantor_orchestrator.operations.condition import Condition, ShardCondition
from kantor_orchestrator.operations.diagnosis import condition_as_json, diagnose
from kantor_orchestrator.operations.durability import Closed, closed

HISTORY, EVENTS = (topics.HISTORY, 0), ("evt.x.v1", 3)


class Cluster:
    """What it says: by partition, the replicas in sync and all of them; by topic, how many must be."""

    def __init__(self, counts: dict[Partition, tuple[int, int]], **needed: str) -> None:
        self._counts = counts
        self._needed = needed

    def in_sync(self, timeout: float = 10.0) -> dict[Partition, tuple[int, int]]:
        return self._counts

    def configs(
        self, topics: Sequence[str], timeout: float = 10.0
    ) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        asked = {name: self._needed.get(name.replace(".", "_")) for name in topics}
        return {name: {"min.insync.replicas": value} for name, value in asked.items() if value}, {}


def test_those_with_too_few_are_found() -> None:
    """With how many there are, and must be. Topics that Kantor has nothing to do with are not asked about."""
    counts = {HISTORY: (1, 3), EVENTS: (2, 3), ("theirs", 0): (0, 1)}
    found = closed(Cluster(counts, sys_kantor_history="2", evt_x_v1="2", theirs="2"))
    assert found == [Closed(HISTORY, 1, 3, 2)]


def test_a_topic_that_does_not_tell_is_not_told() -> None:
    """An ACL forbids to ask for its settings, mostly."""
    assert closed(Cluster({EVENTS: (1, 3)})) == []


def test_brokers_that_are_down_are_told_as_one() -> None:
    """They have many partitions; the first that is named is a shard's."""
    found = Condition("broker:9092", closed=[Closed(EVENTS, 1, 3, 2), Closed(HISTORY, 1, 3, 2)])
    (problem,) = diagnose(found)
    assert problem.what == (
        "2 partitions of 2 topics have too few replicas in sync (sys.kantor.history/0 has 1 of 3, and needs 2): Kafka accepts no record "
        "for them, and whoever writes there waits"
    )
    assert "brokers are down or behind" in problem.remedy


def test_a_topic_that_can_never_have_enough_is_told_with_its_setting() -> None:
    """Somebody has set it; nothing comes back by itself."""
    found = Condition("broker:9092", closed=[Closed(EVENTS, 1, 1, 2)])
    (problem,) = diagnose(found)
    assert "evt.x.v1 has 1 replica, but min.insync.replicas is 2: whoever writes there waits" in problem.what
    assert problem.remedy == "set min.insync.replicas=1 on evt.x.v1, or give it more replicas"


def test_it_is_data_too() -> None:
    """And an end that no leader tells is not 0."""
    found = Condition("broker:9092", closed=[Closed(EVENTS, 1, 3, 2)], shards=[ShardCondition(0, -1, 5, 5)])
    shown = condition_as_json(found, [])
    assert shown["closed"] == [
        {"partition": "evt.x.v1/3", "in_sync": 1, "replicas": 3, "min_insync_replicas": 2}
    ]
    assert shown["shards"][0]["journal_end"] is None


def test_they_are_counted_by_the_brokers_own_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition without a leader is told as such."""
    admin = KafkaSettings("127.0.0.1:1").admin()
    partitions = {
        0: SimpleNamespace(leader=1, isrs=[1], replicas=[1, 2, 3]),
        1: SimpleNamespace(leader=-1, isrs=[], replicas=[1, 2, 3]),
    }
    topic = SimpleNamespace(error=None, partitions=partitions)
    client = SimpleNamespace(list_topics=lambda timeout: SimpleNamespace(topics={"evt.x.v1": topic}))
    monkeypatch.setattr(admin, "_client", (client, Guard("test")))
    assert admin.in_sync() == {("evt.x.v1", 0): (1, 3)}
