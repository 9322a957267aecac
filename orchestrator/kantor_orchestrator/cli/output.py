"""What the commands share: where the view is, how data and messages are written."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click
from rich.console import Console

from kantor_orchestrator.config import home_folder
from kantor_orchestrator.view.database import path_of
from kantor_orchestrator.view.queries import View

as_json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def open_view() -> View:
    """The view of this machine's settings; no Kafka is needed. Raises ``NoViewError`` if there is none yet."""
    return View(path_of(os.environ.get("KANTOR_VIEW_URL") or f"sqlite:///{home_folder() / 'view.db'}"))


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(message: str) -> None:
    """To the person, not to the pipe."""
    click.echo(message, err=True)


def console() -> Console:
    """Stdout, with colours where they are wanted (NO_COLOR, a pipe: none)."""
    return Console(file=sys.stdout, highlight=False)
