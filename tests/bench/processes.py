"""Processes of a benchmark: started, measured, pinned to cores and ended, always by pid."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from kantor_orchestrator.running.supervisor import end


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    core: int | None = None,
    pipes: bool = False,
) -> subprocess.Popen[bytes]:
    """A Python process (``python arguments...``) in a session of its own, so that Ctrl-C reaches us alone.

    ``core``: it and its threads may use only that one. ``pipes``: we talk to it by stdin and stdout; else all that it
    says goes to ``log``.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=dict(environment),
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else output,
            stderr=output,
            start_new_session=True,
        )
    if core is not None:
        pin(process.pid, core)
    return process


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End these and whatever they have started."""
    family = [
        child
        for process in processes
        if psutil.pid_exists(process.pid)
        for child in psutil.Process(process.pid).children(recursive=True)
    ]
    end(processes, grace=30.0)
    for child in family:
        if child.is_running():
            child.kill()


def pin(pid: int, core: int) -> None:
    """Let all threads of a process, and those that they will start, use one core only.

    Does nothing where the system has no such call (macOS) or only one core is allowed: the caller's result then says
    so by ``can_pin``.
    """
    if not can_pin():
        return
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {core})


def can_pin() -> bool:
    return hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1


def cores() -> list[int]:
    """The cores that we may use."""
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )


class Accounts:
    """CPU seconds (user and system) by name of process."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}

    def sample(self) -> dict[str, float]:
        """What each has used since it started, children that have ended included. A role that ``kantor run`` started
        is counted under its own name."""
        found: dict[str, float] = {}
        for name, process in self._processes.items():
            found[name] = _used(process)
            for child in process.children(recursive=True):
                label = role_of(child.cmdline()) or f"{name}'s {child.name()}"
                found[label] = found.get(label, 0.0) + _used(child)
        return found


def role_of(command: Sequence[str]) -> str:
    """The role that a command line runs; empty if none."""
    return command[command.index("--role") + 1] if "--role" in command else ""


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
