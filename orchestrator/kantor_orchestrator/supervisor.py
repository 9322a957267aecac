"""``kantor run``: all roles on one machine, each in its own process, started again when one dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event

from kantor.health import ENV_PORT

log = logging.getLogger("kantor.run")

#: A role that dies is started again after this long (s), doubled each time up to the second number.
_BACKOFF, _MOST_BACKOFF = 0.5, 30.0
#: A role that has lived this long (s) starts over with the short pause.
_HEALTHY = 60.0
#: Seconds that a role gets to finish its batch and give its partitions back; it ends by itself in less (``cli/run.py``).
GRACE = 20.0


class Child:
    """One role's process."""

    def __init__(self, role: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.role = role
        self._command = command
        self._environment = dict(environment)
        self._pause = _BACKOFF
        self._start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def tend(self) -> int | None:
        """Start the process if it is due. The exit code, if it has just died."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_at:
                # A session of its own: Ctrl-C reaches the supervisor alone, which then stops the roles in order.
                self.process = subprocess.Popen(
                    self._command, start_new_session=True, env=os.environ | self._environment
                )
                self.started = now
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.process = None
        self._pause = _BACKOFF if now - self.started > _HEALTHY else min(self._pause * 2, _MOST_BACKOFF)
        self._start_at = now + self._pause
        return code


def supervise(
    roles: Sequence[str],
    stop: Event,
    command: Callable[[str], Sequence[str]] | None = None,
    http_port: int = 0,
) -> int:
    """Run ``roles`` until ``stop``; the exit code. A role that says the settings are wrong (exit code 2) ends all.

    ``http_port``: of the first role; the next has the next one, for a port is one process's. 0: each takes a free one.
    """
    command = command or (
        lambda role: [sys.executable, "-m", "kantor_orchestrator.cli.main", "run", "--role", role]
    )
    children = [
        Child(role, command(role), {ENV_PORT: str(http_port + number if http_port else 0)})
        for number, role in enumerate(roles)
    ]
    wrong = False
    try:
        while not stop.is_set() and not wrong:
            for child in children:
                code = child.tend()
                if code == 2:
                    wrong = True
                elif code is not None:
                    facts = {"action": "role_died", "role": child.role, "code": code}
                    log.error("role %s ended with %d, starting it again", child.role, code, extra=facts)
            stop.wait(0.2)
    finally:
        end([child.process for child in children if child.process is not None])
    return 2 if wrong else 0


def end(processes: Sequence[subprocess.Popen[bytes]], grace: float = GRACE) -> None:
    """SIGTERM to each, by pid; SIGKILL to those that are still there after ``grace`` seconds."""
    for process in processes:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("process %d did not end, killing it", process.pid, extra={"action": "killed"})
            process.kill()
            process.wait()
