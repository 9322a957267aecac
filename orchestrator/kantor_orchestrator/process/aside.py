"""Work beside a role's own thread, in threads that nobody has to wait for: a client's call may never come back (a reset
connection has frozen librdkafka's commit for good), and must hold up neither the role nor the end of its process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class Aside(Executor):
    """As many daemon threads as there is work at a time. A call that hangs costs its thread, and no other call waits for
    it; a ``ThreadPoolExecutor`` would wait for it at the process's end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle = 0
        self._lock = Lock()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._is_over = False

    def submit(
        self, fn: Callable[Parameters, Answer], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Answer]:
        """Raises ``RuntimeError`` after :meth:`shutdown`."""
        done: Future[Answer] = Future()

        def work() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - handed to whoever asks
                    done.set_exception(error)

        with self._lock:
            if self._is_over:
                raise RuntimeError(f"{self._name} takes no more work")
            if self._idle:
                self._idle -= 1
            else:
                self._threads += 1
                Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
            self._work.put(work)
        return done

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # else an idle thread keeps the client that it worked for
            with self._lock:
                self._idle += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Let idle threads end. Never waits: what is under way ends by itself, or with the process."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                for _ in range(self._threads):
                    self._work.put(None)
