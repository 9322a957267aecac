"""Services of the kit against a real Kafka: what they deliver when they are killed, stopped, joined and cut off."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration import kit_service
from integration.kit_space import MODES, Space, orders, stop
from kantor import ConfigError, KafkaSettings, Service, StepFailed
from kantor.clients import TopicSpec
from kantor.codec import Codec
from kantor.envelope import event_id, header_map, read
from kantor.runner import Runner
from kantor.schemas import KafkaSchemas
from kantor_examples.checkout.messages import OrderPlaced
from kantor_orchestrator.dev.broker import DevBroker
from waiting import PATIENCE, until


@pytest.fixture
def space(kafka: str, tmp_path: Path) -> Iterator[Space]:
    space = Space(kafka, tmp_path)
    yield space
    space.close()


# -- delivery


@pytest.mark.parametrize("mode", MODES)
def test_end_to_end(space: Space, mode: str) -> None:
    """An event is answered: in its transaction, caused by it, with its transaction as key."""
    space.start(mode)
    space.publish(1)
    space.handled()
    (record,) = space.read(space.captured.TOPIC, 1)
    envelope = read(record.headers())
    cause = event_id("o0", "inventory.StockReserved", 0)
    assert envelope.correlation_id == "o0"
    assert envelope.causation_id == cause
    assert envelope.id == event_id(cause, "payment.PaymentCaptured", 0)
    assert envelope.source == space.service
    assert record.key() == b"o0"
    value = Codec(KafkaSchemas(space.settings)).decode(record.value())
    assert value == {"order_id": "o0", "amount_cents": 5}


def test_kill_9_in_kafka_transactions(space: Space) -> None:
    """Killed again and again, a transactional service answers each event exactly once for read_committed readers."""
    count = 20_000
    process = space.start("transactional")
    space.publish(count)
    for part in (0.1, 0.3, 0.6):
        space.wait_for(int(count * part))
        process.kill()
        process.wait()
        process = space.start("transactional")
    answers = space.answers(count)
    assert Counter(answer.correlation_id for answer in answers) == orders(count)
    assert len({answer.id for answer in answers}) == count
    assert stop(process) == 0


@pytest.mark.parametrize("mode", ["plain", "store"])
def test_kill_9_at_least_once(space: Space, mode: str) -> None:
    """Killed again and again, a service answers each event, and again with the same id; with a store the effect is one."""
    count = 4_000
    process = space.start(mode)
    space.publish(count)
    for part in (0.1, 0.3, 0.6):
        space.wait_for(int(count * part))
        process.kill()
        process.wait()
        process = space.start(mode)
    answers = space.answers(count)
    assert mode == "plain" or space.effects() == orders(count)
    assert {answer.correlation_id for answer in answers} == set(orders(count))
    assert len({answer.id for answer in answers}) == count
    assert stop(process) == 0


def test_an_open_kafka_transaction_of_a_killed_process(space: Space) -> None:
    """The next process ends what a killed one left open: readers do not wait for its timeout, which is longer than they
    ever would here."""
    killed = space.start("transactional")
    killed.kill()
    killed.wait()  # it gives its name to the next one
    name = space.log().partition("transactional_id=")[2].split()[0]
    timeout = {"transaction.timeout.ms": int(3 * PATIENCE * 1000)}
    dead = space.settings.producer("dead", transactional_id=name, extra=timeout)
    dead.init_transactions()
    dead.begin()
    dead.produce(space.captured.TOPIC, b"", b"dead", [])
    dead.flush()
    space.start("transactional")
    space.publish(1)
    assert [answer.correlation_id for answer in space.answers(1)] == ["o0"]


@pytest.mark.parametrize("mode", MODES)
def test_drain(space: Space, mode: str) -> None:
    """On SIGTERM a service finishes its batch, commits and exits with 0: the next one repeats nothing."""
    process = space.start(mode, pause=0.002)
    space.publish(1_000)
    space.wait_for(50)
    assert stop(process) == 0
    space.start(mode)
    space.handled()
    answers = space.answers(1_000)
    assert Counter(answer.correlation_id for answer in answers) == orders(1_000)
    done = space.effects() if mode == "store" else Counter(space.calls.read_text().split())
    assert done == orders(1_000)


def test_two_replicas(space: Space) -> None:
    """While replicas come and go, each event is answered exactly once for read_committed readers."""
    count = 20_000
    first = space.start("transactional")
    space.publish(count // 2)
    second = space.start("transactional")
    space.publish(count // 2, count // 2)
    space.wait_for(int(count * 0.6))
    assert stop(first) == 0
    answers = space.answers(count)
    assert Counter(answer.correlation_id for answer in answers) == orders(count)
    assert second.poll() is None


def test_the_same_instance_twice(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that were given one name by mistake fence each other once; then both work."""
    monkeypatch.setenv("KANTOR_INSTANCE", "same")
    with running_here(space), running_here(space):
        space.publish(4_000)
        space.handled()
        answers = space.answers(4_000)
    assert Counter(answer.correlation_id for answer in answers) == orders(4_000)


@contextmanager
def running_here(space: Space) -> Iterator[None]:
    """The transactional service in a thread, from when it is ready."""
    runner = Runner(kit_service.service(space.name, None, transactional=True), space.settings, http_port=0)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        assert runner.wait_ready(PATIENCE)
        yield
    finally:
        runner.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("mode", MODES)
