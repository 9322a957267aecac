"""The role ``api``: the REST API and the pages, until told to stop."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import uvicorn

from kantor.errors import ConfigError, KantorError
from kantor_orchestrator.api.app import create_app, provider_of
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.config import ENV_ADDRESS, ApiSettings
from kantor_orchestrator.api.identity import ProviderDownError
from kantor_orchestrator.api.live import Live
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.config import ADDRESS_FILE, Settings
from kantor_orchestrator.process.handover import when_free

log = logging.getLogger("kantor.api")

#: Seconds that requests get to end.
_GRACE = 5


def run_api(settings: Settings, stop: Event, ready: Callable[[], None], metrics: ApiMetrics) -> None:
    """Serve until ``stop``. Raises ``ConfigError`` for what no retry can mend."""
    api = ApiSettings.from_env()
    provider = provider_of(api.oidc) if api.oidc else None
    if provider is not None:
        try:
            provider.describe()
        except (
            ProviderDownError
        ) as error:  # sessions and tokens are good without it; it is asked again by whoever logs in
            log.warning("nobody can log in yet: %s", error, extra={"action": "oidc_unavailable"})
    listening = when_free(lambda: _listen(api), stop)
    backend = Backend(settings)
    live = Live(backend, metrics)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(backend, api, live, provider, metrics),
            log_config=None,
            log_level="warning",  # that it starts and where, we say ourselves
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            timeout_graceful_shutdown=_GRACE,
            limit_concurrency=1_000,
            ssl_certfile=api.certificate or None,
            ssl_keyfile=api.key or None,
        )
    )
    address = settings.home / ADDRESS_FILE
    url = _url(api, listening)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, name="kantor-api")
    try:
        thread.start()
        while not server.started and thread.is_alive():
            if stop.wait(0.05):
                break
        if server.started:
            try:
                _write(address, url)
            except OSError as error:  # people have the log
                log.warning("%s can't be written: %s", address, error, extra={"action": "address_untold"})
            log.info("pages and API at %s", url, extra={"action": "api_started", "url": url})
            ready()
        while thread.is_alive() and not stop.wait(0.5):
            pass
        if not stop.is_set():
            raise KantorError("the server of pages and API has ended by itself; its log says why")
    finally:
        live.end()
        server.should_exit = True
        thread.join(_GRACE * 2)
        listening.close()
        with suppress(OSError):  # it could not be written, either; or it is another process's by now
            if address.read_text(encoding="utf-8").strip() == url:
                address.unlink(missing_ok=True)
        backend.close()


def _listen(api: ApiSettings) -> socket.socket:
    """The socket. Another port if nobody chose this one."""
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    try:
        return _bound(family, api.host, api.port)
    except (OSError, UnicodeError, TypeError) as error:  # the last two: a name that can be no host's
        if not api.is_port_fixed:
            return _bound(family, api.host, 0)
        raise ConfigError(
            f"{ENV_ADDRESS}: {api.host}:{api.port} can't be used: {error}; choose another port, and an address of this machine"
        ) from error


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except BaseException:
        found.close()
        raise
    return found


def _url(api: ApiSettings, listening: socket.socket) -> str:
    host = f"[{api.host}]" if ":" in api.host else api.host
    return f"{'https' if api.certificate else 'http'}://{host}:{listening.getsockname()[1]}"


def _write(path: Path, url: str) -> None:
    """Whoever waits for the file finds all of the address in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(url + "\n", encoding="utf-8")
    fresh.replace(path)
