"""Memory that was used for a moment goes back to the system.

A burst, or the taking of many shards, uses more than what is kept afterwards; glibc keeps what was freed for the process, in
an arena for each few threads, and a process of ours has hundreds of threads (librdkafka's).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from threading import Event, Thread

#: Seconds between looks: each costs a millisecond or two, and what comes back to be used again a page fault for each page.
INTERVAL = 10.0


class Thrift:
    """Gives memory back in a thread of its own, from :meth:`start` to :meth:`stop`. Does nothing where the C library is not
    glibc."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._trim: Callable[[int], object] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._interval = interval
        self._stop = Event()
        self._thread = Thread(target=self._run, name="kantor-thrift", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while self._trim is not None and not self._stop.wait(self._interval):
            self._trim(0)