def test_broker_outage(own_kafka: DevBroker, tmp_path: Path, mode: str) -> None:
    """A service outlives its broker's crash: it goes on by itself, loses nothing, doubles nothing."""
    space = Space(own_kafka.start(), tmp_path)
    count = 4_000
    try:
        process = space.start(mode, pause=0.0005)
        space.publish(count)
        space.wait_for(int(count * 0.2))
        pid = own_kafka.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        time.sleep(3)
        own_kafka.start()
        space.publish(1, count)
        answers = space.answers(count + 1)
        assert {answer.correlation_id for answer in answers} == set(orders(count + 1))
        assert len({answer.id for answer in answers}) == count + 1
        assert process.poll() is None
        assert stop(process) == 0
        if mode == "store":
            assert space.effects() == orders(count + 1)
        if mode == "transactional":
            assert len(answers) == count + 1
    finally:
        space.close()


def test_sigterm_during_an_outage(own_kafka: DevBroker, tmp_path: Path) -> None:
    """A service that is told to stop while there is no broker stops."""
    space = Space(own_kafka.start(), tmp_path)
    try:
        process = space.start("plain")
        own_kafka.kill()
        until(lambda: "Connection refused" in space.log(), "it has noticed", space.logs)
        assert stop(process) == 0
    finally:
        space.close()


# -- failures


def test_dead_letter(space: Space) -> None:
    """An unreadable record is dead-lettered with its bytes, key and headers; the records behind it are answered."""
    space.start("plain")
    producer = space.settings.producer("test")
    headers = [("ce_type", b"inventory.StockReserved"), ("ce_correlationid", b"bad"), ("x", b"\xff")]
    for partition in range(4):
        producer.produce(space.reserved.TOPIC, b"no Avro", b"some key", headers, partition)
    producer.flush()
    space.publish(20)
    space.handled()
    assert len(space.answers(20)) == 20
    letters = space.read(f"dlq.{space.service}", 4)
    assert len(letters) == 4
    assert {(letter.value(), letter.key()) for letter in letters} == {(b"no Avro", b"some key")}
    found = header_map(letters[0].headers())
    assert found["x"] == b"\xff"
    assert found["__dlq.errors.topic"] == space.reserved.TOPIC.encode()
    assert b"not Avro in Confluent wire format" in found["__dlq.errors.message"]
    assert {header_map(letter.headers())["__dlq.errors.partition"] for letter in letters} == {
        b"0",
        b"1",
        b"2",
        b"3",
    }


def test_a_failing_event(space: Space) -> None:
    """A handler that can't go on reports StepFailed on the service's failure topic."""
    space.start("plain")
    space.publish(1, sku="down")
    space.handled()
    (record,) = space.read(f"evt.{space.service}.failure.v1", 1)
    value = Codec(KafkaSchemas(space.settings)).decode(record.value())
    assert StepFailed.from_avro(value) == StepFailed(
        code="unavailable",
        message="the bank does not answer",
        retryable=False,
        handling="inventory.StockReserved",
    )


def test_metrics_of_a_running_service(space: Space) -> None:
    """A running service tells how many messages it handled."""
    space.start("plain")
    space.publish(7)
    space.handled()
    port = space.log().partition("port=")[2].split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    assert 'kantor_kit_messages_total{outcome="answered",type="inventory.StockReserved"} 7.0' in text


def test_a_session_that_the_broker_refuses(space: Space) -> None:
    """A setting with which no service ever joins its group ends it, with its name and the remedy."""
    service = Service(space.name)

    @service.on(OrderPlaced)
    def noticed(event: OrderPlaced) -> None: ...

    runner = Runner(service, KafkaSettings(space.settings.bootstrap_servers, {"session.timeout.ms": "1"}))
    late = threading.Timer(PATIENCE, runner.stop)
    late.start()
    try:
        with pytest.raises(
            ConfigError, match=r"KANTOR_KAFKA_SESSION_TIMEOUT_MS: .* session of 1 ms; set it within"
        ):
            runner.run()
    finally:
        late.cancel()


# -- publishing


def test_publish_from_a_thread(space: Space) -> None:
    """A service publishes while it runs, from any thread; the same transaction id twice is one event twice."""
    service = Service(f"shop-{space.name}")
    service._settings = space.settings
    order = kit_service.moved(OrderPlaced, space.name)(
        order_id="o1", customer_id="c", sku="s", quantity=1, amount_cents=5
    )
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(service.publish(order, transaction_id="t1")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    new = service.publish(order)
    records = space.read(order.TOPIC, 3)
    assert ids == ["t1", "t1"]
    found = Counter(read(record.headers()).id for record in records)
    assert found == {event_id("t1", "shop.OrderPlaced", 0): 2, event_id(new, "shop.OrderPlaced", 0): 1}


def test_topics_are_created(space: Space) -> None:
    """A service makes the topics that it reads and writes, and leaves those alone that exist."""
    space.settings.admin().create_topics([TopicSpec(space.reserved.TOPIC, 2)])
    space.start("plain")
    topics = space.settings.admin().topics()
    assert topics[space.reserved.TOPIC] == 2
    assert topics[space.captured.TOPIC] == 4
    assert topics[f"evt.{space.service}.failure.v1"] == 4
    assert topics[f"dlq.{space.service}"] == 4
