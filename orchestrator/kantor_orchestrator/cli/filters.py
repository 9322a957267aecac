"""The options by which commands choose transactions; the same words as in the API's queries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from kantor_orchestrator.definitions import durations
from kantor_orchestrator.view.search import Criteria, asked
from kantor_orchestrator.view.status import ShownStatus
from kantor_orchestrator.words import now

Command = TypeVar("Command", bound=Callable[..., Any])


class _Duration(click.ParamType[int]):
    """A duration such as ``10m``: in milliseconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return durations.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()


class _Time(click.ParamType[int]):
    """A time, or how long ago: in milliseconds since the epoch."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if durations.is_written(value):
            return now() - DURATION.convert(value, param, ctx)
        try:
            return int(datetime.fromisoformat(value).timestamp() * 1000)
        except ValueError:
            self.fail(f"{value!r} is not a time; write 2026-01-31T12:00, or how long ago: 2h", param, ctx)


_OPTIONS = (
    click.option(
        "--status",
        multiple=True,
        type=click.Choice([status.value for status in ShownStatus]),
        help="Only those with this status; may be repeated.",
    ),
    click.option("--saga", default="", help="Only those of this saga."),
    click.option(
        "--version", type=click.IntRange(1), default=None, help="Only those on this version of the saga."
    ),
    click.option(
        "--step", default="", help="Only those that are at this step, or whose last error came from it."
    ),
    click.option(
        "--service",
        default="",
        help="Only those that are waiting on this service, on 'a person' or on 'kantor'.",
    ),
    click.option("--error", default="", help="Only those with this text in the last error or the reason."),
    click.option(
        "--since",
        "started_after",
        type=_Time(),
        default=None,
        help="Only those that started after this time.",
    ),
    click.option(
        "--until",
        "started_before",
        type=_Time(),
        default=None,
        help="Only those that started before this time.",
    ),
    click.option(
        "--stuck",
        "stuck_for",
        type=DURATION,
        default=None,
        help="Only open ones without progress for this long.",
    ),
    click.option("--open", "is_open", is_flag=True, help="Only those that have not ended, or need a person."),
)


def filters(command: Command) -> Command:
    """Gives a command the options; it takes them as ``**wanted`` for :func:`criteria`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def criteria(text: str, *, version: int | None, saga: str, **said: Any) -> Criteria:
    """What the options mean now. Raises ``click.UsageError`` if they contradict each other."""
    if version is not None and not saga:
        raise click.UsageError("--version needs a saga: name it with --saga")
    return asked(now(), text=text, version=version, saga=saga, **said)
