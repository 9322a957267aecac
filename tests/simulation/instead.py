"""What a run has in place of threads, of waiting, and of a registry of schemas."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from kantor.clock import Clock
from kantor.codec import MemorySchemas
from kantor_schemas import Schema

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

#: Schemas whose fingerprints are remembered: each run has some of its own.
_MOST_SCHEMAS = 5_000


class Schemas(MemorySchemas):
    """Fingerprints are worked out once."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[int, tuple[int, Schema]] = {}

    def id_of(self, schema: Schema, topic: str) -> int:
        found = self._ids.get(id(schema))
        if found is None:
            if len(self._ids) >= _MOST_SCHEMAS:
                self._ids.clear()
            found = self._ids[id(schema)] = super().id_of(schema, topic), schema
        return found[0]


class Step(Future[Any]):
    """What a thread would do: done when the world says so, or at once when somebody waits for it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        """Raises ``Crashed`` only; other errors are the result."""
        if not self.done():
            try:
                self.set_result(self._work())
            except Exception as error:  # noqa: BLE001 - handed to whoever asks
                self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        self.run()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.run()
        return super().exception(timeout)


class Steps(Executor):
    """In place of a pool of threads."""

    def __init__(self) -> None:
        self.waiting: list[Step] = []

    def submit(
        self, fn: Callable[Parameters, Answer], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Answer]:
        step = Step(lambda: fn(*args, **kwargs))
        self.waiting.append(step)
        return step

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        steps, self.waiting = self.waiting, []
        for step in steps:
            if not cancel_futures:
                step.run()


class VirtualStop(threading.Event):
    """Waiting for it lets virtual time pass."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.sleep(timeout or 0)
        return self.is_set()
