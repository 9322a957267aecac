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


def request(client_id: bytes, kind: int = 18) -> bytes:
    """As Kafka's clients ask, as far as the proxy looks."""
    found = kind.to_bytes(2, "big") + bytes(6) + len(client_id).to_bytes(2, "big") + client_id + b"..."
    return len(found).to_bytes(4, "big") + found


def test_a_client_is_silenced_by_its_name(proxy: Proxy) -> None:
    """On a connection that is there and on a new one; others go on; in the end it is told by a reset, and heard again."""
    with (
        socket.create_connection(("127.0.0.1", proxy.port), 10) as before,
        socket.create_connection(("127.0.0.1", proxy.port), 10) as after,
        socket.create_connection(("127.0.0.1", proxy.port), 10) as other,
    ):
        assert said(before, request(b"log-1")) == request(b"log-1")
        with proxy.silence("log-"):
            assert said(other, request(b"pulse")) == request(b"pulse")
            for client in (before, after):
                client.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    said(client, request(b"log-2"))
        for client in (before, after):
            client.settimeout(10)
            with pytest.raises(ConnectionResetError):
                client.recv(100)
        assert said(other, b"still here") == b"still here"
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as again:
        assert said(again, request(b"log-1")) == request(b"log-1")


def test_a_connection_goes_mute_with_a_request(proxy: Proxy) -> None:
    """Whatever came before it; others go on."""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as member:
        came = proxy.mute_at(11)
        assert said(member, request(b"member", 3)) == request(b"member", 3)
        assert not came.is_set()
        member.settimeout(0.3)
        with pytest.raises(TimeoutError):
            said(member, request(b"member", 11))
        assert came.is_set()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        assert said(other, request(b"other", 11)) == request(b"other", 11)


def test_nobody_behind_the_proxy_is_a_reset() -> None:
    """As a broker that has been killed: while connecting, or after it."""
    with (
        Proxy(free_port()) as proxy,
        pytest.raises(OSError, match="reset"),
        socket.create_connection(("127.0.0.1", proxy.port), 10) as client,
    ):
        client.recv(100)
