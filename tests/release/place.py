"""An environment of its own, with nothing of this folder in it, and the processes that run in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

#: Seconds for whatever takes moments, on a machine that is busy with something else.
PATIENCE = 180.0
#: Seconds that processes get to end by themselves, as `kantor run` and services promise, and some more.
GRACE = 40.0


class ReleaseError(Exception):
    """The packages do not do what they should. The message says what, and what was said instead."""


class Place:
    """A fresh virtual environment, with a folder to run in. As a context: at its end no process is left.

    Versions are those of ``lock``, so that what is tried is what was tested; which packages come is up to the wheel alone.
    """

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        ours = ("KANTOR_", "PYTHON", "VIRTUAL_ENV")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(ours)
        } | {
            "KANTOR_HOME": str(folder / "home"),
            "KANTOR_API_ADDRESS": "127.0.0.1:0",
            "CHECKOUT_DATA": str(folder / "data"),
        }
        self._lock = lock
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._uv = shutil.which("uv")

    def __enter__(self) -> Self:
        (self.folder / "data").mkdir(parents=True)
        versions = re.findall(r"^\S+==[^\\\n]+", self._lock.read_text(encoding="utf-8"), re.MULTILINE)
        self._constraints().write_text("\n".join(versions) + "\n", encoding="utf-8")
        venv = self.bin.parent
        command = (
            [self._uv, "venv", "--quiet", "--python", sys.executable]
            if self._uv
            else [sys.executable, "-m", "venv"]
        )
        self._run([*command, str(venv)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def install(self, what: str) -> None:
        """A wheel, with extras or without. Raises ``ReleaseError``, also if what it declares does not fit together."""
        python = str(self.bin / "python")
        pip = [self._uv, "pip"] if self._uv else [python, "-m", "pip", "--disable-pip-version-check"]
        aim = ["--python", python] if self._uv else []
        self._run([*pip, "install", "--quiet", *aim, "--constraint", str(self._constraints()), what])
        self._run([*pip, "check", *aim])

    def copy(self, folder: Path) -> None:
        """A folder of this name will be where programs run."""
        shutil.copytree(folder, self.folder / folder.name)

    def runs(self, program: str, *arguments: str) -> str:
        """What a program of the environment says on stdout. Raises ``ReleaseError`` if it fails."""
        return self._run([str(self.bin / program), *arguments])

    def python(self, *arguments: str) -> str:
        return self.runs("python", *arguments)

    def fails(self, program: str, *arguments: str) -> str:
        """What a program that must fail says. Raises ``ReleaseError`` if it does not."""
        done = self._done([str(self.bin / program), *arguments])
        if done.returncode == 0:
            raise ReleaseError(
                f"`{program} {' '.join(arguments)}` should have failed, and said:\n{done.stdout}"
            )
        return done.stderr

    def start(self, name: str, *command: Path | str) -> None:
        """A process that stays; what it says is in ``<name>.log``."""
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def status_of(self, order: str) -> str:
        """Of its transaction; empty while `kantor trace` does not know it."""
        done = self._done([str(self.bin / "kantor"), "trace", f"order_id={order}", "--json"])
        return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else ""

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Raises ``ReleaseError`` with the ends of all logs if it does not come, or if a process ends before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"{', '.join(ended)} ended" if ended else f"not within {PATIENCE:.0f} s"
                logs = "\n".join(
                    f"{name}:\n{self._log(name).read_text()[-2_000:]}" for name in self._processes
                )
                raise ReleaseError(f"{why}: {what}\n{logs}")
            time.sleep(0.2)

    def end(self) -> None:
        """End all processes, in reverse order. Raises ``ReleaseError`` if one had to be killed."""
        processes, self._processes = self._processes, {}
        for process in reversed(processes.values()):
            process.terminate()
        killed = []
        for name, process in processes.items():
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed.append(name)
        if killed:
            raise ReleaseError(f"did not end within {GRACE:.0f} s of SIGTERM: {', '.join(killed)}")

    def _constraints(self) -> Path:
        return self.folder / "constraints.txt"

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _run(self, command: list[str]) -> str:
        done = self._done(command)
        if done.returncode:
            raise ReleaseError(
                f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def _done(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
