"""``kantor bulk retry``, ...: the same operator action on all transactions that the options choose."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

import click

from kantor.envelope import derived_id
from kantor.errors import KantorError, NotFoundError
from kantor_orchestrator.cli import who
from kantor_orchestrator.cli.filters import criteria, filters
from kantor_orchestrator.cli.listing import print_list
from kantor_orchestrator.cli.output import as_json_option, console, open_view, print_json, say
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core.act_kinds import FOR_MANY
from kantor_orchestrator.operations.acts import Acts, refusal
from kantor_orchestrator.view.queries import Criteria, Summary
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.words import count

#: Transactions that one call may change; those of them that are shown first; those that are written at a time.
MOST, SAMPLE, CHUNK = 10_000, 5, 200


@click.command()
@click.argument("act", type=click.Choice(list(FOR_MANY)))
@filters
@click.option("--why", **who.why(required=True))
@click.option("--actor", **who.ACTOR)
@click.option(
    "--yes", is_flag=True, help="Do not ask. Required where there is no terminal: otherwise nothing is done."
)
@as_json_option
def bulk(act: str, why: str, actor: str, yes: bool, as_json: bool, **options: Any) -> None:
    """Do the same to all transactions that the options select. Says how many there are, shows some, and asks first.

    Transactions for which the engine refuses are listed with the reason, and the exit code is 1. Running it again is harmless.
    """
    wanted = criteria("", **options)
    if not wanted:
        raise click.UsageError(
            "select transactions, for example with --saga NAME --open; bulk is never done to all of them"
        )
    found = _found(wanted)
    if not found:
        say("No transactions match: nothing to do.")
    elif not yes:
        print_list(console(sys.stderr if as_json else sys.stdout), found[:SAMPLE])
        if len(found) > SAMPLE:
            say(f"... and {len(found) - SAMPLE:,} more")
        click.confirm(f"{act} {count(len(found), 'transaction')}?", abort=True, err=True)
    ids = [one.transaction_id for one in found]
    refused, unanswered = _carry_out(act, ids, why, actor) if ids else ({}, [])
    if as_json:
        print_json({"act": act, "chosen": len(ids), "refused": refused, "unanswered": unanswered})
    else:
        for id_, reason in refused.items():
            say(f"{id_}: not possible: {reason}")
        for id_ in unanswered:
            say(
                f"{id_}: the engine has not answered yet; the operator action is in the journal and will be carried out"
            )
        say(f"done: {len(ids) - len(refused) - len(unanswered):,} of {len(ids):,}")
    if refused or unanswered:
        raise KantorError(f"{act} was not done for {count(len(refused) + len(unanswered), 'transaction')}")


def _found(wanted: Criteria) -> list[Summary]:
    """All of them. Raises ``click.UsageError`` if there are too many, ``NotFoundError`` where there is no view."""
    found: list[Summary] = []
    page = ""
    try:
        with open_view() as view:
            while len(found) <= MOST:
                batch = view.search(wanted, limit=min(1_000, MOST + 1 - len(found)), page=page)
                found += batch.transactions
                page = batch.next_page
                if not page and len(found) <= MOST:
                    return found
    except NoViewError as error:
        raise NotFoundError(str(error)) from error
    raise click.UsageError(f"more than {MOST:,} transactions match: add options that narrow the selection")


def _carry_out(act: str, ids: list[str], why: str, actor: str) -> tuple[dict[str, str], list[str]]:
    """Why it was refused, by transaction; and those that the engine has not answered for."""
    acts = Acts(Settings.from_env().kafka)
    run = str(uuid4())
    refused: dict[str, str] = {}
    unanswered: list[str] = []
    with click.progressbar(length=len(ids), label=act, file=sys.stderr) as progress:
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            moves = acts.do_many(act, {id_: derived_id(run, id_) for id_ in chunk}, actor=actor, why=why)
            why_not = {id_: refusal(found) for id_, found in moves.items()}
            refused |= {id_: reason for id_, reason in why_not.items() if reason}
            unanswered += [id_ for id_ in chunk if id_ not in moves]
            progress.update(len(chunk))
    return refused, unanswered
