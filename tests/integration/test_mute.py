"""A connection goes mute: what was asked on it gets no answer, and no end. Only a limit of the client's own tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from integration.proxied_kafka import ProxiedKafka
from integration.proxy import Proxy
from kantor.clients import Partition, TopicSpec
from kantor.kafka import KafkaSettings
from kantor_orchestrator.config import NEVER_LONG
from waiting import patiently, until

TOPIC = "evt.mute"
#: Kinds of requests: Kafka's ``api_key``.
PRODUCE, COMMIT, JOIN = 0, 8, 11
#: Seconds that a busy machine may add.
_SLACK = 10


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedKafka]:
    with ProxiedKafka(tmp_path_factory.mktemp("mute"), ["client"]) as kafka:
        admin = KafkaSettings(kafka.broker.start()).admin()
        patiently(lambda: admin.create_topics([TopicSpec(TOPIC, 1)]))
        yield kafka


@pytest.fixture
def proxy(kafka: ProxiedKafka) -> Proxy:
    return kafka.proxies["client"]


@pytest.fixture
def settings(kafka: ProxiedKafka) -> KafkaSettings:
    return KafkaSettings(kafka.address("client"))


def test_what_is_sent_on_a_mute_connection_is_sent_again(settings: KafkaSettings, proxy: Proxy) -> None:
    """After ten seconds at most, on another one."""
    producer = settings.producer("mute-producer", linger_ms=0)
    producer.produce(TOPIC, b"first", None, None, 0)
    patiently(producer.flush)
    is_mute = proxy.mute_at(PRODUCE)
    producer.produce(TOPIC, b"second", None, None, 0)
    producer.flush(10 + _SLACK)
    assert is_mute.is_set()


def test_joining_on_a_mute_connection_ends(settings: KafkaSettings, proxy: Proxy) -> None:
    """A request to join waits for as long as a member may be silent, and three seconds more: five minutes, by default."""
    consumer = settings.consumer("mute-member", group="mute", extra=NEVER_LONG)
    is_mute, assigned, began = proxy.mute_at(JOIN), list[Partition](), time.monotonic()
    consumer.subscribe([TOPIC], on_assign=assigned.extend)

    def joined() -> bool:
        consumer.poll(0.1)
        return bool(assigned)

    with closing(consumer):
        until(joined, "the member has its partition", pause=0)
        assert is_mute.is_set()
        assert time.monotonic() - began < NEVER_LONG["max.poll.interval.ms"] / 1000 + 3 + _SLACK


def test_a_position_that_is_lost_on_a_mute_connection_is_committed_again(
    settings: KafkaSettings, proxy: Proxy
) -> None:
    """Though nothing more comes in that partition, and the session outlives the connection."""
    assigned = list[Partition]()
    longer = {"session.timeout.ms": 40_000}
    consumer = settings.consumer("mute-committer", group="mute-committer", extra=longer)
    consumer.subscribe([TOPIC], on_assign=assigned.extend)

    def committed() -> bool:
        consumer.poll(0.1)
        return consumer.committed(assigned) == {(TOPIC, 0): 1}

    with closing(consumer):
        until(lambda: (consumer.poll(0.1), assigned)[1], "the member has its partition", pause=0)
        is_mute = proxy.mute_at(COMMIT)
        consumer.commit({(TOPIC, 0): 1})
        until(committed, "the position is committed", pause=0)
        assert is_mute.is_set()
