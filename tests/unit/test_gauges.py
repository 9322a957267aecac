"""What somebody who watches is told: how far engine and intake are behind, what waits for a person, whether Kafka answers."""

from __future__ import annotations

import logging
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import Clients, Record
from kantor.errors import ConfigError, KafkaUnavailableError
from kantor.health import HealthServer
from kantor.metrics import Metrics
from kantor_orchestrator.engine.gauges import look
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.timers import ShardTimers
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.process.pulse import Pulse
from kantor_orchestrator.process.wellness import Wellness
from kantor_orchestrator.running.supervisor import supervise
from kantor_orchestrator.view.census import count
from kantor_orchestrator.view.metrics import CensusMetrics
from unit.intake_kit import EVENT, Running
from view_traffic import Traffic, project

NOW = 1_000_000


def shard(*, entry_at: int = 0, verdict_at: int = 0, pause_at: int = 0, waits: bool = False) -> Shard:
    """What is looked at of one."""
    timers = ShardTimers(horizon=1 << 60)
    for kind, due in (("timeout", verdict_at), ("retry", pause_at)):
        if due:
            timers.set((due, "tx", kind, "step", 1, 1))
    record = cast("Record", SimpleNamespace(timestamp=lambda: (1, entry_at)))
    return cast(
        "Shard",
        SimpleNamespace(
            pending=deque([record] if entry_at else []),
            timers=timers,
            not_before=1.0 if waits else 0.0,
            transactions=range(7),
            store_trouble="the disk is full" if waits else "",
        ),
    )


@pytest.mark.parametrize(
    ("shards", "behind", "overdue", "waiting"),
    [
        ([], 0, 0, 0),
        ([shard(), shard()], 0, 0, 0),
        ([shard(entry_at=NOW - 500), shard(entry_at=NOW - 42_000)], 42, 0, 0),
        ([shard(entry_at=NOW + 3_000)], 0, 0, 0),  # the broker's clock is ahead
        ([shard(verdict_at=NOW - 9_000, pause_at=NOW - 2_000), shard(pause_at=NOW - 4_000)], 0, 9, 0),
        ([shard(verdict_at=NOW + 9_000)], 0, 0, 0),
        ([shard(waits=True, entry_at=NOW - 1_000), shard()], 1, 0, 1),
    ],
)
def test_an_engine_tells_how_its_shards_stand(
    shards: list[Shard], behind: float, overdue: float, waiting: int
) -> None:
    """The oldest entry that waits, the timer that is most overdue, the shards that stand still; of all its shards."""
    registry = CollectorRegistry()
    look(
        shards, EngineMetrics(registry), cast("BrokerTime", SimpleNamespace(now=lambda: NOW, ahead=lambda: 0))
    )
    assert [
        registry.get_sample_value(f"kantor_engine_{name}")
        for name in (
            "behind_seconds",
            "timer_overdue_seconds",
            "waiting_shards",
            "stores_without_disk",
            "shards",
            "cached_transactions",
        )
    ] == [behind, overdue, waiting, waiting, len(shards), 7 * len(shards)]


def test_intake_tells_what_is_not_journaled_yet() -> None:
    """With each sample of the ends; and one that has nothing to read is behind with nothing."""
    running = Running({EVENT: 1})
    running.turn(300)
    assert running.value("watermark_timestamp_seconds") == pytest.approx(
        running.broker.clock.now() / 1000, abs=11
    )
    assert running.value("behind_records") == 0
    running.aside.slow = True  # the broker confirms nothing from now on
    for _ in range(3):
        running.send()
    running.turn(3_000)
    assert running.value("behind_records") == 3


def test_the_view_counts_what_is_open_and_what_needs_a_person(tmp_path: Path) -> None:
    """By saga; a saga that has nothing open any more is told with 0."""
    traffic = Traffic()
    traffic.completed("tx-done")
    for number in (1, 2):
        cause = traffic.order(f"tx-{number}", number)
        traffic.event(f"tx-{number}", "inventory.StockReserved", cause=cause)
    traffic.hold("hold", "checkout")
    project(traffic, tmp_path / "view.db")
    registry = CollectorRegistry()
    metrics = CensusMetrics(registry)
    count(tmp_path / "view.db", metrics)
    value = registry.get_sample_value
    assert value("kantor_transactions_open", {"saga": "checkout", "status": "running"}) == 2
    assert value("kantor_transactions_open", {"saga": "checkout", "status": "compensating"}) == 0
    assert value("kantor_incidents_open", {"saga": "checkout"}) == 0
    assert value("kantor_held", {"saga": "checkout"}) == 1
    metrics.counted({}, {"checkout": 3}, 12.5, set())
    assert value("kantor_transactions_open", {"saga": "checkout", "status": "running"}) == 0
    assert value("kantor_incidents_open", {"saga": "checkout"}) == 3
    assert value("kantor_incident_oldest_age_seconds") == 12.5
    assert value("kantor_held", {"saga": "checkout"}) == 0
    metrics.forget()
    assert value("kantor_incidents_open", {"saga": "checkout"}) is None


