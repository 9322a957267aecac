"""A process that is told to end does so, whatever hangs in it: a client's call may never come back."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

log = logging.getLogger("kantor.ending")

#: Seconds from the signal until whoever is still there is left behind. Kubernetes waits for 30, the supervisor for 20.
DEADLINE = 15.0
#: Exit code of a process that had to leave somebody behind.
LEFT_BEHIND = 70
#: Seconds more until a process ends whose log or whose interpreter itself hangs (while it clears up, for example).
_LAST_RESORT = 3.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def at_signal(stop: threading.Event, deadline: float = DEADLINE) -> None:
    """SIGTERM and SIGINT set ``stop``. If the process is there ``deadline`` seconds later, the log says which threads
    hang and where, and it ends with the exit code ``LEFT_BEHIND``. Called once, by the main thread.

    Python's own handlers run in the main thread, between two of its instructions: never, if that thread hangs in a
    library. So a thread of its own hears of the signal by the interpreter's wakeup descriptor, too.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(
        target=_watch, args=(heard, told, stop, deadline), name="kantor-ending", daemon=True
    ).start()


def _watch(heard: socket.socket, _told: socket.socket, stop: threading.Event, deadline: float) -> None:
    while heard.recv(1)[0] not in _SIGNALS:
        pass
    stop.set()
    faulthandler.dump_traceback_later(deadline + _LAST_RESORT, exit=True)
    threading.Event().wait(deadline)  # nobody sets it: who ends in time ends this thread, too
    try:
        for name, where in hanging().items():
            log.error(
                "%s hangs: it does not end within %g s of the signal: %s",
                name,
                deadline,
                where,
                extra={"action": "left_behind", "where": name},
            )
    finally:
        os._exit(LEFT_BEHIND)


def hanging() -> dict[str, str]:
    """Where each thread but the caller's is, by name: the innermost call first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, f"thread {ident}"): _stack(frame)
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident()
    }


def _stack(frame: FrameType | None) -> str:
    calls = []
    while frame is not None:
        code = frame.f_code
        calls.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(calls)
