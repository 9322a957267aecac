"""Server-sent events: who looks at a page learns at once that something has changed.

One thread for each process asks SQLite whether anything was written (a number, no query) and wakes those who wait; they look
whether it concerns them. Nobody polls the database per reader.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from kantor.errors import KantorError
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.api.problems import ProblemError

log = logging.getLogger("kantor.api")

#: Seconds between two looks.
_LOOK = 0.2
#: Streams at a time; a stream lasts so many seconds at most, then the browser asks for a new one.
MOST_STREAMS, LONGEST = 200, 300.0
#: Seconds after which a stream says something even if nothing happens: proxies cut what is silent.
_HEARTBEAT = 15.0


class Live:
    """Wakes those who wait when the view has changed."""

    def __init__(self, backend: Backend, metrics: ApiMetrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ending = False
        self._streams = 0

    def start(self) -> None:
        """In the server's loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, name="kantor-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.end()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def end(self) -> None:
        """Streams and waits end now: the server is about to stop."""
        self._ending = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _watch(self) -> None:
        """The connection that asks must be always the same."""
        while not self._stop.is_set():
            try:
                file = self._backend.file()
                with self._backend.view() as view:
                    last = view.changes()
                    self._tell()
                    while not self._stop.wait(_LOOK) and self._backend.file() == file:
                        now = view.changes()
                        if now != last:
                            last = now
                            self._tell()
            except KantorError as error:  # no view yet, or it is being rebuilt
                log.debug("no view to watch: %s", error)
                self._stop.wait(1.0)

    def _tell(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def until(self, condition: Callable[[], Any], seconds: float) -> Any:
        """What ``condition`` (asked in a thread) answers, once it is true; its last answer when the time is up."""
        deadline = time.monotonic() + seconds
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while True:
                event.clear()
                found = await asyncio.to_thread(condition)
                left = deadline - time.monotonic()
                if found or left <= 0 or self._ending:
                    return found
                try:
                    await asyncio.wait_for(event.wait(), left)
                except TimeoutError:
                    continue
        finally:
            self._waiting.discard(event)

    async def stream(
        self,
        stamp: Callable[[], str],
        data: Callable[[], Any],
        seconds: float,
        is_known: Callable[[], bool],
    ) -> AsyncIterator[bytes]:
        """An event ``changed`` now and whenever ``stamp`` is another; its data is JSON. It ends when who listens is not
        known any more (``is_known``): before the next event, or sign of life."""
        if self._streams >= MOST_STREAMS:
            raise ProblemError(503, f"{MOST_STREAMS} live pages are open already; close one")
        self._streams += 1
        self._metrics.stream_began()
        try:
            deadline = time.monotonic() + min(seconds, LONGEST)
            last: str | None = None
            yield b"retry: 2000\n\n"
            while not self._ending:
                before = last

                def another(before: str | None = before) -> str | None:
                    found = stamp()
                    return found if found != before else None

                left = deadline - time.monotonic()
                if left <= 0:
                    return
                found = await self.until(another, min(left, _HEARTBEAT))
                if not await asyncio.to_thread(is_known):
                    return
                if found is None:
                    yield b": still here\n\n"
                    continue
                last = found
                text = json.dumps(await asyncio.to_thread(data), separators=(",", ":"))
                yield f"event: changed\ndata: {text}\n\n".encode()
        finally:
            self._streams -= 1
            self._metrics.stream_ended()
