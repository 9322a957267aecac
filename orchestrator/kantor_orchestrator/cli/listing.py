"""``kantor list``: transactions, the newest first."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kantor_orchestrator.cli.output import as_json_option, console, open_view, print_json, printable, say
from kantor_orchestrator.cli.words import STATUS_STYLES, duration, moment, now
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.view import as_json as shapes
from kantor_orchestrator.view.queries import Page, Summary
from kantor_orchestrator.view.reader import NoViewError

#: Columns below which a transaction takes two lines instead of a row.
_NARROW = 100


@click.command(name="list")
@click.option(
    "--status", type=click.Choice([status.value for status in Status]), help="Only those that are so."
)
@click.option("--saga", help="Only those of this saga.")
@click.option("--version", type=click.IntRange(min=1), help="Only those on this version of it.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--page", default="", help="Go on where the last list ended: its next_page.")
@as_json_option
def list_(
    status: str | None, saga: str | None, version: int | None, limit: int, page: str, as_json: bool
) -> None:
    """List transactions, the newest first."""
    if version is not None and saga is None:
        raise click.UsageError("--version is that of a saga: name it with --saga")
    hint = ""
    try:
        with open_view() as view:
            found = view.transactions(status=status, saga=saga, version=version, limit=limit, page=page)
            if not found.transactions:
                hint = _why_empty(status, saga, version, sum(view.counts().values()))
    except NoViewError as error:
        found, hint = Page([], ""), str(error)
    if as_json:
        print_json(shapes.page(found))
    elif found.transactions:
        print_list(console(), found.transactions)
        if found.next_page:
            hint = f"There are more: --page {found.next_page}, or --limit."
    if hint:
        say(hint)


def _why_empty(status: str | None, saga: str | None, version: int | None, total: int) -> str:
    if total and (status or saga):
        of = f"of saga {saga}{f' version {version}' if version else ''}" if saga else ""
        what = " ".join(part for part in (status, "transaction", of) if part)
        return f"There is no {what} among {total:,}."
    if total:
        return "That was the last page."
    return (
        "The view is there, but empty: nothing has reached the journal yet. Does `kantor run` run, and do services publish "
        "events with the header ce_correlationid? `kantor status` says what is wrong."
    )


def print_list(console: Console, found: Sequence[Summary]) -> None:
    found = printable(list(found))
    if console.width < _NARROW:
        for one in found:
            console.print(Text.assemble(Text(one.transaction_id, style="bold"), "  ", _status(one)))
            note = _note(one)
            facts = [one.saga or "no saga", _started(one), *([note] if note else [])]
            console.print(Padding(Text("; ".join(facts), style="bright_black"), (0, 0, 0, 2)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("transaction", overflow="fold")
    table.add_column("saga", overflow="fold")
    table.add_column("status")
    table.add_column("started", no_wrap=True, style="bright_black")
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("waits for, or why", overflow="fold", ratio=1)
    for one in found:
        took = duration(one.ended_at - one.started_at) if one.ended_at else ""
        table.add_row(
            one.transaction_id, one.saga or "–", _status(one), _started(one), took, Text(_note(one))
        )
    console.print(table)


def _status(one: Summary) -> Text:
    return Text(one.status, style=STATUS_STYLES.get(one.status, "white"))


def _started(one: Summary) -> str:
    started = moment(one.started_at)
    today = started.date() == moment(now()).date()
    return f"{started:%H:%M:%S}" if today else f"{started:%Y-%m-%d %H:%M}"


def _note(one: Summary) -> str:
    if one.held:
        return one.held
    if one.waiting_for:
        due = (
            f", due {duration(abs(one.due - now()))} {'ago' if one.due < now() else 'from now'}"
            if one.due
            else ""
        )
        return f"{', '.join(one.waiting_for)}{due}" + (f" ({one.last_error})" if one.last_error else "")
    return one.reason or one.last_error
