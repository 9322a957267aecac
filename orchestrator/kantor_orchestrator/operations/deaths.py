"""Roles that die: ``kantor run`` writes to a file in ``KANTOR_HOME`` whose process has ended, and how; ``kantor status`` reads it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

#: In ``KANTOR_HOME``, while there is something to tell.
FILE = "deaths.json"
#: A supervisor says it again this often (s); what is older than ``OLD`` is of one that is gone.
EVERY, OLD = 5.0, 20.0
#: For so long (s) it is told that a role died again and again, though it is ready now; and so often is that.
RECENT, OFTEN = 600.0, 3


@dataclass(frozen=True, slots=True)
class Dead:
    """A role whose process died. ``count``: how often of late; ``how``: the last time; ``age``: how long ago that was (s).
    ``is_ready``: its successor is."""

    role: str
    count: int
    how: str
    age: float
    is_ready: bool


def manner(code: int) -> str:
    """How a process ended, by its exit code: what ``subprocess`` calls it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def write(home: Path, dead: list[Dead]) -> None:
    """Whoever reads the file finds all of it. None: there is nothing to tell. Raises ``OSError``."""
    path = home / FILE
    if not dead:
        path.unlink(missing_ok=True)
        return
    fresh = path.with_name(f"{FILE}.{os.getpid()}")
    try:
        fresh.write_text(json.dumps([asdict(one) for one in dead]), encoding="utf-8")
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def read(home: Path, now: float) -> list[Dead]:
    """``now``: s since 1970. Empty if nobody has told anything of late, or it can't be read."""
    path = home / FILE
    try:
        written = path.stat().st_mtime
        if not -OLD < now - written < OLD:
            return []
        return [
            Dead(
                str(one["role"]), int(one["count"]), str(one["how"]), float(one["age"]), bool(one["is_ready"])
            )
            for one in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def remedy(dead: Dead) -> str:
    """What to do about it."""
    where = "its last lines are in the log of `kantor run`, just before `role_died`"
    if dead.how == "SIGKILL":
        return f"{where}; if nobody killed it, the system did because memory ran out (`dmesg`): give it more"
    if dead.how in ("SIGABRT", "SIGSEGV", "SIGBUS"):
        return f"{where}; often memory is limited (`ulimit -v`, a container's limit) or the disk is full: give it more"
    return where
