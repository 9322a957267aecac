"""``kantor retry | skip | cancel | compensate | close | signal | start``: what people do to a transaction; ``hold | release``: to a
saga, or to all of them."""

from __future__ import annotations

import getpass
from typing import Any

import click

from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ID
from kantor.errors import KantorError, NotFoundError
from kantor.schemas import schema_store
from kantor_orchestrator import holds, voice
from kantor_orchestrator.acts import Acts, Move, refusal
from kantor_orchestrator.cli.output import as_json_option, open_view, print_json, say
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions.deploy import read
from kantor_orchestrator.view.reader import NoViewError


def _command(
    name: str, summary: str, *, step: str = "", fields: bool = False, offset: bool = False
) -> click.Command:
    """``step``: "needed" or "possible", where the act is about one; ``offset``: it is about an entry of the journal."""

    def run(
        what: str,
        why: str,
        actor: str,
        as_json: bool,
        path: str = "",
        field: tuple[str, ...] = (),
        offset: int | None = None,
    ) -> None:
        said: dict[str, Any] = {} if offset is None else {"offset": offset}
        for one in field:
            key, equals, value = one.partition("=")
            if not equals:
                raise click.UsageError(f"--field {one}: write NAME=VALUE")
            said[key] = value
        acts = Acts(Settings.from_env().kafka)
        _tell(name, acts.do(name, found(what), step=path, why=why, actor=actor, fields=said), as_json)

    command = click.command(name, help=summary)(run)
    options = [
        click.Argument(["what"], metavar="ID|KEY=VALUE"),
        _why(required=name != core.SIGNAL),
        _actor(),
    ]
    if step:
        options.append(click.Option(["--step", "path"], **_needed(step == "needed"), help="The step's path."))
    if offset:
        said = "The journal offset of the message that starts it; `kantor trace` shows it."
        options.append(
            click.Option(["--offset"], type=click.IntRange(0, (1 << 63) - 1), required=True, help=said)
        )
    if fields:
        options.append(
            click.Option(["--field"], multiple=True, metavar="NAME=VALUE", help="A field of the signal.")
        )
    command.params = [*options, *command.params]
    return as_json_option(command)


def _command_on_sagas(name: str, summary: str) -> click.Command:
    def run(saga: str, why: str, actor: str, as_json: bool) -> None:
        settings = Settings.from_env()
        acts = Acts(settings.kafka)
        if saga:
            names = {
                one.model.saga for one in read(settings.kafka, Codec(schema_store(settings.kafka))).bundles()
            }
            if saga not in names:
                known = ", ".join(sorted(names)) or "none"
                raise NotFoundError(f"no saga {saga} is deployed; there are: {known}")
        moves = acts.do_to_all(name, saga, why=why, actor=actor)
        _tell(name, moves if as_json else moves[:1], as_json)

    command = click.command(name, help=summary)(run)
    saga = click.Option(["--saga"], default=holds.ALL, help="Only this saga (default: all sagas).")
    command.params = [saga, _why(required=True), _actor(), *command.params]
    return as_json_option(command)


def _why(*, required: bool) -> click.Option:
    said = "The reason or evidence; kept in the history."
    return click.Option(["--why"], **_needed(required), callback=_not_blank if required else None, help=said)


def _needed(required: bool) -> dict[str, Any]:
    """A default, whichever, would be an answer to click: it would not ask for the option any more."""
    return {"required": True} if required else {"default": ""}


def _not_blank(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why: it is kept in the history, with your name")
    return value


def _actor() -> click.Option:
    return click.Option(["--actor"], default=getpass.getuser, help="Who does it (default: your user name).")


def _tell(name: str, moves: list[Move], as_json: bool) -> None:
    if as_json:
        print_json({"moves": moves})
    for move in moves:
        if move["transaction_id"]:
            say(voice.answer(move))
        else:
            say(f"{move['saga'] or 'every saga'}: {move['reason']}")
    if refusal(moves):
        raise KantorError(f"{name} was not possible")


retry = _command(
    core.RETRY,
    "Retry what waits for a person: a step, its compensation, or the whole transaction.",
    step="possible",
)
skip = _command(
    core.SKIP,
    "Record that a step, or its compensation, was done by hand. Without --step, go on without what waits for a person. Give the "
    "evidence with --why.",
    step="possible",
)
cancel = _command(
    core.CANCEL,
    "Reverse what a running transaction has done, as long as there is a way back. Usually this is the command you want. It is "
    "refused while nobody knows whether the pivot happened: then see `kantor compensate`.",
)
compensate = _command(
    core.COMPENSATE,
    "Do what `kantor cancel` does; if the pivot's outcome is unknown, also record that it did NOT happen, so that the rest is "
    "reversed. Make sure of that first.",
)
close = _command(
    core.CLOSE,
    "End a transaction as it is, whatever its state. Nothing is reversed. Give the evidence with --why.",
)
hold = _command_on_sagas(
    holds.HOLD,
    "Stop a saga's transactions until `kantor release`: what arrives for them waits, nothing is sent, no timer fires.",
)
release = _command_on_sagas(
    holds.RELEASE, "Let held transactions go on: what has waited is processed in its order."
)
start = _command(
    core.START,
    "Start a transaction whose start event came too late to start it.",
    offset=True,
)
signal = _command(core.SIGNAL, "Give a step the signal that it waits for.", step="needed", fields=True)


def found(what: str) -> str:
    """The transaction that is meant: as for ``kantor trace``; literally where the view does not know it (yet), or there is none:
    the engine knows."""
    try:
        view = open_view()
    except NoViewError:
        return what
    with view:
        ids = view.find(what, 2)
    if not ids and TRANSACTION_ID.fullmatch(what):
        return what
    if not ids:
        raise NotFoundError(f"no transaction matches {what!r}; `kantor list` shows the latest")
    if len(ids) > 1:
        raise click.UsageError(
            f"several transactions match {what}: give one's id (`kantor trace {what}` lists them)"
        )
    return ids[0]
