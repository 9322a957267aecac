"""What each operator action says of itself: who does it, and why. Both are options of click's."""

from __future__ import annotations

import getpass
import os
from typing import Any

import click


def _user() -> str:
    """Raises ``click.UsageError`` where the user has no name, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise click.UsageError(
            f"user {os.getuid()} has no name here: say who you are with --actor"
        ) from error


def _somebody(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say who does it: it is kept in the history")
    return value


def _not_blank(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why: it is kept in the history, with your name")
    return value


def needed(required: bool) -> dict[str, Any]:
    """A default, whichever, would be an answer to click: it would not ask for the option any more."""
    return {"required": True} if required else {"default": ""}


def why(*, required: bool) -> dict[str, Any]:
    said = "The reason or evidence; kept in the history."
    return {**needed(required), "callback": _not_blank if required else None, "help": said}


ACTOR: dict[str, Any] = {
    "default": _user,
    "callback": _somebody,
    "help": "Who does it (default: your user name).",
}
