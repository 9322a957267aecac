"""What the commands share: where the view is, how data and messages are written."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, TextIO, TypeVar

import click
from rich.console import Console

from kantor_orchestrator.config import home_folder
from kantor_orchestrator.view.queries import View

T = TypeVar("T")

as_json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def open_view() -> View:
    """The view of this machine's settings; no Kafka is needed. Raises ``NoViewError`` if there is none yet."""
    return View(view_url())


def view_url() -> str:
    """Where the view is: KANTOR_VIEW_URL, or a file in the home folder."""
    return os.environ.get("KANTOR_VIEW_URL") or f"sqlite:///{home_folder() / 'view.db'}"


def silence_clients() -> None:
    """Nothing of Kafka's clients is logged while this command runs: what they would say is raised, is the answer, or passes by itself."""
    log = logging.getLogger("kantor.kafka")
    click.get_current_context().call_on_close(partial(log.setLevel, log.level))
    log.setLevel(logging.CRITICAL)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(message: str) -> None:
    """To the person, not to the pipe."""
    click.echo(message, err=True)


def console(stream: TextIO | None = None) -> Console:
    """Stdout unless it is said, with colours where they are wanted (NO_COLOR, a pipe: none). Text is text: no markup, no emoji codes."""
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without our signs shows others
    return Console(file=stream, highlight=False, markup=False, emoji=False)


#: Control characters, which a message from outside could steer the terminal with.
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")


def printable(value: T) -> T:
    """The same, without control characters in any of its texts: dataclasses, lists and tuples are gone through."""
    if isinstance(value, str):
        return value.translate(_CONTROLS)  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(printable(one) for one in value)
    if is_dataclass(value):
        return replace(value, **{f.name: printable(getattr(value, f.name)) for f in fields(value)})  # type: ignore[type-var]
    return value
