"""Messages that Kafka accepts not for now: the shard waits and says for what; nobody replaces its engine for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kantor.clients import Admin
from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings
from kantor.watchdog import Guard
from kantor_orchestrator.engine.gauges import tell
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.unsent import LONG, Unsent
from kantor_orchestrator.process.wellness import PATIENCE, Wellness

TOPIC = "cmd.shipping.v1"
WHY = f"{TOPIC}/1 has 1 of 3 replicas in sync, and needs 2"


class AtOnce(Executor):
    """Does what it is asked for before it answers."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except KafkaUnavailableError as error:
            done.set_exception(error)
        return done


class Cluster:
    """Says of the topics that it is asked about why they are closed; or nothing at all."""

    def __init__(self) -> None:
        self.closed_: dict[str, str] = {TOPIC: WHY}
        self.is_away = False

    def closed(self, topics: Sequence[str], timeout: float = 10.0) -> dict[str, str]:
        if self.is_away:
            raise KafkaUnavailableError("it does not answer")
        return {topic: why for topic, why in self.closed_.items() if topic in topics}


class Engine:
    """One shard, with a message that does not leave."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.sender = SimpleNamespace(oldest=(3, TOPIC))
        self.shard = cast(
            "Shard",
            SimpleNamespace(number=2, sender=self.sender, not_before=0.0, committed_position=5, position=9),
        )
        self.unsent = Unsent(cast("Admin", self.cluster), AtOnce())
        self.now = 100.0

    def look(self, seconds: float) -> dict[int, tuple[float, str]]:
        """What is told after so many seconds, with a look in each."""
        found: dict[int, tuple[float, str]] = {}
        for _ in range(round(seconds)):
            self.now += 1
            found = self.unsent.look([self.shard], self.now)
        return found


def test_a_message_that_kafka_does_not_accept_is_waited_for_by_name() -> None:
    """With its topic and the reason; the shard does not stand still for it, as a new engine would wait, too."""
    engine = Engine()
    assert engine.look(LONG) == {}
    found = engine.look(3)
    assert found == {2: (101.0, f"waits until Kafka accepts messages for {TOPIC}: {WHY}")}
    clock = [0.0]
    for excused, told in ((found, 0), ({}, 1)):
        wellness = Wellness(lambda: clock[0])
        tell([engine.shard], wellness, excused)
        clock[0] += PATIENCE + 1
        assert len(wellness.reasons()) == told


def test_messages_that_leave_one_after_the_other_are_no_standstill() -> None:
    """There is always a first one, and it is never the same."""
    engine = Engine()
    for number in range(20):
        engine.sender.oldest = (number, TOPIC)
        assert engine.look(1) == {}


@pytest.mark.parametrize("is_away", [True, False])
def test_what_kafka_does_not_confirm_is_not_told(is_away: bool) -> None:
    """It may be the client in this process that hangs: then another process mends it."""
    engine = Engine()
    engine.cluster.is_away, engine.cluster.closed_ = is_away, {}
    assert engine.look(30) == {}


def test_it_is_over_when_the_message_has_left() -> None:
    """At once."""
    engine = Engine()
    assert engine.look(LONG + 3)
    engine.sender.oldest = None
    assert engine.look(1) == {}


def test_a_topic_that_accepts_nothing_is_named_with_its_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the brokers' own picture and the topic's setting; other topics are not told of."""
    admin = KafkaSettings("127.0.0.1:1").admin()
    led = SimpleNamespace(leader=1, isrs=[1], replicas=[1, 2, 3])
    found = {
        TOPIC: SimpleNamespace(error=None, partitions={1: led}),
        "cmd.b.v1": SimpleNamespace(
            error=None, partitions={0: SimpleNamespace(leader=-1, isrs=[], replicas=[1])}
        ),
        "cmd.c.v1": SimpleNamespace(error=None, partitions={0: led}),
    }
    client = SimpleNamespace(list_topics=lambda timeout: SimpleNamespace(topics=found))
    monkeypatch.setattr(admin, "_client", (client, Guard("test")))
    monkeypatch.setattr(admin, "configs", lambda *_: ({TOPIC: {"min.insync.replicas": "2"}}, {}))
    assert admin.closed([TOPIC, "cmd.b.v1"]) == {TOPIC: WHY, "cmd.b.v1": "cmd.b.v1/0 has no leader"}
