"""Ctrl-C, SIGTERM and a closed terminal end the demo at any moment; what follows is not disturbed by more of them."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the demo to end. Like ``KeyboardInterrupt`` no error, so that no ``except Exception`` takes it."""


def hear() -> None:
    """From here on these signals raise ``Interrupted``. A second one while that is on its way up may cut the orderly
    end short; the sweep and the guard are still there then."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def be_deaf() -> None:
    """From here on they do nothing: everything is being stopped anyway. Children do not inherit this."""
    for number in _SIGNALS:
        signal.signal(number, _nothing)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass
