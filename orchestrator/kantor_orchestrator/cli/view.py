"""``kantor view``: looking after the view."""

from __future__ import annotations

import sys

import click

from kantor_orchestrator.cli.output import as_json_option, print_json, say
from kantor_orchestrator.config import Settings
from kantor_orchestrator.view.rebuild import Progress, Rebuilt
from kantor_orchestrator.view.rebuild import rebuild as build_anew
from kantor_orchestrator.words import count, date_and_clock, duration


@click.group()
def view() -> None:
    """Maintain the view: the database behind lists, traces and pages."""


@view.command()
@as_json_option
def rebuild(as_json: bool) -> None:
    """Rebuild the view from what Kafka still holds.

    The new view is built beside the old one, which stays in use until the new one replaces it in one step. What Kafka no
    longer holds is copied from the old view. If you stop the rebuild, nothing changes.
    """
    found = build_anew(Settings.from_env(), _Words().tell)
    if as_json:
        print_json(
            {
                "records": found.records,
                "kept_transactions": found.kept,
                "seconds": round(found.seconds, 3),
                "complete_from": found.complete_from or None,
            }
        )
    else:
        click.echo(_result(found))


class _Words:
    """Progress on stderr: a line that changes on a terminal, elsewhere a new one every second."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()

    def tell(self, progress: Progress) -> None:
        text = told(progress)
        if not self._is_terminal:
            say(text)
            return
        click.echo(f"\r{text}\x1b[K", err=True, nl=progress.left == 0)


def told(progress: Progress) -> str:
    if progress.left < 0:
        return f"{count(progress.kept, 'transaction')} that Kafka no longer holds copied from the old view"
    text = f"{count(progress.records, 'record')}, {progress.rate:,.0f} a second"
    if not progress.left:
        return f"{text}: switching over"
    rest = duration(int(progress.left / progress.rate * 1000)) if progress.rate else "?"
    return f"{text}, {progress.left:,} left, about {rest}"


def _result(found: Rebuilt) -> str:
    text = f"The view has been rebuilt: {count(found.records, 'record')} in {duration(int(found.seconds * 1000))}."
    if found.kept:
        text += f"\n{count(found.kept, 'transaction')} kept from the old view: Kafka holds them only in part, or no longer."
    if found.complete_from:
        text += f"\nIt is complete from {date_and_clock(found.complete_from)} on."
    return text
