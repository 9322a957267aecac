"""The demo's processes: started, ended, and none left behind.

Everything that the demo starts inherits a random mark in its environment (``KANTOR_DEMO``), and so does whatever those
processes start in turn. A process is ours only if it bears the mark: pids may be somebody else's by now. Three nets, each
for what falls through the one above:

1. The demo ends its children in reverse order.
2. The guard (``guard.py``), a process of its own, does it when the demo dies without a word: its end of a pipe closes.
3. The next demo in this folder does it with the mark that the last one wrote down.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from kantor_orchestrator.running.supervisor import end

ENV_MARK = "KANTOR_DEMO"
MARK_FILE = "demo.mark"
#: Lines of its log that tell why a process died.
LINES = 15
#: Seconds that a process gets to finish its batch; `kantor run` gives its roles 20.
GRACE = 25.0
#: Seconds after which a process that survives SIGKILL hangs in the kernel: nothing can be done about it.
_KILLED = 10.0


class DemoError(Exception):
    """The demo can't go on. The message says why, and where to look."""


class DemoProcess:
    """One process and its log."""

    def __init__(self, name: str, arguments: Iterable[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the demo alone, which ends the others in order.
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """The end of what it said since it was started."""
        with self.log.open("rb") as file:
            file.seek(self._start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LINES:])


class DemoProcesses:
    """The processes that run now, in the order of their start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, DemoProcess] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str) -> None:
        """``python <arguments>``; what it says goes to ``<name>.log``."""
        log = self._logs / f"{name}.log"
        self._running[name] = DemoProcess(name, arguments, log)

    def pid(self, name: str) -> int:
        return self._running[name].process.pid

    def stop(self, *names: str) -> None:
        """SIGTERM to these at once; SIGKILL to those that are still there after ``GRACE`` seconds."""
        end([self._running[name].process for name in names if name in self._running], GRACE)
        for name in names:
            self._running.pop(name, None)

    def kill(self, name: str) -> None:
        """SIGKILL: as a crash would do it."""
        child = self._running.pop(name)
        child.process.kill()
        child.process.wait()

    def stop_all(self, *last: str) -> None:
        """All of them, those named ``last`` after the others."""
        self.stop(*[name for name in self._running if name not in last])
        self.stop(*last)

    def check(self) -> None:
        """Raises ``DemoError`` with the end of its log if one of them has died by itself."""
        for child in self._running.values():
            code = child.process.poll()
            if code is not None:
                raise DemoError(
                    f"{child.name} ended by itself (exit code {code}). The end of {child.log}:\n{child.said()}"
                )

    def logs(self) -> str:
        """The end of each log, for when something does not happen and nobody knows why."""
        return "\n".join(f"{child.log}:\n{child.said()}" for child in self._running.values())


def new_mark(home: Path) -> str:
    """A mark, written down in ``home`` before anything bears it."""
    mark = secrets.token_hex(16)
    (home / MARK_FILE).write_text(mark, encoding="utf-8")
    return mark


def last_mark(home: Path) -> str | None:
    """The mark of the last demo in this folder."""
    try:
        return (home / MARK_FILE).read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None


def bearers(mark: str, but: str = "") -> list[psutil.Process]:
    """Every living process that bears the mark, but for this one and those with the word ``but`` in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.environ().get(ENV_MARK) != mark:
                continue
            if not but or but not in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue  # gone, a zombie, or somebody else's
    return found


def sweep(mark: str, *, but: str = "", grace: float = GRACE) -> list[str]:
    """End whatever still bears the mark: SIGTERM, and SIGKILL after ``grace`` seconds. What was found there.

    ``but``: spare those with this word in their command.
    """
    names: dict[int, str] = {}
    deadline, number = time.monotonic() + grace, signal.SIGTERM
    last = deadline + _KILLED
    while (found := bearers(mark, but)) and time.monotonic() < last:
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        for process in found:
            try:
                if process.pid not in names or number is signal.SIGKILL:
                    names[process.pid] = f"{process.pid} ({' '.join(process.cmdline()[:4])})"
                    process.send_signal(number)
            except psutil.Error:
                continue  # gone meanwhile
        time.sleep(0.05)
    return list(names.values())
