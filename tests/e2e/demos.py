"""``make demo`` as the tests run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from waiting import PATIENCE


class Demo:
    """One demo, its output, and every process that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "demo"
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, orders: int, *, once: bool = False, bootstrap_servers: str = "") -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")}
        settings = {"ONCE": "1" if once else "", "KANTOR_BOOTSTRAP_SERVERS": bootstrap_servers}
        command = [sys.executable, "-m", "kantor_orchestrator.demo"]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [*command, "--orders", str(orders), "--home", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=inherited | settings,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def await_text(self, file: Path, text: str) -> None:
        """Until ``file`` (``out`` or ``err``) has this text. Fails if the demo ends before."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while text not in file.read_text():
            ended = self._process.poll()
            assert ended is None or text in file.read_text(), f"it ended with {ended}:\n{self.said()}"
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{self.said()}"
            threading.Event().wait(0.05)

    def said(self) -> str:
        return f"{self.err.read_text()}\n{self.out.read_text()}"

    def processes(self) -> list[str]:
        """What lives and has this demo's folder in its command or its environment, the guard included."""
        found = []
        for process in psutil.process_iter():
            try:
                text = [*process.cmdline(), *process.environ().values()]
                if any(str(self.home) in part for part in text):
                    found.append(f"{process.pid} {' '.join(process.cmdline()[:4])}")
            except psutil.Error:
                continue  # gone, or somebody else's
        return found

    def await_no_processes(self) -> None:
        """For when the demo could not see to it itself. Fails if one lives on."""
        deadline = time.monotonic() + PATIENCE
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {left}"
            threading.Event().wait(0.1)

    def end(self) -> None:
        """Whatever happened in the test: nothing of it is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
