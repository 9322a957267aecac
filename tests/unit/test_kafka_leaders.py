"""A partition without a leader, as that of a topic that was just made: it is asked again, not given up."""

from __future__ import annotations

from types import SimpleNamespace

import confluent_kafka as ck
import pytest

from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings, edge
from kantor.watchdog import Guard


class Broker:
    """Answers with these errors, one after the other; then with 42."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        if self._codes:
            raise ck.KafkaException(ck.KafkaError(self._codes.pop(0)))
        return 42


def test_it_is_asked_until_there_is_a_leader() -> None:
    """All the words for it are heeded; the last three are those of a broker that came back just now."""
    broker = Broker(
        ck.KafkaError.NOT_LEADER_FOR_PARTITION,
        ck.KafkaError.LEADER_NOT_AVAILABLE,
        ck.KafkaError.FENCED_LEADER_EPOCH,
        ck.KafkaError.UNKNOWN_LEADER_EPOCH,
        ck.KafkaError.OFFSET_NOT_AVAILABLE,
    )
    assert edge.led(broker, 30.0) == 42
    assert broker.asked == 6


def test_other_errors_are_told_at_once() -> None:
    """They say what is wrong, and asking again does not help."""
    broker = Broker(ck.KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaUnavailableError, match="AUTHORIZATION"):
        edge.led(broker, 30.0)
    assert broker.asked == 1


def test_no_leader_in_time_is_told() -> None:
    """With the broker's own word for it."""
    broker = Broker(*[ck.KafkaError.NOT_LEADER_FOR_PARTITION] * 100)
    with pytest.raises(KafkaUnavailableError, match="NOT_LEADER"):
        edge.led(broker, 0.0)


def test_a_partition_without_a_leader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the brokers' own picture: nobody waits for an answer of it."""
    admin = KafkaSettings("127.0.0.1:1").admin()
    partitions = {0: SimpleNamespace(leader=1), 3: SimpleNamespace(leader=-1)}
    found = {
        "evt.x.v1": SimpleNamespace(error=None, partitions=partitions),
        "gone": SimpleNamespace(error="unknown", partitions={}),
    }
    client = SimpleNamespace(list_topics=lambda timeout: SimpleNamespace(topics=found))
    monkeypatch.setattr(admin, "_client", (client, Guard("test")))
    assert admin.leaderless() == {("evt.x.v1", 3)}
    assert admin.topics() == {"evt.x.v1": 2}
