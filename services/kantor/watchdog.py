"""Nothing waits for a client for ever (kit-7, shard-6): a limit of ours for each blocking call, and for the end of the process.

librdkafka does not always keep the timeouts that it takes. After a connection was reset,
``send_offsets_to_transaction(10)`` may never return (its issues 5456 and 5511), and a thread that is in C code can't be
interrupted. So:

1. A blocking call runs in a daemon thread, and its caller waits for that thread, not for the call (:func:`guarded`). Past
   the limit the caller gets ``StuckError`` and goes on; thread and client are left to themselves.
2. A client of which one call hung is of no use any more: each later call fails at once (:class:`Guard`). Make a new one.
3. A signal to stop is noticed though the main thread is in C code, and the process ends within its deadline though
   something hangs (:func:`end_within`).

What keeps the interpreter's lock while it hangs can't be helped from inside (``begin_transaction`` and ``purge`` do keep it;
the guarded calls don't).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from kantor.errors import StuckError

__all__ = ["Guard", "StuckError", "end_within", "guarded", "stuck"]

log = logging.getLogger("kantor.watchdog")

T = TypeVar("T")

#: Seconds that a call gets in addition, at its limit: a process that was suspended (SIGSTOP, a sleeping machine) finds
#: that all its time has passed while nothing could run.
_LAST_CHANCE = 0.5
#: Seconds that the last words of a process that is ended the hard way may take: its log may be what hangs.
_LAST_WORDS = 1.0
#: Exit code of a process that had to be ended the hard way: as after SIGABRT.
HUNG = 134


class _Call:
    """One call on its way through a worker."""

    __slots__ = ("began", "done", "error", "function", "result", "what")

    def __init__(self, function: Callable[[], Any], what: str) -> None:
        self.function = function
        self.what = what
        self.began = time.monotonic()
        self.done = threading.Lock()
        self.done.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
            self.error = error

    def __str__(self) -> str:
        return f"{self.what} has hung for {time.monotonic() - self.began:.0f} s"


class _Worker:
    """A daemon thread that carries out one call after the other. To hand a call over costs 30 us, a new thread 160."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="kantor-guarded", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Not after a fork."""
        return self._thread.is_alive()

    def take(self, call: _Call) -> None:
        self._calls.put(call)

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            call.run()
            _idle.append(
                self
            )  # first, so that whoever waits for the call finds this worker and makes no other
            call.done.release()
            if _hanging.pop(call, None) is not None:
                log.warning("the call returned after all: %s", call, extra={"action": "call_came_back"})
            del call  # an abandoned client lives as long as a call of it, and then ends here: that, too, may take long


#: Workers without a call; and calls that nobody waits for any more. Both are changed by single operations only.
_idle: list[_Worker] = []
_hanging: dict[_Call, None] = {}


def guarded(call: Callable[[], T], seconds: float, what: str) -> T:
    """What ``call`` returns or raises, if that takes at most ``seconds``.

    Else ``StuckError``, which names ``what``: the call goes on in its daemon thread, and what it uses must not be used
    again. Callbacks that it makes run in that thread, while the caller waits. Any thread may call this, also a guarded one.
    """
    job = _Call(call, what)
    _worker().take(job)
    if not job.done.acquire(timeout=seconds) and not job.done.acquire(timeout=_LAST_CHANCE):
        _hanging[job] = None
        if not job.done.acquire(blocking=False):
            log.error("%s: its client is abandoned", job, extra={"action": "call_stuck", "call": what})
            raise StuckError(f"{what} did not return within {seconds:g} s; its client is abandoned")
        _hanging.pop(job, None)  # it came back just now
    error, job.error = job.error, None
    if error is None:
        result: T = job.result
        return result
    try:
        raise error
    finally:
        del error, job  # its traceback leads to this frame: a cycle would keep the client


