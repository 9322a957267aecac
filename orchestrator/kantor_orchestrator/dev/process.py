"""A Java process that outlives us: started in a session of its own, known again later, stopped by its pid.

A pid alone proves nothing: after a crash or a reboot it may belong to something else. Each start therefore puts a
random token on the command line, and a process is ours only if it bears the token that we wrote down.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import DevError, NotInstalledError

if TYPE_CHECKING:
    import psutil

Ending = Literal["stopped", "killed", "not running"]

LAUNCH = 'console=$1; shift; "$@" >"$console" 2>&1 & echo $!'
KILL_S = 10.0  # a process that survives SIGKILL for longer hangs in the kernel, on a dead disk for example
LOOK_S = 0.05  # how often a process that ended is looked for: a zombie that nobody reaps sends no signal


@dataclass(frozen=True, slots=True)
class OwnProcess:
    pid: int
    token: str  # appears in one argument of the command line

    def is_alive(self) -> bool:
        return self._process() is not None

    def stop(self, grace_s: float) -> Ending:
        """SIGTERM, and SIGKILL if it is still there after ``grace_s`` seconds. Returns once it is gone."""
        process = self._process()
        if process is None:
            return "not running"
        if _ended(process, signal.SIGTERM, grace_s):
            return "stopped"
        self.kill()
        return "killed"

    def kill(self) -> None:
        """SIGKILL, as a power cut would do it. Returns once it is gone."""
        process = self._process()
        if process is not None and not _ended(process, signal.SIGKILL, KILL_S):
            raise DevError(
                f"Process {self.pid} doesn't end, not even by kill -9. Look at the disk it writes to."
            )

    def await_end(self) -> None:
        """If somebody else has just killed it: returns when its last thread, and with it its port, is gone."""
        import psutil

        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            deadline = time.monotonic() + KILL_S
            while (
                process.status() == psutil.STATUS_ZOMBIE
                and not _is_dead(process)
                and time.monotonic() < deadline
            ):
                time.sleep(LOOK_S)

    def _process(self) -> psutil.Process | None:
        try:
            import psutil
        except ImportError as error:
            raise NotInstalledError("psutil") from error
        try:
            process = psutil.Process(self.pid)
            return process if any(self.token in argument for argument in process.cmdline()) else None
        except psutil.Error:
            return None  # gone, or somebody else's


def _ended(process: psutil.Process, number: signal.Signals, timeout_s: float) -> bool:
    import psutil

    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            process.wait(LOOK_S)
        except psutil.TimeoutExpired:
            if _is_dead(process):
                return True
            if time.monotonic() > deadline:
                return False
        else:
            return True


def _is_dead(process: psutil.Process) -> bool:
    """Gone, or a zombie that nobody reaps (many containers have no init). Its threads may outlive the first one."""
    import psutil

    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.Error:
        return True


def java_environment() -> Mapping[str, str]:
    # without a locale, Java can't open a path with letters beyond ASCII
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def start_detached(command: Sequence[str], token: str, folder: Path, console: Path) -> OwnProcess:
    """Starts ``command`` (it must contain ``token``) in ``folder``; what it prints goes to the file ``console``.

    It is in a session of its own, where a terminal's Ctrl-C doesn't reach it, and a child of init, not of ours: nobody
    has to wait for it.
    """
    launched = subprocess.run(
        ["/bin/sh", "-c", LAUNCH, "sh", str(console), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=java_environment(),
        start_new_session=True,
        check=True,
    )
    return OwnProcess(int(launched.stdout), token)
