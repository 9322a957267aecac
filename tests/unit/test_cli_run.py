"""Which processes ``kantor run`` starts."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from kantor import logs
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.cli import run as command
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.cli.run import engines_by_default, platform


def test_as_many_engines_as_asked_for() -> None:
    """The other roles run once, in the order in which they are needed."""
    assert platform(3) == ("intake", "engine", "engine", "engine", "view", "api")


def test_engines_by_default() -> None:
    """One for each core, and never so many that nothing is left for the others."""
    assert 1 <= engines_by_default() <= 4


def test_a_number_of_engines_and_a_role() -> None:
    """They contradict each other: a usage error says what to do."""
    result = CliRunner().invoke(main, ["run", "--role", "engine", "--engines", "2"])
    assert result.exit_code == 2
    assert "repeat `kantor run --role engine`" in result.output


def test_kafka_may_come_later_than_the_platform(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine boots, and the broker is the slower one: the roles wait for it, and the log names the address and the remedy."""

    def agree(*_: object) -> int:
        raise KafkaUnavailableError("_TRANSPORT: Failed to get metadata")

    supervised = list[object]()

    def supervise(names: object, *_: object, **__: object) -> int:
        supervised.append(names)
        return 0

    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(command, "agree", agree)
    monkeypatch.setattr(command, "supervise", supervise)
    monkeypatch.setattr(command, "end_within", lambda *_: None)
    monkeypatch.setattr(logs, "configure", lambda _: None)
    result = CliRunner().invoke(main, ["run", "--engines", "1"])
    assert (result.exit_code, supervised) == (0, [("intake", "engine", "view", "api")])
    (line,) = [one.message for one in caplog.records if vars(one).get("action") == "kafka_away"]
    assert line.startswith("Kafka at 127.0.0.1:1 does not answer: _TRANSPORT")
    assert line.endswith("or correct KANTOR_BOOTSTRAP_SERVERS")
