"""``kantor incidents``: what waits for a person, the longest waiting first."""

from __future__ import annotations

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kantor_orchestrator.cli import watching
from kantor_orchestrator.cli.listing import known_as
from kantor_orchestrator.cli.output import as_json_option, console, print_json, printable, say
from kantor_orchestrator.cli.watching import watch_option
from kantor_orchestrator.view import as_json as shapes
from kantor_orchestrator.view.queries import IncidentPage, OpenIncident, View
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.words import count, duration, keys_line, now

#: Columns below which an incident takes three lines instead of a row.
_NARROW = 110


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--page", default="", help="Continue where the last list ended: its next_page.")
@watch_option
@as_json_option
def incidents(limit: int, page: str, as_json: bool, watch: bool) -> None:
    """List open incidents (transactions that need a person), longest waiting first."""

    def show(view: View) -> bool:
        _show(view.incident_page(limit=limit, page=page), view.incident_count(), as_json)
        return False

    try:
        watching.shown(show, watching=watch)
    except NoViewError as error:
        _show(IncidentPage([], ""), 0, as_json)
        say(str(error))


def _show(found: IncidentPage, total: int, as_json: bool) -> None:
    if as_json:
        shown = [shapes.open_incident(one) for one in found.incidents]
        print_json({"open": total, "incidents": shown, "next_page": found.next_page or None})
        return
    if not found.incidents:
        say("No open incidents.")
        return
    _print(console(), printable(found.incidents))
    if found.next_page:
        say(f"{count(total, 'incident')} open; more: --page {found.next_page}, or --limit.")
    say(
        "`kantor trace ID` shows why, and what to type: usually `kantor retry ID --why ...` once the cause is fixed."
    )


def _print(to: Console, found: list[OpenIncident]) -> None:
    if to.width < _NARROW:
        for one in found:
            to.print(Text.assemble((one.transaction_id, "bold"), "  ", (_what(one), "red")))
            known = f"{keys_line(one.keys)}; " if one.keys else ""
            facts = f"{known}{one.saga or 'no saga'}; open for {_since(one)}"
            to.print(Padding(Text(facts, style="bright_black"), (0, 0, 0, 2)))
            to.print(Padding(Text(one.reason), (0, 0, 0, 2)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("transaction", overflow="fold")
    table.add_column("saga", overflow="fold")
    table.add_column("what", overflow="fold", style="red")
    table.add_column("open for", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for one in found:
        table.add_row(
            known_as(one.transaction_id, one.keys), one.saga or "–", _what(one), _since(one), Text(one.reason)
        )
    to.print(table)


def _what(one: OpenIncident) -> str:
    kind = one.kind.replace("_", " ")
    return f"{kind} of {one.step}" if one.step else kind


def _since(one: OpenIncident) -> str:
    return duration(now() - one.opened_at)
