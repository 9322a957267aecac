"""Which instance of its service this process is: the last part of its ``transactional.id``.

Two wishes pull apart. *Stable*: a process that starts again takes the same id, and ``init_transactions`` ends at once
what its dead predecessor left open; with a fresh id, readers would wait for it until ``transaction.timeout.ms`` (10 s).
*Unique*: two living processes with one id would fence each other for ever. So: KANTOR_INSTANCE if it is set (a
StatefulSet's pod name), else the host's name and the first slot whose lock file no living process holds. A process that
is fenced nevertheless takes an id of its own (see the runner). Correctness never rests on the id: KIP-447 checks the
group's generation.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
from pathlib import Path
from typing import IO

ENV_INSTANCE = "KANTOR_INSTANCE"
#: More replicas on one host than anybody runs.
_SLOTS = 256


class Instance:
    """Holds the slot until :meth:`close`, or until the process dies: the system then frees the lock."""

    def __init__(self, service: str, folder: Path | None = None) -> None:
        """``folder`` holds the lock files (default: a folder of this user's below the system's temporary one)."""
        self._lock: IO[bytes] | None = None
        named = os.environ.get(ENV_INSTANCE)
        self.name = re.sub(r"[^A-Za-z0-9._-]", "-", named) if named else self._slot(service, folder)

    def _slot(self, service: str, folder: Path | None) -> str:
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
        try:
            import fcntl
        except ImportError:  # no such locks on this system: unique, not stable
            return f"{host}-pid{os.getpid()}"
        folder = folder or Path(tempfile.gettempdir()) / f"kantor-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in range(_SLOTS):
            lock = (folder / f"{service}-{slot}.lock").open("wb")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            self._lock = lock
            return f"{host}-{slot}"
        return f"{host}-pid{os.getpid()}"

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
