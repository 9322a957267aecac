"""The view against a real Kafka: it keeps up, finds new topics, survives kill -9 and broker restarts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import kantor_examples.checkout
from kantor.clients import Partition, TopicSpec
from kantor.errors import NotFoundError
from kantor.kafka import Admin, KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.config import VIEW_GROUP, Settings
from kantor_orchestrator.definitions import files
from kantor_orchestrator.definitions.deploy import deploy
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.formats import topics
from kantor_orchestrator.operations.condition import inspect
from kantor_orchestrator.operations.diagnosis import diagnose
from kantor_orchestrator.view import role
from kantor_orchestrator.view.metrics import CensusMetrics, ViewMetrics
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.reader import NoViewError
from kantor_schemas import example, system
from view_records import Written
from view_traffic import SHARDS, Traffic
from waiting import PATIENCE, patiently


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """The platform's topics, for the tests that leave the broker alone: each with transactions of its own."""
    broker = DevBroker(tmp_path_factory.mktemp("view"))
    try:
        yield set_up(broker.start())
    finally:
        broker.reset()


@pytest.fixture
def settings(cluster: KafkaSettings, tmp_path: Path) -> Settings:
    return at_home(cluster, tmp_path)


def at_home(kafka: KafkaSettings, home: Path) -> Settings:
    return Settings(kafka, home, f"sqlite:///{home / 'view.db'}")


def traffic_on(settings: Settings) -> Traffic:
    """Its entries and decisions come after those that are there: decisions name both by their offsets."""
    places = [(topic, shard) for topic in (topics.JOURNAL, topics.HISTORY) for shard in range(SHARDS)]
    return Traffic(ends=settings.kafka.admin().ends(places))


def set_up(servers: str) -> KafkaSettings:
    """What is there before the first transaction: topics, the history's schema, the saga's definition."""
    kafka = KafkaSettings(servers)
    topics.ensure(kafka.admin(), SHARDS)
    saga = Path(kantor_examples.checkout.__path__[0]) / "checkout.yaml"

    def deployed() -> KafkaSettings:
        store = schema_store(kafka)
        store.id_of(system("Decision"), topics.HISTORY)
        deploy(files.read([saga]).models(), example("checkout"), kafka, store)
        return kafka

    return patiently(deployed)


def produce(settings: Settings, records: list[Written]) -> None:
    """Write records where they belong, as intake and the engine do."""
    admin = settings.kafka.admin()
    admin.create_topics(
        [TopicSpec(topic, 1) for topic in {r.topic() for r in records} if topic.startswith("cmd.")]
    )
    intake = settings.kafka.producer("test-intake")
    engine = settings.kafka.producer("test-engine")
    for r in records:
        producer = intake if r.topic() == topics.JOURNAL else engine
        producer.produce(r.topic(), r.value(), r.key(), r.headers(), r.partition())
    intake.flush()
    engine.flush()


