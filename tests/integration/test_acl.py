"""Intake on a real Kafka whose ACLs let it see a topic but not read it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from prometheus_client import CollectorRegistry

from kantor.clients import TopicSpec
from kantor.kafka import KafkaSettings
from kantor_orchestrator.dev import config
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.formats import topics, watermarks
from kantor_orchestrator.formats.marks import About
from kantor_orchestrator.formats.watermarks import Statements
from kantor_orchestrator.intake.loop import Intake
from kantor_orchestrator.metrics import IntakeMetrics
from waiting import PATIENCE, until

SECRET, OPEN = "evt.secret.v1", "evt.open.v1"
AUTHORIZER = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaSettings]:
    """A broker with ACLs, of its own."""
    folder = tmp_path / "deploy"
    shutil.copytree(config.deploy_folder(), folder)
    with (folder / "server.properties").open("a") as properties:
        properties.write(AUTHORIZER)
    monkeypatch.setattr(config, "deploy_folder", lambda: folder)
    broker = DevBroker(tmp_path / "guarded")
    try:
        yield KafkaSettings(broker.start())
    finally:
        broker.reset()


def rule(permission: AclPermissionType, operation: AclOperation) -> AclBinding:
    place = (ResourceType.TOPIC, SECRET, ResourcePatternType.LITERAL)
    return AclBinding(*place, "User:*", "*", operation, permission)


def test_a_topic_that_may_be_seen_but_not_read(guarded: KafkaSettings) -> None:
    """It is named by the watermarks as long as it may not be read; others are read, and it is when it may."""
    admin = guarded.admin()
    specs = [spec for spec in topics.specs(1, 1 << 20) if spec.name in (topics.JOURNAL, topics.WATERMARKS)]
    admin.create_topics([*specs, TopicSpec(SECRET, 1), TopicSpec(OPEN, 1)])
    producer = guarded.producer("test")
    for topic in (SECRET, OPEN):
        producer.produce(topic, b"x", b"t1", [("ce_correlationid", b"t1")], 0)
    producer.flush()
    acls = AdminClient({"bootstrap.servers": guarded.bootstrap_servers})
    deny = rule(AclPermissionType.DENY, AclOperation.READ)
    for future in acls.create_acls([rule(AclPermissionType.ALLOW, AclOperation.ALL), deny]).values():
        future.result(PATIENCE)

    intake = Intake(guarded, 1, IntakeMetrics(CollectorRegistry()))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(intake.run, stop, lambda: None)
        try:
            told = wait_for(guarded, lambda told: bool(told.refused()))
            (member,) = told.members.values()
            assert member.about == About({SECRET: 1, OPEN: 1}, {OPEN: [0]})
            assert "authorization failed" in told.refused()[SECRET].lower()
            assert told.low() == 0  # an answer may be in it

            place = (ResourceType.TOPIC, SECRET, ResourcePatternType.LITERAL)
            denied = AclBindingFilter(*place, "User:*", "*", AclOperation.READ, AclPermissionType.DENY)
            for removed in acls.delete_acls([denied]).values():
                removed.result(PATIENCE)
            assert wait_for(guarded, lambda told: bool(told.low())).refused() == {}
        finally:
            stop.set()
        running.result(PATIENCE)


def wait_for(settings: KafkaSettings, is_met: Callable[[Statements], bool]) -> Statements:
    """The first that intake tells which is as wanted."""
    told: list[Statements] = []

    def is_there() -> bool:
        told[:] = [watermarks.read(settings, "test")]
        return is_met(told[0])

    until(is_there, "such a watermark", lambda: str([one.members for one in told]))
    return told[0]
