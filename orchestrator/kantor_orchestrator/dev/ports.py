"""Loopback ports: which are free, and which ones a broker gets."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable

from .errors import DevError
from .record import BrokerRecord

# Below the ports that Linux (32768) and macOS (49152) hand out by themselves: a client that keeps trying to reach a
# stopped broker on such a port can end up connected to itself, and then the broker can't have it back.
RANGE = range(20_000, 32_000)


class PortTakenError(DevError):
    """The port is somebody else's. Choose another."""


def is_free(port: int) -> bool:
    """Whether a server may listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Java does: old connections don't count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free_port(*unwanted: int) -> int:
    """A free loopback port outside ``unwanted``. Somebody may take it before it is used: be ready to ask again."""
    while True:
        port = random.choice(RANGE)
        if port not in unwanted and is_free(port):
            return port


def choose(
    asked: int | None, first: int | None, last: BrokerRecord | None, say: Callable[[str], None]
) -> tuple[int, int]:
    """Ports for clients and for the controller: last time's where that is possible, else ``first``, else any.

    Raises `PortTakenError` if the port that was ``asked`` for is taken.
    """
    if asked:
        port = asked
        if not is_free(port):
            raise PortTakenError(
                f"Port {port} on 127.0.0.1 is taken. Stop what listens there, or start with another --port, "
                "or with none: then a free one is found."
            )
    else:
        wanted = last.port if last else first
        port = wanted if wanted and is_free(wanted) else free_port()
        if last and port != wanted:
            say(f"Port {wanted}, used last time, is taken; using {port}.")
    if last and last.controller_port != port and is_free(last.controller_port):
        return port, last.controller_port
    return port, free_port(port)
