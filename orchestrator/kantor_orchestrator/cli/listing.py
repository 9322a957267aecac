"""``kantor list``: transactions, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kantor_orchestrator.cli import watching
from kantor_orchestrator.cli.filters import criteria, filters
from kantor_orchestrator.cli.output import as_json_option, console, print_json, printable, say
from kantor_orchestrator.cli.watching import watch_option
from kantor_orchestrator.cli.words import STATUS_STYLES
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.view import as_json as shapes
from kantor_orchestrator.view.queries import Criteria, Page, Summary, View
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.view.status import in_words
from kantor_orchestrator.words import date_and_clock, duration, incomplete, keys_line, moment, now

#: Columns below which a transaction takes two lines instead of a row.
_NARROW = 100


@click.command(name="list")
@click.argument("text", required=False, default="", metavar="[ID|KEY=VALUE]")
@filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--page", default="", help="Continue where the last list ended: its next_page.")
@watch_option
@as_json_option
def list_(text: str, limit: int, page: str, as_json: bool, watch: bool, **options: Any) -> None:
    """List transactions, newest first: all, or those that match an id, the beginning of one, or one of a saga's keys."""
    criteria(text, **options)  # says what contradicts itself, also where there is no view

    def show(view: View) -> bool:
        wanted = criteria(text, **options)  # times count from now
        found = view.search(wanted, limit=limit, page=page)
        complete_from = view.complete_from()
        _show(
            found,
            as_json,
            "" if found.transactions else _why_empty(wanted, page, sum(view.counts().values())),
            complete_from,
        )
        if complete_from and not found.next_page:
            say(incomplete(date_and_clock(complete_from)))
        return False

    try:
        watching.shown(show, watching=watch)
    except NoViewError as error:
        _show(Page([], ""), as_json, str(error), 0)


def _show(found: Page, as_json: bool, hint: str, complete_from: int) -> None:
    if as_json:
        print_json(shapes.page(found, complete_from))
    elif found.transactions:
        print_list(console(), found.transactions)
        if found.next_page:
            hint = f"There are more: --page {found.next_page}, or --limit."
            if found.is_partial:
                hint = f"The search took too long for one page; to continue it: --page {found.next_page}"
    if hint:
        say(hint)


def _why_empty(wanted: Criteria, page: str, total: int) -> str:
    if total and wanted:
        return f"No transactions match ({total:,} in total); `kantor list` without options shows the latest."
    if total and page:
        return "That was the last page."
    return (
        "The view is empty: nothing has reached the journal yet. Is `kantor run` running, and do services publish "
        "events with the header ce_correlationid? `kantor status` says what is wrong."
    )


def print_list(console: Console, found: Sequence[Summary]) -> None:
    found = printable(list(found))
    if console.width < _NARROW:
        for one in found:
            console.print(Text.assemble(Text(one.transaction_id, style="bold"), "  ", _status(one)))
            note = _note(one)
            known = [keys_line(one.keys)] if one.keys else []
            facts = [*known, one.saga or "no saga", _started(one), *([note] if note else [])]
            console.print(Padding(_Short(Text("; ".join(facts), style="bright_black"), 3), (0, 0, 0, 2)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("transaction", overflow="fold")
    table.add_column("saga", overflow="fold")
    table.add_column("status")
    table.add_column("started", no_wrap=True, style="bright_black")
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("waiting on, or why", overflow="fold", ratio=1)
    for one in found:
        took = duration(one.ended_at - one.started_at) if one.ended_at else ""
        table.add_row(
            known_as(one.transaction_id, one.keys),
            one.saga or "–",
            _status(one),
            _started(one),
            took,
            _Short(Text(_note(one)), 2),
        )
    console.print(table)


class _Short:
    """A text in at most so many lines of the place that it gets; `--json` and `kantor trace` have all of it."""

    def __init__(self, text: Text, lines: int) -> None:
        self._text = text
        self._lines = lines

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self._text.wrap(console, options.max_width, overflow="fold")
        shown = lines[: self._lines]
        if len(lines) > len(shown):
            last = shown[-1]
            last.rstrip()
            last.truncate(options.max_width - 1)
            last.append("…")
        yield from shown


def known_as(transaction_id: str, keys: Sequence[tuple[str, str]]) -> Text:
    """The id, and below it what people call it."""
    found = Text(transaction_id)
    return found.append(f"\n{keys_line(keys)}", style="bright_black") if keys else found


def _status(one: Summary) -> Text:
    return Text(in_words(one.status), style=STATUS_STYLES.get(one.status, "white"))


def _started(one: Summary) -> str:
    started = moment(one.started_at)
    today = started.date() == moment(now()).date()
    return f"{started:%H:%M:%S}" if today else f"{started:%Y-%m-%d %H:%M}"


def _note(one: Summary) -> str:
    if one.held:
        return one.held
    if one.waiting_on:
        due = (
            f", due {duration(abs(one.due - now()))} {'ago' if one.due < now() else 'from now'}"
            if one.due
            else ""
        )
        return f"{', '.join(one.waiting_on)}{due}" + (f" ({one.last_error})" if one.last_error else "")
    # What was overcome on the way is no reason for a good end.
    return one.reason or ("" if one.status == Status.COMPLETED else one.last_error)
