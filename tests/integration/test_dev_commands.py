"""`kantor dev` as people and scripts call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers import nobody_listens
from waiting import PATIENCE

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kantor_dev(tmp_path: Path) -> Iterator[Run]:
    """Runs `kantor dev ARGUMENTS` as a user would, in a home of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KANTOR_")}
    environment["KANTOR_HOME"] = str(tmp_path / "home")

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kantor_orchestrator.cli.dev", *arguments]
        return subprocess.run(
            command,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    yield run
    run("reset", "--yes")


def test_the_commands_speak_to_scripts_and_people(kantor_dev: Run, tmp_path: Path) -> None:
    """Data go to stdout and words to stderr; exit codes tell running, stopped and wrong usage apart."""
    assert kantor_dev("status").returncode == 4
    started = kantor_dev("start")
    assert started.returncode == 0, started.stderr
    status = json.loads(kantor_dev("status", "--json").stdout)
    assert status["state"] == "running"
    assert status["bootstrap_servers"] == started.stdout.strip()
    assert status["data"] == str(tmp_path / "home" / "kafka" / "data")
    assert status["disk_bytes"] > 0
    assert f"address  {started.stdout.strip()}" in kantor_dev("status").stdout
    assert "is already running" in kantor_dev("start").stderr
    assert kantor_dev("start", "--port", "1").returncode == 1
    assert kantor_dev("reset").returncode == 1  # nobody is there to say yes
    assert "Kafka is stopped." in kantor_dev("stop").stderr
    assert "nothing to stop" in kantor_dev("stop").stderr
    assert kantor_dev("start", "--port", "no").returncode == 2


def test_the_command_honours_the_external_cluster(kantor_dev: Run, kafka: str) -> None:
    """KANTOR_BOOTSTRAP_SERVERS is used, named in the messages, and checked."""
    used = kantor_dev("start", KANTOR_BOOTSTRAP_SERVERS=kafka)
    assert (used.returncode, used.stdout.strip()) == (0, kafka)
    assert "nothing is started" in used.stderr
    assert (
        json.loads(kantor_dev("status", "--json", KANTOR_BOOTSTRAP_SERVERS=kafka).stdout)["external"] is True
    )
    with nobody_listens() as nowhere:
        wrong = kantor_dev("start", KANTOR_BOOTSTRAP_SERVERS=nowhere)
    assert wrong.returncode == 1
    assert "doesn't answer" in wrong.stderr


def test_a_first_start_without_a_network_says_so(kantor_dev: Run, tmp_path: Path) -> None:
    """Without a network and an empty cache the start ends with one message, not with a traceback."""
    with nobody_listens() as nowhere:
        proxy = f"http://{nowhere}"
        result = kantor_dev(
            "start", XDG_CACHE_HOME=str(tmp_path / "cache"), HTTPS_PROXY=proxy, https_proxy=proxy
        )
    assert result.returncode == 1
    assert "Apache Kafka" in result.stderr
    assert "Connect to the network for this first start" in result.stderr
    assert "Traceback" not in result.stderr
