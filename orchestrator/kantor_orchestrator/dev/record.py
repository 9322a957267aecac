"""What is known of a home's broker: `broker.json` on disk, and the `Status` that people and scripts see."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from .errors import DevError
from .files import write_atomically
from .process import OwnProcess

State = Literal["running", "unreachable", "stopped", "died"]


@dataclass(frozen=True, slots=True)
class BrokerRecord:
    """The content of `broker.json`. ``pid`` is None after an orderly stop; the ports are kept for the next start."""

    bootstrap_servers: str
    port: int
    controller_port: int
    version: str
    pid: int | None
    token: str
    started_at: str  # RFC 3339, UTC
    writes_cache: bool = False  # its stop takes some seconds more: see `jvm.py`

    @property
    def process(self) -> OwnProcess | None:
        return None if self.pid is None else OwnProcess(self.pid, self.token)

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def stopped(self) -> BrokerRecord:
        return replace(self, pid=None, writes_cache=False)

    def write(self, path: Path) -> None:
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> BrokerRecord | None:
        """None if nothing was ever started there. Raises `DevError` for a file that is not ours."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (TypeError, ValueError) as error:
            raise DevError(
                f"{path} can't be read ({error}). If a broker still runs there, stop it by hand; then delete the file."
            ) from error


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """``died``: started, never stopped, and gone. ``unreachable``: it is there and doesn't answer."""

    state: State
    external: bool  # named by KANTOR_BOOTSTRAP_SERVERS, not one of ours
    bootstrap_servers: str | None = None
    pid: int | None = None
    version: str | None = None
    started_at: str | None = None  # RFC 3339, UTC
    data: str | None = None
    disk_bytes: int | None = None
    log: str | None = None
