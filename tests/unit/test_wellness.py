"""``/readyz`` says the truth while something hangs: a loop that does not turn, a position that stands still."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import Clients, Partition
from kantor.errors import ConfigError, KafkaUnavailableError
from kantor.health import HealthServer, Readiness
from kantor.kafka import KafkaSettings
from kantor.metrics import Metrics
from kantor_orchestrator.config import Settings
from kantor_orchestrator.process.pulse import Pulse
from kantor_orchestrator.process.wellness import Wellness
from kantor_orchestrator.running import roles
from waiting import PATIENCE, until

JOURNAL = ("journal", 3)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def wellness(time: Time) -> Wellness:
    return Wellness(time)


def test_a_loop_that_turns_is_well(wellness: Wellness, time: Time) -> None:
    """Each beat says: again within seven seconds."""
    assert wellness.reasons() == []
    for _ in range(5):
        wellness.beat("engine")
        time.now += 6.0
        assert wellness.reasons() == []
    time.now += 3.0
    assert wellness.reasons() == ["the loop of engine has been stuck for 9 s"]
    assert wellness.longest() == 9.0
    wellness.beat("engine")
    assert (wellness.reasons(), wellness.longest()) == ([], 0.0)


def test_a_loop_may_ask_for_patience_once(wellness: Wellness, time: Time) -> None:
    """Before something that takes long; with the next beat it is as before."""
    wellness.beat("engine", 60.0)
    time.now += 59.0
    assert wellness.reasons() == []
    wellness.beat("engine")
    time.now += 8.0
    assert wellness.reasons() == ["the loop of engine has been stuck for 8 s"]
    wellness.forget("engine")
    assert wellness.reasons() == []


def test_a_position_that_stands_still_before_its_end_is_told(wellness: Wellness, time: Time) -> None:
    """With where it stands, how long, and where its end is."""
    wellness.position("shard 3", 17, 17)
    time.now += 3_600.0  # nothing came
    wellness.position("shard 3", 17, 90)
    time.now += 6.0
    wellness.position("shard 3", 17, 95)
    assert wellness.reasons() == []
    time.now += 3.0
    assert wellness.reasons() == ["shard 3 has been at 17 for 9 s; the end is 95"]
    wellness.position("shard 3", 18)
    assert wellness.reasons() == []


def test_the_end_may_be_asked_of_kafka(wellness: Wellness, time: Time) -> None:
    """So a position is told, too, whose owner hears of nothing new."""
    wellness.position("shard 3", 17, place=JOURNAL)
    wellness.position("apart", 5)
    assert wellness.places() == [JOURNAL]
    wellness.ends({JOURNAL: 90})
    time.now += 12.0
    assert wellness.reasons() == ["shard 3 has been at 17 for 12 s; the end is 90"]
    wellness.ends({JOURNAL: 17})
    assert wellness.reasons() == []


def test_nobody_is_blamed_while_kafka_is_away(wellness: Wellness, time: Time) -> None:
    """Patience begins again with each time that it is said."""
    wellness.beat("engine")
    wellness.position("shard 3", 17, 90)
    time.now += 6.0
    wellness.excuse()
    time.now += 6.0
    assert wellness.reasons() == []
    time.now += 2.0
    assert len(wellness.reasons()) == 2


def test_what_is_missing_is_waited_for(wellness: Wellness, time: Time) -> None:
    """After the same patience, with how long; it is nothing that a new process would mend."""
    wellness.missing({"shard 3": (time.now, "is not taken: no luck")})
    time.now += 6.0
    assert wellness.waits() == []
    time.now += 3.0
    assert wellness.waits() == ["shard 3 is not taken: no luck, for 9 s"]
    assert (wellness.reasons(), wellness.longest()) == ([], 0.0)
    wellness.missing({})
    assert wellness.waits() == []


class Cluster:
    """A cluster that answers or not."""

    def __init__(self) -> None:
        self.end = 90
        self.is_there = True

    def admin(self, _client_id: str) -> Cluster:
        return self

    def topics(self, _timeout: float) -> dict[str, int]:
        if not self.is_there:
            raise KafkaUnavailableError("away")
        return {}

    def ends(self, places: list[Partition], _timeout: float) -> dict[Partition, int]:
        return dict.fromkeys(places, self.end)


def test_the_pulse_leaves_a_wrong_setting_to_its_role(
    wellness: Wellness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role ends with it, and says it once: no traceback beside it."""
    raised = list[object]()

    class Wrong:
        def admin(self, _: str) -> None:
            raise ConfigError("KANTOR_KAFKA_X is no setting")

    pulse = Pulse(cast("Clients", Wrong()), "test", lambda _: None, wellness, interval=0.001)
    monkeypatch.setattr(threading, "excepthook", raised.append)
    pulse.start()
    pulse._thread.join(PATIENCE)
    assert (pulse._thread.is_alive(), raised) == (False, [])