def test_a_view_that_is_not_there_is_counted_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the projection goes on."""
    count(tmp_path / "none.db", CensusMetrics(CollectorRegistry()))
    assert [vars(record)["action"] for record in caplog.records] == ["census_failed"]


class Away:
    """A cluster that answers or not, as it is told, and lets somebody wait for the next question."""

    def __init__(self) -> None:
        self.is_there = True
        self.asked = threading.Semaphore(0)

    def admin(self, _client_id: str) -> Away:
        return self

    def topics(self, _timeout: float) -> dict[str, int]:
        self.asked.release()
        if not self.is_there:
            raise KafkaUnavailableError("all brokers are down")
        return {}


def test_it_is_known_whether_kafka_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Also while nothing happens; each change is logged once."""
    cluster, told = Away(), list[bool]()
    changed = threading.Condition()

    def hear(is_there: bool) -> None:
        with changed:
            told.append(is_there)
            changed.notify_all()

    def heard(what: Callable[[], bool]) -> bool:
        with changed:
            return changed.wait_for(what, 30)

    pulse = Pulse(cast("Clients", cluster), "test", hear, Wellness(), interval=0.001)
    with caplog.at_level(logging.INFO, "kantor.role"):
        pulse.start()
        assert heard(lambda: bool(told))
        assert [pulse.is_there] == [True]
        cluster.is_there = False
        assert heard(lambda: told[-3:] == [False] * 3)
        assert [pulse.is_there] == [False]
        cluster.is_there = True
        assert heard(lambda: told[-1])
        pulse.stop()
        pulse._thread.join(30)
    assert [vars(record)["action"] for record in caplog.records] == ["kafka_away", "kafka_back"]


def test_each_role_of_one_machine_has_a_port_of_its_own(tmp_path: Path) -> None:
    """KANTOR_HTTP_PORT is the first one's: Prometheus wants to know where they are, and two can't share one."""
    stop = threading.Event()
    program = (
        "import os, sys, time\nopen(sys.argv[1] + '.new', 'w').write(os.environ['KANTOR_HTTP_PORT'])\n"
        "os.rename(sys.argv[1] + '.new', sys.argv[1])\ntime.sleep(600)"
    )
    roles = ["intake", "engine", "view"]

    def command(role: str) -> list[str]:
        return [sys.executable, "-c", program, str(tmp_path / role)]

    running = threading.Thread(target=supervise, args=(roles, stop, command), kwargs={"http_port": 9470})
    running.start()
    try:
        waiting = threading.Event()
        while not all((tmp_path / role).exists() for role in roles):
            waiting.wait(0.02)
    finally:
        stop.set()
        running.join(60)
    assert [(tmp_path / role).read_text() for role in roles] == ["9470", "9471", "9472"]


def test_metrics_are_served_where_prometheus_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback unless somebody names another address; one that can't be had is an error that says what to do."""
    monkeypatch.setenv("KANTOR_HTTP_HOST", "0.0.0.0")
    server = HealthServer(Metrics(), lambda: True, 0)
    try:
        assert server._server.server_address[0] == "0.0.0.0"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=10) as answer:
            assert answer.status == 200
    finally:
        server.close()
    monkeypatch.setenv("KANTOR_HTTP_HOST", "192.0.2.1")
    with pytest.raises(ConfigError, match=r"KANTOR_HTTP_HOST=192\.0\.2\.1: .*; name another port"):
        HealthServer(Metrics(), lambda: True, 0)
    with pytest.raises(ConfigError, match="KANTOR_HTTP_PORT='99999' is not a port"):
        HealthServer(Metrics(), lambda: True, 99_999, "127.0.0.1")
