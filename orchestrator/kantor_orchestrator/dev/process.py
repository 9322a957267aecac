"""A Java process that outlives us: started in a session of its own, known again later, stopped by its pid.

A pid alone proves nothing: after a crash or a reboot it may belong to something else. Each start therefore puts a
random token on the command line, and a process is ours only if it bears the token that we wrote down.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import DevError
from .maven import MISSING

if TYPE_CHECKING:
    import psutil

Ending = Literal["stopped", "killed", "not running"]


@dataclass(frozen=True, slots=True)
class OwnProcess:
    pid: int
    token: str  # appears in one argument of the command line

    def is_alive(self) -> bool:
        return self._process() is not None

    def stop(self, grace_s: float) -> Ending:
        """SIGTERM, and SIGKILL if it is still there after ``grace_s`` seconds. Returns once it is gone."""
        import psutil

        process = self._process()
        if process is None:
            return "not running"
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except psutil.TimeoutExpired:
            self.kill()
            return "killed"
        return "stopped"

    def kill(self) -> None:
        """SIGKILL, as a power cut would do it. Returns once it is gone."""
        import psutil

        process = self._process()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait()

    def _process(self) -> psutil.Process | None:
        try:
            import psutil
        except ImportError as error:
            raise DevError(MISSING.format(name="psutil")) from error
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process if any(self.token in argument for argument in process.cmdline()) else None
        except psutil.Error:
            return None  # gone, or somebody else's


def start_detached(command: Sequence[str | Path], token: str, folder: Path, console: Path) -> OwnProcess:
    """Starts ``command`` (it must contain ``token``) in ``folder``; what it prints goes to the file ``console``.

    It is in a session of its own, where a terminal's Ctrl-C doesn't reach it, and a child of init, not of ours: nobody
    has to wait for it.
    """
    # C.UTF-8: without a locale, Java can't open a path with letters beyond ASCII
    environment = {
        k: v for k, v in os.environ.items() if k not in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "LANG")
    }
    environment["LC_ALL"] = "C.UTF-8"
    launched = subprocess.run(
        ["/bin/sh", "-c", 'console=$1; shift; "$@" <&- >"$console" 2>&1 & echo $!', "sh", console, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=environment,
        start_new_session=True,
        check=True,
    )
    return OwnProcess(int(launched.stdout), token)
