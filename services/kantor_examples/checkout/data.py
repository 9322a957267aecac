"""Where the services of this example keep their databases."""

from __future__ import annotations

import os
from pathlib import Path

ENV_DATA = "CHECKOUT_DATA"


def folder() -> Path:
    """``CHECKOUT_DATA``, or ``.kantor`` in the current folder, where ``kantor dev`` and ``kantor run`` keep theirs."""
    return Path(os.environ.get(ENV_DATA) or ".kantor")


def database(service: str) -> str:
    """The SQLite file of one service. No service opens another one's."""
    return str(folder() / f"{service}.db")
