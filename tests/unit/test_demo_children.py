"""The demo's processes: whatever happens, none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor_orchestrator.demo import children
from kantor_orchestrator.demo.children import ENV_MARK, DemoError, DemoProcesses, bearers, sweep
from kantor_orchestrator.demo.guard import guarded

ENDLESS = "import time; time.sleep(600)"
#: A process with a child in a session of its own, as the platform has them. Both say when they are there.
PARENT = (
    "import subprocess, sys, time; "
    f"subprocess.Popen([sys.executable, '-c', 'print(2, flush=True); {ENDLESS}'], start_new_session=True); "
    "print(1, flush=True); time.sleep(600)"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mark that everything which the test starts bears."""
    new = children.new_mark(tmp_path)
    monkeypatch.setenv(ENV_MARK, new)
    yield new
    sweep(new, grace=0)


def until_said(log: Path, lines: int) -> None:
    moment = threading.Event()
    while len(log.read_text().splitlines()) < lines:
        moment.wait(0.02)


def test_everything_is_stopped(tmp_path: Path, mark: str) -> None:
    """Stopping ends every child."""
    running = DemoProcesses(tmp_path)
    running.start("one", "-c", ENDLESS)
    running.start("two", "-c", ENDLESS)
    running.stop_all("one")
    assert bearers(mark) == []


def test_a_killed_child_can_be_started_again(tmp_path: Path, mark: str) -> None:
    """Under the same name, as another process."""
    running = DemoProcesses(tmp_path)
    running.start("one", "-c", ENDLESS)
    first = running.pid("one")
    running.kill("one")
    running.start("one", "-c", ENDLESS)
    assert [process.pid for process in bearers(mark)] == [running.pid("one")]
    assert running.pid("one") != first
    running.stop_all()


def test_a_child_that_dies_is_told_with_its_last_words(tmp_path: Path, mark: str) -> None:
    """Nobody has to look for the log of what went wrong."""
    running = DemoProcesses(tmp_path)
    running.start("one", "-c", "raise SystemExit('no such setting')")
    running._running["one"].process.wait()
    with pytest.raises(DemoError, match=r"(?s)one ended by itself.*no such setting"):
        running.check()


def test_a_sweep_ends_grandchildren(tmp_path: Path, mark: str) -> None:
    """A process is found by its mark, whoever started it."""
    running = DemoProcesses(tmp_path)
    running.start("one", "-c", PARENT)
    until_said(tmp_path / "one.log", 2)
    running.kill("one")
    assert len(sweep(mark)) == 1
    assert bearers(mark) == []


def test_a_sweep_kills_what_does_not_end(tmp_path: Path, mark: str) -> None:
    """SIGKILL follows SIGTERM."""
    running = DemoProcesses(tmp_path)
    running.start("one", "-c", STUBBORN)
    until_said(tmp_path / "one.log", 1)
    sweep(mark, grace=0.2)
    assert running._running["one"].process.wait() == -9


def test_a_sweep_spares_others(tmp_path: Path, mark: str) -> None:
    """A process without the mark is none of ours."""
    other = subprocess.Popen([sys.executable, "-c", ENDLESS], env={**os.environ, ENV_MARK: "another"})
    assert sweep(mark) == []
    assert other.poll() is None
    other.kill()
    other.wait()


def test_the_guard_ends_what_outlives_the_demo(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipe to the guard closes, however the demo ends, and the guard ends what still bears the mark."""
    monkeypatch.delenv(ENV_MARK)
    running = DemoProcesses(tmp_path)
    with guarded(mark):
        monkeypatch.setenv(ENV_MARK, mark)
        running.start("one", "-c", ENDLESS)
    assert running._running["one"].process.wait() == -15


def test_the_last_mark_is_known(tmp_path: Path) -> None:
    """The next demo finds what the last one left."""
    assert children.last_mark(tmp_path) is None
    assert children.new_mark(tmp_path) == children.last_mark(tmp_path)
