"""The proxy that chaos tests put between a role and the broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from integration.proxy import Proxy
from kantor_orchestrator.dev.ports import free_port


class Echo:
    """In the broker's place: sends back what it gets; notes how connections end."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
            self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with closing(connection):
            try:
                while data := connection.recv(100):
                    connection.sendall(data)
            except OSError:
                pass
            self.ended.set()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as echo:
        yield echo


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """Connected, and has had an answer."""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        assert said(client, b"hello") == b"hello"
        yield client


def said(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(100)


def test_a_reset_reaches_both_sides(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    """The client's next read fails; a new connection works."""
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    assert echo.ended.wait(10)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as again:
        assert said(again, b"again") == b"again"


def test_half_closed_towards_the_client(client: socket.socket, proxy: Proxy) -> None:
    """The client reads an end."""
    assert proxy.half_close("client") == 1
    assert client.recv(100) == b""


def test_half_closed_towards_the_broker(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    """The broker reads an end; the client may write, and hears nothing: no answer, and no end."""
    assert proxy.half_close("broker") == 1
    assert echo.ended.wait(10)
    client.sendall(b"anybody there?")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(100)


def test_nobody_behind_the_proxy_is_a_reset() -> None:
    """As a broker that has been killed: while connecting, or after it."""
    with (
        Proxy(free_port()) as proxy,
        pytest.raises(OSError, match="reset"),
        socket.create_connection(("127.0.0.1", proxy.port), 10) as client,
    ):
        client.recv(100)
