"""HTTP requests that end: one deadline for connecting, sending and the whole answer.

The timeout of ``urllib`` is for each part of an answer by itself: a server that drips, a byte a second, is waited for without end.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from typing import Any


def urlopen(request: urllib.request.Request, timeout: float) -> Any:
    """As ``urllib.request.urlopen``; all that is read of the answer, the body of a refusal and what redirections lead to, too, is there
    within ``timeout`` seconds. Reading it raises ``TimeoutError`` otherwise."""
    deadline = _Deadline(timeout)
    opener = urllib.request.build_opener(_Plain(deadline), _Secure(deadline))
    return opener.open(request, timeout=timeout)


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds; raises ``TimeoutError`` if there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the whole answer was not there after {self._seconds:g} s")
        return left


class _Source(io.RawIOBase):
    """What comes from a socket, until the deadline."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.left())
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            self._deadline.left()  # says how long it was waited for
            raise

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Socket:
    """What a response asks of its socket."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Source(self._sock, self._deadline))


def _connections(kind: Any, deadline: _Deadline) -> Any:
    """Connections of this kind, whose responses keep the deadline."""

    def response(sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_Socket(sock, deadline), *args, **options)  # type: ignore[arg-type]

    def connect(host: str, **options: Any) -> Any:
        connection = kind(host, **options | {"timeout": deadline.left()})
        connection.response_class = response
        return connection

    return connect


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._connections = _connections(http.client.HTTPConnection, deadline)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connections, req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._connections = _connections(http.client.HTTPSConnection, deadline)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connections, req)
