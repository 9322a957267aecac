"""``/metrics``, ``/healthz`` and ``/readyz``; on loopback unless KANTOR_HTTP_HOST says otherwise."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol

from kantor.errors import ConfigError
from kantor.numbers import whole_number

ENV_PORT, ENV_HOST = "KANTOR_HTTP_PORT", "KANTOR_HTTP_HOST"
LOOPBACK = "127.0.0.1"
MOST_PORT = 65_535
#: Addresses that mean every one of this machine: here they are asked at loopback.
_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "[::1]"}  # noqa: S104


def of_kubernetes(text: str, name: str) -> str:
    """A remedy, if Kubernetes has set a variable: it does so for a Service whose name the variable's begins with."""
    if "://" not in text:
        return ""
    service = name.rpartition("_")[0].lower().replace("_", "-")
    return f"; Kubernetes sets it for a Service called {service}: set it to a number, or rename the Service"


class Readiness(NamedTuple):
    """What ``/readyz`` says. ``reasons``: why it is not ready, a sentence each; none: it is. ``waits``: it goes on by
    itself, and a new process in its place would have to wait, too."""

    reasons: list[str]
    waits: bool = True


class Exposition(Protocol):
    """What ``/metrics`` answers with."""

    content_type: str

    def text(self) -> bytes: ...


class HealthServer:
    """Serves from its own threads until :meth:`close`."""

    def __init__(
        self,
        metrics: Exposition,
        ready: Callable[[], bool | Readiness],
        port: int | None = None,
        host: str | None = None,
    ) -> None:
        """``port``: default KANTOR_HTTP_PORT, 0 takes a free one; ``host``: default KANTOR_HTTP_HOST, else loopback. Raises
        ``ConfigError`` if it can't be had."""
        host = host or os.environ.get(ENV_HOST) or LOOPBACK
        text = os.environ.get(ENV_PORT, "0") if port is None else str(port)
        number = whole_number(text, MOST_PORT)
        if number is None:
            remedy = (
                of_kubernetes(text, ENV_PORT) or f"; give it a number from 0 (a free port) to {MOST_PORT}"
            )
            raise ConfigError(f"{ENV_PORT}={text!r:.100} is not a port{remedy}")

        def readiness(as_json: bool) -> tuple[int, str, bytes]:
            found = ready()
            if isinstance(found, bool):
                found = Readiness([] if found else ["it has not begun yet, or is about to end"])
            return (503 if found.reasons else 200, *(_as_json if as_json else _as_text)(found))

        answers: dict[str, Callable[[bool], tuple[int, str, bytes]]] = {
            "/metrics": lambda _: (200, metrics.content_type, metrics.text()),
            "/healthz": lambda _: (200, "text/plain", b"ok\n"),
            "/readyz": readiness,
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                answer = answers.get(self.path.partition("?")[0])
                as_json = "application/json" in self.headers.get("Accept", "")
                status, type_, body = answer(as_json) if answer else (404, "text/plain", b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", type_)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        try:
            self._server = ThreadingHTTPServer((host, number), Handler)
        except (OSError, UnicodeError, TypeError) as error:  # the last two: a name that can be no host's
            raise ConfigError(
                f"{ENV_PORT}={text}, {ENV_HOST}={host:.100}: {error}; name another port, or 0 for a free one, and an address of this machine"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        #: Where this machine finds it.
        self.url = f"http://{_EVERYWHERE.get(host, host)}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="kantor-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _as_text(found: Readiness) -> tuple[str, bytes]:
    lines = ["not ready", *found.reasons] if found.reasons else ["ready"]
    return "text/plain; charset=utf-8", "".join(f"{line}\n" for line in lines).encode()


def _as_json(found: Readiness) -> tuple[str, bytes]:
    told = {"ready": not found.reasons, "reasons": found.reasons, "waits": found.waits}
    return "application/json", json.dumps(told).encode() + b"\n"
