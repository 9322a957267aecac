"""An author's code is called: what may happen besides an answer or an error."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


def call(function: Callable[..., Any], *arguments: object) -> Any:
    """What it returns or raises; to the process that called it only.

    A child that it has forked, and that returns or raises, ends here with the exit code that an interpreter would give it. It
    has copies of our store and our clients: two processes that go on with one SQLite connection destroy each other's commits.
    """
    process = os.getpid()
    code = 0
    try:
        return function(*arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except BaseException:
        code = 1
        raise
    finally:
        if os.getpid() != process:
            os._exit(code & 0xFF)


def is_a_persons(error: BaseException) -> bool:
    """Whether somebody has pressed Ctrl-C. Where SIGINT has a handler of ours (``watchdog.end_within``), that raises nothing."""
    return (
        isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
