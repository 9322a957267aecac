"""Members of the groups of intake and engine: who is ready, and who is in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import confluent_kafka as ck
import pytest
from prometheus_client import CollectorRegistry

from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.formats import topics
from kantor_orchestrator.intake.loop import Intake
from kantor_orchestrator.metrics import EngineMetrics, IntakeMetrics
from waiting import PATIENCE, until

Run = Callable[[Event, Callable[[], None]], None]


@pytest.fixture
def settings(empty_kafka: str) -> KafkaSettings:
    """Of a broker with Kantor's topics, one shard, and two source partitions."""
    settings = KafkaSettings(empty_kafka)
    topics.ensure(settings.admin(), 1, 1)
    return settings


@contextmanager
def foreign_member(settings: KafkaSettings) -> Iterator[None]:
    """A program of somebody else's that has joined intake's group, and assigns partitions in another way."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": INTAKE_GROUP,
        "client.id": "rogue",
        "partition.assignment.strategy": "roundrobin",
    }
    consumer = ck.Consumer(config)
    consumer.subscribe([topics.OWN_COMMANDS])
    until(lambda: consumer.poll(0.1) or consumer.assignment(), "it is a member")
    try:
        yield
    finally:
        consumer.close()


@contextmanager
def ready(runs: list[Run]) -> Iterator[None]:
    """All of them run at once, and have told that they are ready."""
    stop, told = Event(), [Event() for _ in runs]
    threads = [Thread(target=run, args=(stop, event.set)) for run, event in zip(runs, told, strict=True)]
    for thread in threads:
        thread.start()
    try:
        for event in told:
            assert event.wait(PATIENCE)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_an_intake_that_is_kept_out_of_its_group_is_never_ready(settings: KafkaSettings) -> None:
    """Its alert and ``/readyz`` go by that. Once nobody keeps it out it is."""
    told = list[str]()
    with foreign_member(settings):
        (member,) = settings.admin().group_members(INTAKE_GROUP)
        assert member.startswith("rogue@")
        intake = Intake(settings, 1, IntakeMetrics(CollectorRegistry()))
        with pytest.raises(KafkaUnavailableError, match="keeps this process out of the group kantor-intake"):
            intake.run(Event(), lambda: told.append("ready"))
        assert told == []
    with ready([Intake(settings, 1, IntakeMetrics(CollectorRegistry())).run]):
        pass


def test_a_member_for_whom_nothing_is_left_is_ready(settings: KafkaSettings, tmp_path: Path) -> None:
    """It stands by; an orchestrator of containers that waits for it must not wait for ever."""
    runs: list[Run] = [Intake(settings, 1, IntakeMetrics(CollectorRegistry())).run for _ in range(4)]
    for number in range(2):
        schemas, metrics = schema_store(settings), EngineMetrics(CollectorRegistry())
        runs.append(Engine(settings, 1, tmp_path / str(number), schemas, Definitions([]), metrics).run)
    with ready(runs):
        pass