@contextmanager
def viewing(settings: Settings) -> Iterator[None]:
    """The view, in a thread."""
    stop, ready, registry = threading.Event(), threading.Event(), CollectorRegistry()
    metrics, census = ViewMetrics(registry), CensusMetrics(registry)
    thread = threading.Thread(target=role.run_view, args=(settings, stop, ready.set, metrics, census))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def start(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    """The view, as ``kantor run`` starts it."""
    environment = os.environ | {
        "KANTOR_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KANTOR_HOME": str(settings.home),
    }
    command = [sys.executable, "-m", "kantor_orchestrator.cli.main", "run", "--role", "view"]
    with log.open("ab") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def eventually(settings: Settings, holds: Callable[[View], bool]) -> bool:
    """Whether this becomes true of the view soon."""

    def looks_so() -> bool:
        try:
            with View(settings.view_url) as view:
                return holds(view)
        except (NoViewError, NotFoundError):
            return False

    return soon(looks_so)


def soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def is_now(id_: str, status: str) -> Callable[[View], bool]:
    """Whether a transaction has this status and all of its messages have their places."""

    def holds(view: View) -> bool:
        trace = view.trace(id_)
        return trace.status == status and all(message.origin for message in trace.timeline)

    return holds


def test_what_is_in_kafka_is_projected(settings: Settings) -> None:
    """Status, steps and places are those of the records; lag tools see that nothing is left to read."""
    traffic = traffic_on(settings)
    traffic.completed("a-1")
    traffic.compensated("a-2")
    produce(settings, traffic.records)
    admin = settings.kafka.admin()
    with viewing(settings):
        assert eventually(settings, is_now("a-1", "completed"))
        assert eventually(settings, is_now("a-2", "compensated"))
        assert soon(lambda: has_read_all(admin))
    with View(settings.view_url) as view:
        trace = view.trace("a-2")
    assert [step.owner for step in trace.steps] == ["inventory", "payment", "shipping"]
    assert ("order_id", "1042") in trace.keys
    assert [m.type for m in trace.timeline if m.kind == "compensation"] == [
        "payment.RefundPayment",
        "inventory.ReleaseStock",
    ]


def has_read_all(admin: Admin) -> bool:
    positions = admin.group_offsets(VIEW_GROUP)
    return bool(positions) and positions == admin.ends(list(positions))


def test_a_new_topic_of_commands_is_found_within_seconds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command to a service has its place soon after: the next look for new topics finds its topic."""
    traffic = traffic_on(settings)
    traffic.completed("b-1")
    for record in traffic.records:
        if record.topic() == "cmd.shipping.v1":
            record.move_to("cmd.new.v1")
    commands = [r for r in traffic.records if r.topic() == "cmd.new.v1"]
    with viewing(settings):
        produce(settings, [r for r in traffic.records if r not in commands])
        assert eventually(settings, lambda view: view.trace("b-1").status == "completed")
        produce(settings, commands)
        looks = looks_for(("cmd.new.v1", 0), monkeypatch)
        assert eventually(settings, is_now("b-1", "completed"))
        assert soon(lambda: True in looks)
    assert looks.index(True) <= 1, "the first, or the second if the first had begun before"
    assert 2 * role.LOOK < 10


def looks_for(partition: Partition, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each look for new topics from now on, whether this partition was read after it."""
    found: list[bool] = []
    look = role._Projection._look

    def looked(projection: role._Projection) -> None:
        look(projection)
        found.append(partition in projection._positions)

    monkeypatch.setattr(role._Projection, "_look", looked)
    return found


def test_kill_9_in_the_middle_loses_and_doubles_nothing(settings: Settings, tmp_path: Path) -> None:
    """The positions are in the SQL transaction of what was read: it goes on exactly there."""
    traffic = traffic_on(settings)
    for number in range(600):
        (traffic.completed if number % 2 else traffic.compensated)(f"c-{number}", number)
    third = len(traffic.records) // 3
    log = tmp_path / "view.log"
    process = start(settings, log)
    try:
        for part in (
            traffic.records[:third],
            traffic.records[third : 2 * third],
            traffic.records[2 * third :],
        ):
            before = sum_of_positions(settings)
            produce(settings, part)
            assert eventually(settings, partial(is_past, before)), log.read_text()
            process.kill()
            process.wait()
            process = start(settings, log)
        for number in range(600):
            assert eventually(settings, is_now(f"c-{number}", "completed" if number % 2 else "compensated"))
    finally:
        process.terminate()
        process.wait()
    with View(settings.view_url) as view:
        traces = [view.trace(f"c-{number}") for number in range(600)]
        found = [len(view.find(f"order_id={number}")) for number in range(600)]
    assert {len(trace.timeline) for trace in traces} == {5, 9}
    assert {message.seen for trace in traces for message in trace.timeline} == {1}
    assert set(found) == {1}


def is_past(position: int, view: View) -> bool:
    return sum(view.positions().values()) > position


def sum_of_positions(settings: Settings) -> int:
    try:
        with View(settings.view_url) as view:
            return sum(view.positions().values())
    except NoViewError:
        return -1


def test_a_deleted_database_is_built_again(settings: Settings) -> None:
    """It is a projection: Kafka has everything."""
    traffic = traffic_on(settings)
    traffic.compensated("d-1")
    produce(settings, traffic.records)
    with viewing(settings):
        assert eventually(settings, is_now("d-1", "compensated"))
    with View(settings.view_url) as view:
        before = view.trace("d-1")
    for file in settings.home.glob("view.db*"):
        file.unlink()
    with viewing(settings):
        assert eventually(settings, is_now("d-1", "compensated"))
    with View(settings.view_url) as view:
        assert view.trace("d-1") == before


def test_a_broker_restart_is_waited_for(
    own_kafka: DevBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While Kafka is away nothing is shown; afterwards nothing is missing."""
    settings = at_home(set_up(own_kafka.start()), tmp_path)
    traffic = Traffic()
    traffic.completed("tx-1")
    before = len(traffic.records)
    produce(settings, traffic.records)
    with viewing(settings):
        assert eventually(settings, is_now("tx-1", "completed"))
        own_kafka.stop()
        assert soon(lambda: "Connection refused" in caplog.text), "it has noticed"
        own_kafka.start()
        traffic.completed("tx-2")
        produce(settings, traffic.records[before:])
        assert eventually(settings, is_now("tx-2", "completed"))


def test_a_cluster_that_was_made_anew_is_another_one(own_kafka: DevBroker, tmp_path: Path) -> None:
    """Of the old cluster's transactions nothing is left when its topics are gone."""
    settings = at_home(set_up(own_kafka.start()), tmp_path)
    traffic = Traffic()
    traffic.completed("tx-old")
    produce(settings, traffic.records)
    with viewing(settings):
        assert eventually(settings, is_now("tx-old", "completed"))
    own_kafka.reset()
    anew = at_home(set_up(own_kafka.start()), tmp_path)
    traffic = Traffic()
    traffic.order("tx-new")
    produce(anew, traffic.records)
    with viewing(anew):
        assert eventually(settings, lambda view: view.counts() == {("checkout", "running"): 1})


def test_status_tells_what_runs_and_how_far(settings: Settings) -> None:
    """The view runs, nobody else does; nothing is left to read."""
    traffic = traffic_on(settings)
    traffic.order("e-1")
    produce(settings, traffic.records)
    with viewing(settings):
        assert eventually(settings, lambda view: sum(view.positions().values()) > 0)
        assert eventually(
            settings, lambda view: "view" in view.seen()
        )  # its first sign of life comes after that
        found = inspect(settings, lambda: View(settings.view_url))
    assert found.broker_error == ""
    assert [(one.name, one.is_running) for one in found.roles] == [
        ("intake", False),
        ("engine", False),
        ("view", True),
    ]
    assert len(found.shards) == SHARDS
    assert [problem.what.partition(" ")[0] for problem in diagnose(found)][:2] == ["intake", "engine"]


def test_without_a_broker_status_says_so(tmp_path: Path) -> None:
    """It does not raise: that nobody answers is the answer."""
    away = at_home(KafkaSettings("127.0.0.1:1"), tmp_path)
    found = inspect(away, lambda: View(away.view_url))
    assert "127.0.0.1:1 does not answer" in diagnose(found)[0].what