def _worker() -> _Worker:
    while True:
        try:
            worker = _idle.pop()
        except IndexError:
            return _Worker()
        if worker.is_alive():
            return worker


def stuck() -> list[str]:
    """The calls that were given up and have not come back: a line each. How many there are says how many clients this
    process has lost; they keep their memory and connections."""
    return [str(call) for call in list(_hanging)]


class Guard:
    """The blocking calls of one client. Thread-safe."""

    __slots__ = ("_name", "_stuck")

    def __init__(self, name: str) -> None:
        """``name`` says in errors and logs which client it is."""
        self._name = name
        self._stuck = ""

    @property
    def is_stuck(self) -> bool:
        """A call of this client hung: nothing of it may be called any more, not even what does not block."""
        return bool(self._stuck)

    def __call__(self, call: Callable[[], T], seconds: float, what: str) -> T:
        """As :func:`guarded`; raises ``StuckError`` at once if a call of this client hung before."""
        self.check()
        try:
            return guarded(call, seconds, f"{what} of {self._name}")
        except StuckError as error:
            self._stuck = str(error)
            raise

    def check(self) -> None:
        """Raises ``StuckError`` if a call of this client hung."""
        if self._stuck:
            raise StuckError(self._stuck)


def end_within(
    seconds: float,
    stop: Callable[[], None],
    signals: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
    *,
    end: Callable[[int], Any] = os._exit,
) -> None:
    """On the first of ``signals`` call ``stop``, and end the process ``seconds`` later if it still runs.

    ``stop`` runs in another thread, also while the main thread is in C code that does not return: it should set an event.
    The hard end is said in the log, with what hung and where each thread stood; the exit code is ``HUNG``. For the main thread of a program, once, at its start.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    deadline = _Deadline(seconds, stop, end)
    for number in signals:
        # Python's own handlers run in the main thread, when it is in Python code. The byte that the handler in C writes is
        # read by a thread, whatever the main thread does.
        signal.signal(number, lambda *_: deadline.begin())
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    numbers = bytes(signals)

    def watch() -> None:
        with reader, writer:
            while byte := reader.recv(1):
                if byte in numbers:
                    deadline.begin()

    threading.Thread(target=watch, name="kantor-signals", daemon=True).start()


class _Deadline:
    def __init__(self, seconds: float, stop: Callable[[], None], end: Callable[[int], Any]) -> None:
        self._seconds = seconds
        self._stop = stop
        self._end = end
        self._has_begun = False

    def begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        threading.Thread(target=self._over, name="kantor-deadline", daemon=True).start()
        self._stop()

    def _over(self) -> None:
        # A timer in C, should something keep the interpreter's lock meanwhile: it writes all stacks to stderr and ends.
        late = self._seconds + _LAST_CHANCE + _LAST_WORDS + 1.0
        if self._end is os._exit and sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(late, exit=True, file=sys.__stderr__)
        time.sleep(self._seconds)
        where = "; ".join([*stuck(), f"the main thread is in {_stack(threading.main_thread())}"])
        text = f"not stopped within {self._seconds:g} s of the signal, so the process is ended: {where}"
        threads = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
        stacks = {thread.name: _stack(thread) for thread in threads}

        def say() -> None:
            log.critical(text, extra={"action": "ended_hard"})
            for name, stack in stacks.items():
                log.error("%s is still in %s", name, stack, extra={"action": "left_behind"})

        try:
            guarded(say, _LAST_WORDS, "the log")
        except StuckError:
            os.write(2, f"{text}\n".encode())
        self._end(HUNG)


def _stack(thread: threading.Thread) -> str:
    """Where this thread is now, as file, line and function; the innermost first."""
    frame = sys._current_frames().get(thread.ident or 0)
    calls = []
    while frame is not None:
        code = frame.f_code
        calls.append(f"{Path(code.co_filename).name}:{frame.f_lineno} ({code.co_name})")
        frame = frame.f_back
    return " < ".join(calls) or "no code any more"
