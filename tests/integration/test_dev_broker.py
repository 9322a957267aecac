"""`kantor dev` against a real Kafka: start, stop, what survives, and what people are told when it can't work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from brokers import running_broker
from kantor.kafka import KafkaSettings
from kantor_orchestrator.dev import broker as broker_module
from kantor_orchestrator.dev import config, ports, probe
from kantor_orchestrator.dev.artifacts import ArtifactCache, Lock, cache_folder
from kantor_orchestrator.dev.broker import DevBroker, running_address
from kantor_orchestrator.dev.errors import DevError
from kantor_orchestrator.dev.maven import MavenResolver
from kantor_orchestrator.dev.process import OwnProcess, start_detached
from kantor_orchestrator.dev.progress import PlainProgress
from kantor_orchestrator.dev.record import BrokerRecord
from waiting import PATIENCE, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevBroker]:
    """A broker that runs, for tests that only look at it."""
    with running_broker(tmp_path_factory.mktemp("running")) as broker:
        yield broker


def write(address: str, topic: str, value: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(PATIENCE) == 0


def read(address: str, topic: str) -> bytes | None:
    settings = {"bootstrap.servers": address, "group.id": "reader", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    found: list[bytes | None] = []

    def is_there() -> bool:
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            found.append(message.value())
        return bool(found)

    try:
        consumer.subscribe([topic])
        until(is_there, f"a record in {topic}", pause=0)
    finally:
        consumer.close()
    return found[0]


def record_of(broker: DevBroker) -> BrokerRecord:
    record = BrokerRecord.read(broker.folder / "broker.json")
    assert record
    return record


def test_starting_twice_starts_one(running: DevBroker) -> None:
    """A second start finds the first one's broker, which answers at the same address."""
    said: list[str] = []
    record = record_of(running)
    again = DevBroker(running.folder.parent, progress=PlainProgress(said.append))
    assert again.start() == record.bootstrap_servers
    assert said == [f"Apache Kafka {record.version} is already running (pid {record.pid})."]
    assert record_of(running) == record


