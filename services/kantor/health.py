"""``/metrics``, ``/healthz`` and ``/readyz``; on loopback unless KANTOR_HTTP_HOST says otherwise."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from kantor.errors import ConfigError

ENV_PORT, ENV_HOST = "KANTOR_HTTP_PORT", "KANTOR_HTTP_HOST"
LOOPBACK = "127.0.0.1"


class Exposition(Protocol):
    """What ``/metrics`` answers with."""

    content_type: str

    def text(self) -> bytes: ...


class HealthServer:
    """Serves from its own threads until :meth:`close`."""

    def __init__(
        self,
        metrics: Exposition,
        ready: Callable[[], bool],
        port: int | None = None,
        host: str | None = None,
    ) -> None:
        """``port``: default KANTOR_HTTP_PORT, 0 takes a free one; ``host``: default KANTOR_HTTP_HOST, else loopback. Raises
        ``ConfigError`` if it can't be had."""
        host = host or os.environ.get(ENV_HOST) or LOOPBACK
        text = os.environ.get(ENV_PORT, "0") if port is None else str(port)
        if not text.isdecimal():
            raise ConfigError(f"{ENV_PORT}={text!r} is no port")
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, metrics.content_type, metrics.text()),
            "/healthz": lambda: (200, "text/plain", b"ok\n"),
            "/readyz": lambda: (
                (200, "text/plain", b"ready\n") if ready() else (503, "text/plain", b"not ready\n")
            ),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                status, type_, body = answer() if answer else (404, "text/plain", b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", type_)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        try:
            self._server = ThreadingHTTPServer((host, int(text)), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"{ENV_PORT}={text}, {ENV_HOST}={host}: {error}; name another port, or 0 for a free one"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="kantor-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
