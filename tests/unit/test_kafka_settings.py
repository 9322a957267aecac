"""Settings of Kafka's clients from the environment: they win, are refused by name, or are nobody's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kantor.errors import ConfigError
from kantor.health import HealthServer
from kantor.kafka import KafkaSettings
from kantor.registry import RegistrySchemas
from kantor.topics import partitions
from kantor_orchestrator.config import NEVER_LONG, Settings


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What librdkafka is given, client by client."""
    found: list[dict[str, Any]] = []
    for name in ("Consumer", "Producer"):
        monkeypatch.setattr(f"confluent_kafka.{name}", found.append)
    monkeypatch.setattr("kantor.kafka.admin.AdminClient", found.append)
    return found


def test_what_the_user_sets_wins(monkeypatch: pytest.MonkeyPatch, given: list[dict[str, Any]]) -> None:
    """Every client gets it, also where Kantor has a value of its own."""
    wanted = {
        "session.timeout.ms": "45000",
        "linger.ms": "50",
        "transaction.timeout.ms": "60000",
        "fetch.wait.max.ms": "7",
    }
    for name, value in wanted.items():
        monkeypatch.setenv("KANTOR_KAFKA_" + name.upper().replace(".", "_"), value)
    settings = KafkaSettings.from_env("broker:9092")
    settings.consumer("c", group="g", extra={"fetch.wait.max.ms": 10})
    settings.producer("p", transactional_id="t", linger_ms=0)
    settings.admin()
    assert len(given) == 3
    assert all(config | wanted == config for config in given)


def test_a_mute_connection_is_left_soon(given: list[dict[str, Any]]) -> None:
    """A request that gets no answer is asked again after ten seconds; one to join a group after half a minute at most."""
    settings = KafkaSettings("broker:9092")
    settings.consumer("c", group="g")
    settings.producer("p")
    settings.admin()
    assert [config["socket.timeout.ms"] for config in given] == [10_000] * 3
    assert given[0]["max.poll.interval.ms"] == 30_000
    settings.consumer("intake", group="g", extra=NEVER_LONG)
    assert given[3]["max.poll.interval.ms"] == 15_000


def test_a_longer_session_needs_nothing_else() -> None:
    """librdkafka refuses a session that is longer than the pause between two polls may be."""
    settings = KafkaSettings("127.0.0.1:1", {"session.timeout.ms": "45000"})
    settings.consumer("c", group="g", extra=NEVER_LONG).close()  # else it had raised ConfigError


def test_a_shorter_kafka_transaction_needs_nothing_else() -> None:
    """librdkafka refuses one that is shorter than a request may take."""
    KafkaSettings("127.0.0.1:1", {"transaction.timeout.ms": "3000"}).producer(
        "p", transactional_id="t"
    ).purge()


@pytest.mark.parametrize(
    "name", ["ENABLE_AUTO_COMMIT", "PARTITION_ASSIGNMENT_STRATEGY", "ISOLATION_LEVEL", "TRANSACTIONAL_ID"]
)
def test_what_kantor_relies_on_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Positions, groups and Kafka transactions are none of the user's: refused by name, with the remedy."""
    monkeypatch.setenv(f"KANTOR_KAFKA_{name}", "x")
    with pytest.raises(ConfigError, match=f"KANTOR_KAFKA_{name}: .* is set by Kantor.*unset it"):
        KafkaSettings.from_env("broker:9092")


def test_what_kubernetes_sets_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service called kantor-kafka puts seven variables into each pod; none of them is librdkafka's."""
    for name in (
        "PORT",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_TCP",
        "PORT_9092_TCP",
        "PORT_9092_TCP_ADDR",
    ):
        monkeypatch.setenv(f"KANTOR_KAFKA_{name}", "tcp://10.0.0.7:9092")
    assert KafkaSettings.from_env("broker:9092").extra == {}


def test_a_port_that_kubernetes_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says where it comes from and what to do."""
    monkeypatch.setenv("KANTOR_HTTP_PORT", "tcp://10.0.0.8:80")
    with pytest.raises(ConfigError) as raised:
        Settings.from_env(bootstrap_servers="broker:9092")
    assert str(raised.value) == (
        "KANTOR_HTTP_PORT is 'tcp://10.0.0.8:80'; Kubernetes sets it for a Service called kantor-http: "
        "set it to a number, or rename the Service"
    )


def test_a_setting_that_librdkafka_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as an error of the configuration, with its name."""
    monkeypatch.setenv("KANTOR_KAFKA_SASSION_TIMEOUT_MS", "1")
    settings = KafkaSettings.from_env("127.0.0.1:1")
    with pytest.raises(ConfigError, match=r'"sassion.timeout.ms".*KANTOR_KAFKA_'):
        settings.producer("p")


def test_passwords_are_not_shown() -> None:
    """Neither in what settings look like, nor in what is said of a malformed URL."""
    assert "s3cret" not in repr(KafkaSettings("broker:9092", {"sasl.password": "s3cret"}))
    for url in (
        "user:s3cret@registry:8081",
        "https//user:s3cret@registry",
        "http://u:s3cret@[x",
    ):
        with pytest.raises(ConfigError) as raised:
            RegistrySchemas(url)
        assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("text", ["-1", " ", "4.0", "x", "\u0663", "\u00b2", "9" * 5_000, "100000000000"])
@pytest.mark.parametrize("name", ["KANTOR_SHARDS", "KANTOR_HTTP_PORT"])
def test_a_number_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """By the variable's name, with what it may be: also one whose digits are another script's, or too many to be read."""
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"{name} is .*give it a whole number from 0 to "):
        Settings.from_env(bootstrap_servers="broker:9092")


@pytest.mark.parametrize("text", ["0", "-1", "x", "\u0663", "9" * 5_000])
def test_a_number_of_partitions_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The kit's own number is read as the platform's are."""
    monkeypatch.setenv("KANTOR_TOPIC_PARTITIONS", text)
    with pytest.raises(ConfigError, match=r"KANTOR_TOPIC_PARTITIONS=.*whole number from 1 to "):
        partitions()


@pytest.mark.parametrize("text", ["99999", "\u0663", "9" * 5_000])
def test_a_port_of_a_service_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """By the variable's name."""
    monkeypatch.setenv("KANTOR_HTTP_PORT", text)
    with pytest.raises(ConfigError, match=r"KANTOR_HTTP_PORT=.* is not a port; give it a number"):
        HealthServer(SimpleNamespace(content_type="", text=bytes), lambda: True)


@pytest.mark.parametrize("host", ["\u00fc" * 100, "a" * 300, " "])
def test_a_host_that_can_be_none_is_told(host: str) -> None:
    """Whatever the system's resolver raises for it."""
    with pytest.raises(ConfigError, match=r"KANTOR_HTTP_HOST=.*an address of this machine"):
        HealthServer(SimpleNamespace(content_type="", text=bytes), lambda: True, 0, host)


@pytest.mark.parametrize("servers", ["", " ", ",", " , "])
def test_an_address_of_nothing_is_none(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    """An empty variable is the commonest mistake of a deployment."""
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", servers)
    with pytest.raises(ConfigError, match="set KANTOR_BOOTSTRAP_SERVERS"):
        KafkaSettings.from_env()


def test_a_home_that_can_be_no_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is looked for in it."""
    monkeypatch.setenv("KANTOR_HOME", "x" * 5_000)
    with pytest.raises(ConfigError, match=r"KANTOR_HOME=.*name another one"):
        Settings.from_env(bootstrap_servers="broker:9092")
