"""``kantor run`` keeps its roles alive and leaves none behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from kantor_orchestrator.supervisor import supervise
from waiting import PATIENCE

ENDLESS = "import sys, time, os\nopen(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\ntime.sleep(600)"


def started(path: Path, count: int) -> list[int]:
    """The pids that a role's processes have written, once there are ``count``."""
    done = threading.Event()
    while not path.exists() or len(path.read_text().splitlines()) < count:
        done.wait(0.02)
    return [int(line) for line in path.read_text().splitlines()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Running:
    """A supervisor in a thread."""

    def __init__(self, folder: Path, program: str, roles: Sequence[str]) -> None:
        self.stop = threading.Event()
        self.code: int | None = None
        self._folder, self._program, self._roles = folder, program, roles
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = supervise(
            self._roles,
            self.stop,
            lambda role: [sys.executable, "-c", self._program, str(self._folder / role)],
        )

    def end(self) -> int | None:
        self.stop.set()
        self._thread.join(PATIENCE)
        return self.code


def test_a_role_that_dies_is_started_again(tmp_path: Path) -> None:
    """A crash of one role is not the platform's end."""
    running = Running(tmp_path, ENDLESS, ["engine"])
    (first,) = started(tmp_path / "engine", 1)
    os.kill(first, signal.SIGKILL)
    _, second = started(tmp_path / "engine", 2)
    assert running.end() == 0
    assert not is_alive(second)


def test_stopping_ends_every_role(tmp_path: Path) -> None:
    """No process is left behind."""
    running = Running(tmp_path, ENDLESS, ["intake", "engine", "view"])
    pids = [started(tmp_path / role, 1)[0] for role in ("intake", "engine", "view")]
    assert running.end() == 0
    assert [pid for pid in pids if is_alive(pid)] == []


def test_wrong_settings_end_the_platform(tmp_path: Path) -> None:
    """A role that exits with 2 would fail for ever: the supervisor says so by its own exit code."""
    running = Running(tmp_path, "raise SystemExit(2)", ["engine"])
    running._thread.join(PATIENCE)
    assert running.code == 2