def test_a_broker_that_is_slow_to_answer_is_waited_for(
    running: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine under load no answer comes as quickly as one is first asked for."""
    asked: list[float] = []

    def slowly(settings: KafkaSettings, timeout_s: float) -> bool:
        asked.append(timeout_s)
        time.sleep(min(timeout_s, 0.75))
        return timeout_s >= 0.75 and at_once(settings, PATIENCE)

    at_once = probe.answers
    monkeypatch.setattr(probe, "answers", slowly)
    assert DevBroker(running.folder.parent).start() == record_of(running).bootstrap_servers
    assert asked[0] < 0.75


def test_a_broker_that_runs_stays_on_its_port(running: DevBroker) -> None:
    """Asking for another port than that of the broker that runs is an error with the remedy."""
    with pytest.raises(DevError, match=r"is already running at .* `kantor dev stop` it first"):
        DevBroker(running.folder.parent, port=ports.free_port()).start()


def test_a_stop_ends_the_process_and_keeps_data_and_address(own_kafka: DevBroker) -> None:
    """After stop the process is gone; the next start has the same address and everything that was written."""
    home = own_kafka.folder.parent
    address = own_kafka.start()
    assert running_address(home) == address
    write(address, "kept", b"still here")
    pid = record_of(own_kafka).pid
    assert own_kafka.stop() == "stopped"
    assert running_address(home) is None
    assert not psutil.pid_exists(pid or 0) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert own_kafka.start() == address
    assert read(address, "kept") == b"still here"


def test_a_killed_broker_recovers_at_the_next_start(own_kafka: DevBroker) -> None:
    """After kill -9 the status says so, and a start brings back what was acknowledged."""
    address = own_kafka.start()
    write(address, "kept", b"acknowledged")
    own_kafka.kill()
    assert own_kafka.status().state == "died"
    assert own_kafka.start() == address
    assert read(address, "kept") == b"acknowledged"


def test_a_remembered_port_that_is_taken_is_replaced(own_kafka: DevBroker) -> None:
    """When somebody took last time's port, the broker moves to another and keeps its data."""
    address = own_kafka.start()
    write(address, "kept", b"moved along")
    own_kafka.stop()
    with socket.create_server(("127.0.0.1", record_of(own_kafka).port)):
        moved = own_kafka.start()
    assert moved != address
    assert read(moved, "kept") == b"moved along"


def test_a_chosen_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """When the port that was asked for is taken, nothing is started and the message names it and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ports.PortTakenError, match=rf"Port {port} on 127\.0\.0\.1 is taken\..*--port"):
            DevBroker(tmp_path, port=port).start()


def test_a_port_taken_in_the_last_moment_is_replaced(
    own_kafka: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When somebody takes the port between our choice and Kafka's start, another one is tried."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = iter([taken.getsockname()[1], *(ports.free_port() for _ in range(4))])
        monkeypatch.setattr(ports, "free_port", lambda *_unwanted: next(chosen))
        assert own_kafka.start() != f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_broker_that_dies_at_start_shows_its_last_words(own_kafka: DevBroker) -> None:
    """When Kafka dies at start, the message has the end of its log without stack frames, and the log's path."""
    own_kafka.start()
    own_kafka.stop()
    (own_kafka.data / "meta.properties").write_text("version=1\nnode.id=77\ncluster.id=x\n")
    with pytest.raises(DevError, match="Kafka died at start") as caught:
        own_kafka.start()
    assert str(own_kafka.log) in str(caught.value)
    assert "node" in str(caught.value)
    assert "\tat " not in str(caught.value)
    assert own_kafka.status().state == "stopped"


def test_a_disk_with_too_little_room_is_refused(
    own_kafka: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too little room Kafka isn't started; the message says how much is free, where, and the remedy."""
    monkeypatch.setattr(broker_module, "FREE_BYTES", 10**18)
    with pytest.raises(DevError, match=r"MB are free at .*own/kafka; Kafka needs .*KANTOR_HOME"):
        own_kafka.start()


def test_a_home_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    """When the home can't hold a folder, the message names it and the remedy."""
    (tmp_path / "home").write_text("")
    with pytest.raises(DevError, match=r"home.* is a file where a folder is needed.*KANTOR_HOME"):
        DevBroker(tmp_path / "home").start()


def test_a_home_may_have_any_letters(tmp_path: Path) -> None:
    """Spaces, dollar signs and letters beyond ASCII in the home's path are fine."""
    broker = DevBroker(tmp_path / "ho me $x é")
    try:
        broker.start()
    finally:
        broker.reset()
    assert broker.folder.exists()


def test_a_reset_leaves_nothing(own_kafka: DevBroker) -> None:
    """After reset no process and no data are left, and the next start knows no topic."""
    write(own_kafka.start(), "gone", b"x")
    own_kafka.reset()
    assert [path.name for path in own_kafka.folder.iterdir()] == ["lock"]
    assert (
        "gone"
        not in AdminClient({"bootstrap.servers": own_kafka.start()}).list_topics(timeout=PATIENCE).topics
    )


def test_a_foreign_process_with_our_pid_is_left_alone(tmp_path: Path) -> None:
    """After a reboot our pid may be somebody else's: without our token it is neither seen nor stopped."""
    process = start_detached(["sleep", "60"], "", tmp_path, tmp_path / "console")
    foreign = OwnProcess(process.pid, "another-token")
    assert not foreign.is_alive()
    assert foreign.stop(1) == "not running"
    try:
        assert psutil.pid_exists(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """What doesn't end in time after SIGTERM is ended by SIGKILL, and stop says so."""
    command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done", "my-token"]
    process = start_detached(command, "my-token", tmp_path, tmp_path / "console")
    until(lambda: "ready" in (tmp_path / "console").read_text(), "it ignores SIGTERM", pause=0.01)
    assert process.stop(0.3) == "killed"
    assert not process.is_alive()


def test_an_external_cluster_is_used_and_never_touched(kafka: str, tmp_path: Path) -> None:
    """An external cluster is only looked at: stop does nothing, reset is refused, no file is written."""
    cluster = DevBroker(tmp_path, external=kafka)
    assert cluster.start() == kafka
    assert (cluster.status().state, cluster.status().external) == ("running", True)
    assert cluster.stop() == "not running"
    with pytest.raises(DevError, match="not ours to empty"):
        cluster.reset()
    assert list(tmp_path.iterdir()) == []
    until(lambda: probe.answers(KafkaSettings(kafka), 5), "it answers")


def test_a_users_topic_is_not_made_by_a_typo(kafka: str) -> None:
    """A consumer of a topic that doesn't exist makes none."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "typo", "allow.auto.create.topics": True})
    consumer.subscribe(["evt.tpyo.v1"])
    consumer.poll(2)
    consumer.close()
    assert "evt.tpyo.v1" not in AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=PATIENCE).topics


def test_nothing_listens_beyond_loopback(running: DevBroker) -> None:
    """Broker and controller listen on 127.0.0.1 only."""
    listening = [
        c.laddr.ip for c in psutil.Process(record_of(running).pid).net_connections() if c.status == "LISTEN"
    ]
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def interrupt_a_start(home: Path) -> tuple[int, BrokerRecord]:
    """Ctrl-C as soon as Kafka's process is known: the command's exit code, and what it noted of that process."""
    environment = {**os.environ, "KANTOR_HOME": str(home)}
    # A shell that runs the tests in the background has them, and all that they start, ignore Ctrl-C.
    program = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = ['kantor', 'start']; runpy.run_module('kantor_orchestrator.cli.dev', run_name='__main__')"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as starting:
        record = None
        while not (record and record.process):  # the record is written before the start and after it
            assert starting.poll() is None, starting.stderr
            time.sleep(0.01)
            record = BrokerRecord.read(home / "kafka" / "broker.json")
        starting.send_signal(signal.SIGINT)
        return starting.wait(PATIENCE), record


def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C while Kafka comes up stops it."""
    for attempt in range(10):  # on a machine that holds us up Kafka may be ready before: then try once more
        code, record = interrupt_a_start(tmp_path / str(attempt))
        if code != 0:
            break
        DevBroker(tmp_path / str(attempt)).reset()
    assert code == 1
    assert record.process
    assert not record.process.is_alive()


def test_a_started_broker_outlives_the_terminal(running: DevBroker) -> None:
    """The broker is in a session of its own, where a terminal's signals don't reach it."""
    assert os.getsid(record_of(running).pid or 0) != os.getsid(0)


def test_the_cache_is_checked_before_a_start(tmp_path: Path) -> None:
    """A start with a tampered jar in the cache is refused before any of it runs."""
    real = ArtifactCache(cache_folder(os.environ), MavenResolver)
    lock = Lock.read(config.deploy_folder() / "jgo.lock.toml")
    copy = ArtifactCache(tmp_path / "cache", real.resolver)
    for path in real.ensure(lock, PlainProgress(print)):
        (copy.folder / "artifacts" / path.parent.name).mkdir(parents=True)
        (copy.folder / "artifacts" / path.parent.name / path.name).write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DevError, match=r"is not the file that jgo\.lock\.toml promises"):
        DevBroker(tmp_path / "other", cache=copy).start()


def test_the_registry_answers_like_confluents(registry: str) -> None:
    """The registry for tests speaks the Confluent API, and knows nothing but what it was told."""
    subject = f"subject-{uuid.uuid4().hex}"
    about = f"{registry}/subjects/{subject}/versions"
    with pytest.raises(urllib.error.HTTPError) as unknown:
        urllib.request.urlopen(about, timeout=PATIENCE)
    with unknown.value as refusal:
        assert (refusal.code, json.load(refusal)["error_code"]) == (404, 40401)
    told = json.dumps({"schema": '"string"'}).encode()
    kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(about, told, kind), timeout=PATIENCE) as response:
        assert json.load(response)["id"] > 0
    with urllib.request.urlopen(about, timeout=PATIENCE) as response:
        assert json.load(response) == [1]
    with urllib.request.urlopen(f"{registry}/subjects", timeout=PATIENCE) as response:
        assert subject in json.load(response)
