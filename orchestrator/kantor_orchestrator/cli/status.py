"""``kantor status``: how the platform is, and what is wrong."""

from __future__ import annotations

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kantor_orchestrator.cli.output import (
    as_json_option,
    console,
    open_view,
    print_json,
    printable,
    silence_clients,
)
from kantor_orchestrator.cli.words import STATUS_STYLES
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.operations.condition import Condition, Role, inspect
from kantor_orchestrator.operations.diagnosis import StatusProblem, condition_as_json, diagnose
from kantor_orchestrator.operations.standing import IntakeMember
from kantor_orchestrator.view.database import is_shared
from kantor_orchestrator.words import date_and_clock, duration, incomplete


@click.command()
@as_json_option
def status(as_json: bool) -> None:
    """Show the health of the platform and what is wrong. Exit code 1 if Kafka does not answer."""
    silence_clients()
    settings = Settings.from_env()
    is_shared(
        settings.view_url
    )  # a URL that is none is a wrong setting; whatever else is wrong with the view is told
    found = inspect(settings, open_view)
    problems = diagnose(found)
    if as_json:
        print_json(condition_as_json(found, problems))
    else:
        _print(console(), found, printable(problems))
    if found.broker_error:
        raise click.exceptions.Exit(1)


def _print(to: Console, found: Condition, problems: list[StatusProblem]) -> None:
    if problems:
        to.print(Text(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found", style="bold red"))
        for problem in problems:
            to.print(Padding(Text.assemble(("✘ ", "red"), problem.what), (0, 0, 0, 2)))
            to.print(Padding(Text(problem.remedy, style="bright_black"), (0, 0, 0, 4)))
    else:
        to.print(Text("✔ all is well", style="bold green"))
    to.print()
    to.print(Text.assemble(("Kafka  ", "bold"), found.servers))
    if found.roles:
        to.print(_roles(found.roles))
    if found.shards:
        to.print(_shards(found))
    if found.standing.members:
        to.print(_members(found.standing.members))
    if found.counts:
        to.print(_counts(found.counts))
    if found.complete_from:
        to.print(
            Padding(Text(incomplete(date_and_clock(found.complete_from)), style="bright_black"), (1, 0, 0, 0))
        )


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _roles(roles: list[Role]) -> Padding:
    table = _table("role", "state", "processes", "records behind")
    for role in roles:
        state = Text("running", style="green") if role.is_running else Text("not running", style="red")
        processes = str(len(role.members)) if role.members or role.name != "view" else "–"
        table.add_row(role.name, state, processes, f"{role.lag:,}" if role.lag >= 0 else "–")
    return Padding(table, (1, 0, 0, 0))


def _shards(found: Condition) -> Padding:
    table = _table("shard", "journal end", "engine at", "view at")
    for shard in found.shards:
        table.add_row(
            str(shard.number), *(f"{n:,}" if n >= 0 else "–" for n in (shard.end, shard.engine, shard.view))
        )
    return Padding(table, (1, 0, 0, 0))


def _members(members: list[IntakeMember]) -> Padding:
    table = _table("intake", "partitions", "journaled all up to")
    for one in members:
        table.add_row(one.name, str(one.partitions), f"{duration(round(one.age, -3))} ago")
    return Padding(table, (1, 0, 0, 0))


def _counts(counts: dict[tuple[str, str], int]) -> Padding:
    """A row for each saga, a column for each status that occurs."""
    shown = [status.value for status in Status if any(status == found for _, found in counts)]
    table = _table("saga", *shown)
    for saga in sorted({saga for saga, _ in counts}):
        cells = []
        for one in shown:
            count = counts.get((saga, one), 0)
            cells.append(
                Text(f"{count:,}", style=STATUS_STYLES[one]) if count else Text("–", style="bright_black")
            )
        table.add_row(saga or "(none)", *cells)
    return Padding(table, (1, 0, 0, 0))
