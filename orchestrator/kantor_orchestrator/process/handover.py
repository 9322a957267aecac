"""Taking over from a process that is about to end: its port is free in a moment."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from kantor.errors import ConfigError

log = logging.getLogger("kantor.role")

T = TypeVar("T")

#: Seconds that the process before us may take to end: as long as a role has at most, whatever hangs in it.
HANDOVER = 16.0
#: Seconds between attempts.
_AGAIN = 0.2


def when_free(take: Callable[[], T], stop: Event, patience: float = HANDOVER) -> T:
    """What ``take`` returns. While it raises ``ConfigError`` because a port is in use, it is called again, for so long: the roles of a
    `kantor run` that was killed may still be ending."""
    for attempt in range(int(patience / _AGAIN)):
        try:
            return take()
        except ConfigError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
                raise
            if not attempt:
                log.warning("waiting for the port: %s", error, extra={"action": "port_waits"})
        if stop.wait(_AGAIN):
            break
    return take()
