"""A broker that each role reaches by a proxy of its own, so that a test can break one role's connections."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from integration.proxy import Proxy
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.dev.config import deploy_folder
from kantor_orchestrator.dev.ports import free_port


class ProxiedKafka:
    """A context manager: at the end nothing is left. For each role the broker has a listener, and says to those who come by it
    that it is where the role's proxy listens: so all of the role's connections go through the proxy."""

    def __init__(self, folder: Path, roles: Sequence[str]) -> None:
        self._exit = ExitStack()
        listeners: dict[str, int] = {}
        for role in roles:
            listeners[role] = free_port(*listeners.values())
        self.proxies = {role: self._exit.enter_context(Proxy(port)) for role, port in listeners.items()}
        advertised = {role: proxy.port for role, proxy in self.proxies.items()}
        self.broker = DevBroker(folder / "kafka", deploy=_deploy(folder / "deploy", listeners, advertised))
        self._exit.callback(self.broker.reset)

    def address(self, role: str) -> str:
        """The bootstrap servers of a role; ``broker.start()`` gives those of whom nobody disturbs."""
        return f"127.0.0.1:{self.proxies[role].port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(type_, value, traceback)


def _deploy(folder: Path, listeners: Mapping[str, int], advertised: Mapping[str, int]) -> Path:
    """Kantor's own settings of Kafka, with more listeners."""
    shutil.copytree(deploy_folder(), folder)
    settings = folder / "server.properties"
    text = settings.read_text(encoding="utf-8")
    for setting, ports in (("listeners", listeners), ("advertised.listeners", advertised)):
        more = "".join(f",ROLE{n}://127.0.0.1:{port}" for n, port in enumerate(ports.values()))
        text = _extended(text, setting, more)
    protocols = "".join(f",ROLE{n}:PLAINTEXT" for n in range(len(listeners)))
    settings.write_text(_extended(text, "listener.security.protocol.map", protocols), encoding="utf-8")
    return folder


def _extended(text: str, setting: str, more: str) -> str:
    lines = text.splitlines()
    (number,) = (n for n, line in enumerate(lines) if line.startswith(f"{setting}="))
    lines[number] += more
    return "\n".join(lines) + "\n"
