"""Where Kafka's files are, and what `server.properties` says for one home folder."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from string import Template

from .errors import DevError

HOME = "KANTOR_HOME"
BOOTSTRAP_SERVERS = "KANTOR_BOOTSTRAP_SERVERS"


def home_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where Kantor keeps its data on this machine: $KANTOR_HOME, else ``.kantor`` where it is run."""
    return Path(environment.get(HOME) or ".kantor").absolute()


def deploy_folder() -> Path:
    """The folder with Kafka's lock and settings: in an installed package beside this file, in a checkout at its root."""
    here = Path(__file__).resolve().parent
    for folder in (here / "kafka", here.parents[2] / "deploy" / "kafka"):
        if (folder / "jgo.lock.toml").is_file():
            return folder
    raise DevError(
        f"Kafka's lock file is neither in {here / 'kafka'} nor in a checkout. Install Kantor again."
    )


def server_properties(template: Path, data: Path, port: int, controller_port: int) -> str:
    """Raises `DevError` for a data folder whose name Kafka can't take."""
    if "," in str(data):
        raise DevError(
            f"Kafka can't keep data in {data}: its name has a comma. Set {HOME} to another folder."
        )
    return Template(template.read_text(encoding="utf-8")).substitute(
        data=_escaped(str(data)), port=port, controller_port=controller_port
    )


def _escaped(text: str) -> str:
    """As a value in a Java properties file, which is Latin-1 and takes a backslash for an escape."""
    units = text.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)


def new_cluster_id() -> str:
    """As Kafka's own: 16 random bytes in URL-safe base64. Never a leading dash, which its tools take for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
