"""A registry that answers drop by drop: each request has one deadline, for headers, body and what a redirection leads to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat

import pytest

from kantor.errors import RegistryUnavailableError
from kantor.registry import RegistrySchemas
from kantor_schemas import Schema
from waiting import PATIENCE, until

POINT: Schema = {"type": "record", "name": "geo.Point", "fields": [{"name": "x", "type": "int"}]}
OK = b"HTTP/1.1 200 OK\r\n"
LONG = b"Content-Length: 1000000\r\n\r\n"


@contextmanager
def dripping(first: bytes, drops: Callable[[], Iterable[bytes]], asked: list[bytes]) -> Iterator[str]:
    """The URL of a server. It answers ``first`` at once, and the drops one after the other, until the other side hangs up."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # it hangs up
                    asked.append(connection.recv(65_536))
                    connection.sendall(first)
                    for drop in drops():
                        if over.wait(0.01):
                            break
                        connection.sendall(drop)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("first", "drop", "tries"),
    [
        pytest.param(b"", b"H", 3, id="status"),
        pytest.param(OK + b"X-Slow: ", b"x", 3, id="header"),
        pytest.param(OK + LONG, b" ", 3, id="body"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\n" + LONG, b" ", 1, id="refusal"),
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /else\r\n" + LONG, b" ", 3, id="redirection"),
    ],
)
def test_a_registry_that_drips_is_given_up_at_the_deadline(first: bytes, drop: bytes, tries: int) -> None:
    """However often something comes, and in whichever part of the answer: it never ends, so that this would never return. What was
    asked, for how long, and the remedy are said; it was tried again as after any trouble of this kind."""
    asked: list[bytes] = []
    with dripping(first, lambda: repeat(drop), asked) as url:
        with pytest.raises(RegistryUnavailableError) as told:
            RegistrySchemas(url, sleep=lambda _: None, timeout=0.2).schema_of(7)
        until(lambda: len(asked) == tries, f"it was asked {tries} times", lambda: str(asked))
    assert f"GET {url}/schemas/ids/7: " in str(told.value)
    assert "the whole answer was not there after 0.2 s" in str(told.value)
    assert "KANTOR_SCHEMA_REGISTRY_URL" in str(told.value)


def test_a_slow_answer_within_the_deadline_is_read() -> None:
    """In as many parts as it has bytes."""
    body = json.dumps({"schema": json.dumps(POINT)}).encode()
    drops = [bytes([one]) for one in body]
    with dripping(OK + b"Content-Length: %d\r\n\r\n" % len(body), lambda: drops, []) as url:
        assert RegistrySchemas(url, timeout=PATIENCE).schema_of(7) == POINT
