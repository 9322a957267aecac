"""A provider whose answers do not end: nobody waits for it longer than it may take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("authlib")

from kantor_orchestrator.api import oidc
from kantor_orchestrator.api.config import OidcSettings
from kantor_orchestrator.api.identity import ProviderDownError


class Provider:
    """Says ``head``, then ``part`` again and again."""

    def __init__(self, length: int, part: bytes, pause: float) -> None:
        self._head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        self._part, self._pause = part, pause
        self._ends = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.issuer = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                asker, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(asker,), daemon=True).start()

    def _answer(self, asker: socket.socket) -> None:
        with asker:
            try:
                asker.recv(4_096)
                asker.sendall(self._head)
                while not self._ends.wait(self._pause):
                    asker.sendall(self._part)
            except OSError:
                return

    def close(self) -> None:
        self._ends.set()
        self._server.close()


@pytest.fixture(params=["drips", "floods"])
def provider(request: pytest.FixtureRequest) -> Iterator[tuple[Provider, str]]:
    if request.param == "drips":
        found, why = Provider(100_000, b" ", 0.05), "the whole answer was not there after 0.3 s"
    else:
        found, why = Provider(1 << 40, b" " * 65_536, 0), "an answer of more than 1,048,576 bytes"
    yield found, why
    found.close()


def test_an_answer_that_does_not_end_is_none(
    provider: tuple[Provider, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte a second held up everybody who wanted to log in, and each of their threads."""
    monkeypatch.setattr(oidc, "_TIMEOUT", 0.3)
    begun = time.monotonic()
    with pytest.raises(ProviderDownError, match=provider[1]):
        oidc.Provider(OidcSettings(provider[0].issuer, "kantor")).describe()
    assert time.monotonic() - begun < 5
