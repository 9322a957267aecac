"""What a long first start shows on stderr: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from .files import megabytes

PLAIN_STEP = 0.25  # a plain line for each quarter: enough to see that it moves, few enough for a CI log


class Task(Protocol):
    def advance(self, size: int) -> None:
        """Says that ``size`` more bytes have come; called from several threads."""


class Progress(Protocol):
    def say(self, message: str) -> None: ...

    def task(self, title: str, files: int, size: int) -> AbstractContextManager[Task]:
        """A fetch of ``files`` files, ``size`` bytes in all."""


class PlainTask:
    def __init__(self, say: Callable[[str], None], size: int) -> None:
        self._say, self._size = say, size
        self._done, self._next = 0, PLAIN_STEP
        self._mutex = threading.Lock()

    def advance(self, size: int) -> None:
        with self._mutex:
            self._done += size
            if self._done >= self._next * self._size:
                self._say(f"  {megabytes(self._done)} of {megabytes(self._size)}")
                self._next = self._done // (self._size * PLAIN_STEP) * PLAIN_STEP + PLAIN_STEP


class PlainProgress:
    """Lines of text, given to ``say`` one by one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    @contextmanager
    def task(self, title: str, files: int, size: int) -> Iterator[Task]:
        self.say(f"{title}: {files} files, {megabytes(size)}, this once.")
        yield PlainTask(self.say, size)
        self.say(f"{title}: done.")


class BarProgress:
    """A bar that moves, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str, files: int, size: int) -> Iterator[Task]:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with RichProgress(*columns, console=self._console) as bar:
            yield BarTask(bar.advance, bar.add_task(f"{title} ({files} files)", total=size))


class BarTask:
    def __init__(self, advance: Callable[..., None], task_id: int) -> None:
        self._advance, self._task_id = advance, task_id

    def advance(self, size: int) -> None:
        self._advance(self._task_id, size)
