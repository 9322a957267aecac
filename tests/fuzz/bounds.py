"""How long one example may take and how much memory it may use, enforced while it runs.

CPU time, so that a busy machine says nothing. A limit on memory makes what would eat the machine a ``MemoryError`` in the code
that asked for it; what then still grew by more than it may is told afterwards.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_MIB = 1 << 20
#: Characters of what went wrong.
_NOTE = 6_000
#: Beyond what is asked for, before the system says no: a role that refuses something large may have held it for a moment.
_MARGIN = 512 * _MIB


class TooLongError(BaseException):
    """It took longer than it may. No ``Exception``: nobody may catch it by the way."""


@contextmanager
def bounded(seconds: float, megabytes: int, *about: object) -> Iterator[None]:
    """Fails if the block takes more CPU time, or lets the process grow by more than this. ``about``: what it is given; whatever
    goes wrong then says so."""

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise TooLongError(f"more than {seconds:g} s of CPU")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    handler = signal.signal(signal.SIGPROF, too_long)
    limit = _virtual() + megabytes * _MIB + _MARGIN
    try:
        if _virtual():
            resource.setrlimit(resource.RLIMIT_AS, (min(limit, hard) if hard > 0 else limit, hard))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield
    except BaseException as error:
        for one in about:
            error.add_note(f"with {one!r}"[:_NOTE])
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    spent = time.process_time() - began
    assert spent <= seconds, f"it took {spent:.2f} s of CPU, and may take {seconds:g}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown <= megabytes, f"it took {grown:.0f} MiB of memory, and may take {megabytes}"


def _virtual() -> int:
    """Bytes of address space; 0 where the system does not tell (macOS): memory is not limited there."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