def test_the_pulse_asks_for_the_ends_and_excuses(wellness: Wellness, time: Time) -> None:
    """It is the one thread that asks Kafka, whatever hangs in the others."""
    cluster, told = Cluster(), list[bool]()
    wellness.position("shard 3", 17, place=JOURNAL)
    pulse = Pulse(cast("Clients", cluster), "test", told.append, wellness, interval=0.001)
    pulse.start()
    try:
        until(lambda: len(told) > 2, "Kafka was asked")
        time.now += 12.0
        assert wellness.reasons() == ["shard 3 has been at 17 for 12 s; the end is 90"]
        cluster.is_there = False
        until(lambda: not wellness.reasons(), "it is excused")
    finally:
        pulse.stop()


class Ask:
    """A server of ``/readyz``, and who asks it."""

    def __init__(self, ready: Callable[[], bool | Readiness]) -> None:
        self.server = HealthServer(Metrics(), ready, 0)

    def __call__(self, accept: str = "") -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.server.url}/readyz", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def asked() -> Iterator[tuple[Ask, list[str]]]:
    reasons: list[str] = []
    ask = Ask(lambda: Readiness(reasons, waits=False))
    yield ask, reasons
    ask.server.close()


def test_readyz_gives_the_reasons(asked: tuple[Ask, list[str]]) -> None:
    """As lines, or as JSON for who asks for that."""
    ask, reasons = asked
    assert ask() == (200, "ready\n")
    reasons += ["shard 3 stands", "shard 4 stands"]
    assert ask() == (503, "not ready\nshard 3 stands\nshard 4 stands\n")
    status, text = ask("application/json")
    assert (status, json.loads(text)) == (503, {"ready": False, "reasons": reasons, "waits": False})


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/metrics", "/else"])
def test_head_is_answered_as_get_without_the_body(asked: tuple[Ask, list[str]], path: str) -> None:
    """Load balancers ask so."""
    connection = HTTPConnection("127.0.0.1", asked[0].server.port, timeout=60)
    connection.request("HEAD", path)
    answer = connection.getresponse()
    assert answer.status == (404 if path == "/else" else 200)
    assert int(answer.headers["Content-Length"]) > 0
    assert answer.read() == b""
    connection.close()


def test_a_role_that_stands_still_is_not_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """``/readyz`` says why, and that a new process may mend it; a role that only begins waits for something."""
    stop, turn, urls = threading.Event(), threading.Event(), list[str]()
    wellnesses: list[Wellness] = []

    def role(
        _settings: Settings, _shards: int, _registry: CollectorRegistry, wellness: Wellness
    ) -> roles.Life:
        wellnesses.append(wellness)

        def live(stop: threading.Event, ready: Callable[[], None]) -> None:
            turn.wait()
            wellness.beat("test", 0.0)
            ready()
            stop.wait()

        return live

    monkeypatch.setitem(roles.ROLES, "test", role)
    monkeypatch.setattr(roles, "agree", lambda *_: 1)
    monkeypatch.setattr(KafkaSettings, "admin", lambda *_: Cluster())
    settings = Settings(KafkaSettings("127.0.0.1:1"), tmp_path, "")
    running = threading.Thread(target=roles.run_role, args=("test", settings, stop, urls.append))
    running.start()

    def told() -> dict[str, Any]:
        request = urllib.request.Request(f"{urls[0]}/readyz", headers={"Accept": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return cast("dict[str, Any]", json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return cast("dict[str, Any]", json.load(error))

    try:
        until(lambda: urls, "it serves")
        assert told() == {"ready": False, "reasons": ["it begins"], "waits": True}
        turn.set()
        until(lambda: not told()["waits"], "it hangs")
        assert told()["reasons"] == ["the loop of test has been stuck for 0 s"]
        wellnesses[0].beat("test")
        wellnesses[0].missing({"shard 3": (0.0, "is not taken")})
        assert (told()["waits"], told()["reasons"][0].partition(",")[0]) == (True, "shard 3 is not taken")
    finally:
        stop.set()
        turn.set()
        running.join(60)
