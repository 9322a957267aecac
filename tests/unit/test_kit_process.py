"""Around the handlers: logs, metrics, health, instances, public names."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import kantor
from kantor import ConfigError, logs, topics
from kantor.health import HealthServer
from kantor.instance import Instance
from kantor.metrics import Metrics
from waiting import PATIENCE


def log_record(**extra: object) -> logging.LogRecord:
    record = logging.makeLogRecord(
        {"msg": "got %d", "args": (3,), "levelno": 20, "levelname": "INFO", **extra}
    )
    record.created = 1_769_860_800.5
    return record


def test_text_logs() -> None:
    """A text log line has time, level, service, message and the structured details."""
    line = logs.TextFormatter("payment").format(log_record(action="batch", count=3))
    assert line == "2026-01-31T12:00:00.500Z INFO payment: got 3 action=batch count=3"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("no space", '"no space"'),
        ("a=b", '"a=b"'),
        ('"', '"\\""'),
        ("", '""'),
        ("two\nlines", '"two\\nlines"'),
        ("évt/0", "évt/0"),
    ],
)
def test_what_a_program_could_not_tell_apart_is_quoted(value: str, shown: str) -> None:
    """Each detail is one key and one value, and a record is one line."""
    assert logs.TextFormatter("payment").format(log_record(why=value)).endswith(f" why={shown}")


def test_json_logs() -> None:
    """A JSON log line has the same as fields."""
    line = logs.JsonFormatter("payment").format(log_record(action="batch", name="kantor.service"))
    assert json.loads(line) == {
        "time": "2026-01-31T12:00:00.500Z",
        "level": "INFO",
        "service": "payment",
        "logger": "kantor.service",
        "message": "got 3",
        "action": "batch",
    }


def test_tracebacks_in_json_logs() -> None:
    """A traceback is a field of the line, not further lines."""
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        line = logs.JsonFormatter("payment").format(log_record(exc_info=sys.exc_info()))
    assert "ZeroDivisionError" in json.loads(line)["traceback"]


def test_librdkafka_does_not_flood_the_log() -> None:
    """What librdkafka repeats is logged once in ten seconds; what else there is to say is logged."""
    lines = logs.Repeats()

    def refused(client: str, after: int, created: float) -> logging.LogRecord:
        text = f"FAIL [{client}]: Connection refused (after {after}ms in state CONNECT)"
        return logging.makeLogRecord({"name": "kantor.kafka", "msg": text, "created": created})

    assert lines.filter(refused("a", 0, 100.0))
    assert not lines.filter(refused("a", 3, 100.1))
    assert lines.filter(refused("b", 0, 100.1))
    assert lines.filter(refused("a", 0, 110.1))


@pytest.mark.parametrize(("name", "value"), [("KANTOR_LOG", "xml"), ("KANTOR_LOG_LEVEL", "LOUD")])
def test_wrong_log_settings(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A wrong log setting is refused, with the allowed ones."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        logs.configure("payment")


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health() -> None:
    """Alive while it runs, ready when it says so, metrics in between."""
    metrics = Metrics()
    metrics.messages.labels("a.B", "answered").inc(2)
    ready: list[bool] = []
    server = HealthServer(metrics, lambda: bool(ready), 0)
    assert get(server.port, "/healthz") == (200, "ok\n")
    assert get(server.port, "/readyz") == (503, "not ready\nit has not begun yet, or is about to end\n")
    ready.append(True)
    assert get(server.port, "/readyz") == (200, "ready\n")
    assert 'kantor_kit_messages_total{outcome="answered",type="a.B"} 2.0' in get(server.port, "/metrics")[1]
    assert get(server.port, "/else")[0] == 404
    server.close()


def test_a_taken_port() -> None:
    """A port that another program has is refused, by name of the setting."""
    server = HealthServer(Metrics(), lambda: True, 0)
    with pytest.raises(ConfigError, match="KANTOR_HTTP_PORT"):
        HealthServer(Metrics(), lambda: True, server.port)
    server.close()


def test_metric_names() -> None:
    """All metrics have our prefix, and base units."""
    found = {metric.name for metric in Metrics().registry.collect()}
    assert found == {
        "kantor_kit_messages",
        "kantor_kit_handler_seconds",
        "kantor_kit_retries",
        "kantor_kit_dead_letters",
        "kantor_kit_fenced",
        "kantor_kit_expired",
        "kantor_kit_inbox_hits",
        "kantor_kit_skipped",
        "kantor_kit_in_flight",
        "kantor_kit_commit_seconds",
        "kantor_kit_clock_ahead_seconds",
        "kantor_kit_resets",
    }


def test_instances_are_unique(tmp_path: Path) -> None:
    """Two living processes of one service have two names; other services' names don't matter."""
    first, second = Instance("payment", tmp_path), Instance("payment", tmp_path)
    other = Instance("stock", tmp_path)
    assert first.name != second.name
    assert first.name == other.name
    for instance in (first, second, other):
        instance.close()


def test_instances_are_stable(tmp_path: Path) -> None:
    """A process that starts again has its predecessor's name: it ends at once what that one left open."""
    first = Instance("payment", tmp_path)
    first.close()
    second = Instance("payment", tmp_path)
    assert second.name == first.name
    second.close()


def test_a_killed_process_frees_its_name(tmp_path: Path) -> None:
    """A process that was killed holds its name no longer."""
    code = (
        "import os, pathlib, sys; from kantor.instance import Instance;"
        "i = Instance('payment', pathlib.Path(sys.argv[1])); print(i.name, flush=True); os.kill(os.getpid(), 9)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    second = Instance("payment", tmp_path)
    assert second.name == ran.stdout.strip()
    second.close()


def test_a_named_instance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """KANTOR_INSTANCE names the instance: a StatefulSet's pod, for example."""
    monkeypatch.setenv("KANTOR_INSTANCE", "payment/3")
    assert Instance("payment", tmp_path).name == "payment-3"


@pytest.mark.parametrize("text", ["0", "-1", "many"])
def test_wrong_partition_counts(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A number of partitions that is none is refused."""
    monkeypatch.setenv("KANTOR_TOPIC_PARTITIONS", text)
    with pytest.raises(ConfigError, match="KANTOR_TOPIC_PARTITIONS"):
        topics.partitions()


def test_public_names() -> None:
    """These names are promised to service authors."""
    assert sorted(kantor.__all__) == [
        "ConfigError",
        "Context",
        "KafkaSettings",
        "KantorError",
        "Message",
        "Publisher",
        "Retryable",
        "Service",
        "SqliteStore",
        "StepFailed",
        "TransactionEnded",
    ]
    assert all(getattr(kantor, name) for name in kantor.__all__)


def test_the_envelope_loads_no_kafka() -> None:
    """The orchestrator's core imports the envelope; that must not load a Kafka client."""
    code = "import sys, kantor.envelope; print('confluent_kafka' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
