"""A process of the platform or of a service, for tests that break it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from waiting import PATIENCE, until

TESTS = Path(__file__).parents[1]


class Program:
    """One process, in its own session: a signal reaches it by its pid only."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", *command]
        self._environment = clean_environment({"KANTOR_LOG": "json", **environment})
        self._log = folder / f"{name}.log"
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; see :meth:`await_ready`."""
        assert self._process is None, f"{self.name} runs already"
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def await_ready(self) -> Self:
        """Until it says that it has its partitions."""
        until(lambda: self._said("ready") is not None or self._ended(), f"{self.name} is ready", self.tail)
        return self

    def kill(self) -> None:
        """``kill -9``."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it has finished what it had in hand."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing any more, but does not know."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def start_again(self) -> int | None:
        """Start it if it has ended by itself, as a supervisor does; the code that it ended with. None: it runs."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        self.start()
        return code

    def metric(self, name: str) -> float:
        """A sample's value; 0 if it is not (yet) there."""
        started = self._said("started")
        assert started is not None, f"{self.name} has not started"
        with urllib.request.urlopen(
            f"http://127.0.0.1:{started['port']}/metrics", timeout=PATIENCE
        ) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def tail(self) -> str:
        """The end of its log."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return f"--- {self.name}\n" + "\n".join(line[:400] for line in text.splitlines()[-15:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM, grace=15 if type_ is None else 1)

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting; nothing if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def child(self, role: str) -> psutil.Process:
        """The process that runs a role for this ``kantor run``."""
        assert self._process is not None
        started = psutil.Process(self._process.pid).children()
        return next(one for one in started if one.cmdline()[-2:] == ["--role", role])

    def said(self, action: str, **facts: str) -> list[dict[str, Any]]:
        """The lines of this life's log with this action, and these facts."""
        found = []
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            for line in log:
                with suppress(ValueError):
                    one: dict[str, Any] = json.loads(line)
                    if (facts | {"action": action}).items() <= one.items():
                        found.append(one)
        return found

    def _said(self, action: str) -> dict[str, Any] | None:
        """The first of them."""
        return next(iter(self.said(action)), None)

    def _ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self.name} does not run"
        os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals, grace: float = PATIENCE) -> None:
        assert self._process is not None, f"{self.name} does not run"
        process, self._process = self._process, None
        if process.poll() is None:
            os.kill(process.pid, number)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what a developer may have set for Kantor."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")}
    return ours | {"PYTHONPATH": str(TESTS)} | dict(added)
