"""``kantor trace``: one transaction's whole story."""

from __future__ import annotations

import click

from kantor.errors import NotFoundError
from kantor_orchestrator.cli import watching
from kantor_orchestrator.cli.listing import print_list
from kantor_orchestrator.cli.output import as_json_option, console, print_json, say
from kantor_orchestrator.cli.render import print_trace
from kantor_orchestrator.cli.watching import watch_option
from kantor_orchestrator.view import as_json as shapes
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.words import date_and_clock, incomplete

#: Of several that match, so many are listed.
MOST = 50


@click.command()
@click.argument("what", metavar="ID|KEY=VALUE")
@watch_option
@as_json_option
def trace(what: str, as_json: bool, watch: bool) -> None:
    """Show where a transaction stands, and all its messages. With --watch, follow it until it has ended.

    ID is a transaction's id or the beginning of one; KEY=VALUE is one of its saga's keys, such as order_id=1042.
    """

    def show(view: View) -> bool:
        ids = view.find(what, MOST + 1)
        complete_from = view.complete_from()
        if not ids:
            raise NotFoundError(
                f"no transaction matches {what!r}: give its id, or KEY=VALUE with one of its saga's keys; "
                "`kantor list` shows the latest"
                + (f". {incomplete(date_and_clock(complete_from))}" if complete_from else "")
            )
        if len(ids) > 1:
            _several(view, what, ids, as_json)
            return True
        story = view.trace(ids[0])
        if as_json:
            print_json(shapes.trace(story, complete_from))
        else:
            print_trace(console(), story)
        if story.started_at < complete_from:
            say(incomplete(date_and_clock(complete_from)))
        return bool(story.ended_at)

    try:
        watching.shown(show, watching=watch)
    except NoViewError as error:
        raise NotFoundError(str(error)) from error


def _several(view: View, what: str, ids: list[str], as_json: bool) -> None:
    found = view.summaries(ids[:MOST])
    if as_json:
        print_json({"matches": [shapes.summary(one) for one in found]})
    else:
        print_list(console(), found)
    many = len(ids) if len(ids) <= MOST else f"more than {MOST}"
    say(f"{many} transactions match {what}: trace one of them by its id")
