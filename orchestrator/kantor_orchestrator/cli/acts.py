"""``kantor retry``, ``kantor hold``, ...: a command for each operator action, as ``core.act_kinds`` describes it."""

from __future__ import annotations

from typing import Any

import click

from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ID
from kantor.errors import KantorError, NotFoundError
from kantor.schemas import schema_store
from kantor_orchestrator import voice
from kantor_orchestrator.cli import who
from kantor_orchestrator.cli.output import as_json_option, open_view, print_json, say
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core.act_kinds import FIELDS, KINDS, NEEDED, OFFSET, ON_SAGAS, ActKind
from kantor_orchestrator.definitions.deploy import read
from kantor_orchestrator.formats import holds
from kantor_orchestrator.operations.acts import Acts, Move, refusal
from kantor_orchestrator.view.reader import NoViewError


def _command(kind: ActKind) -> click.Command:
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
        moves = acts.do(kind.name, found(what), step=path, why=why, actor=actor, fields=said)
        _tell(kind.name, moves, as_json)

    command = click.command(kind.name, help=kind.help)(run)
    options = [
        click.Argument(["what"], metavar="ID|KEY=VALUE"),
        click.Option(["--why"], **who.why(required=kind.needs_why)),
        click.Option(["--actor"], **who.ACTOR),
    ]
    if kind.step:
        required = who.needed(kind.step == NEEDED)
        options.append(click.Option(["--step", "path"], **required, help="The step's path."))
    if kind.takes == OFFSET:
        said = "The journal offset of the message that starts it; `kantor trace` shows it."
        options.append(
            click.Option(["--offset"], type=click.IntRange(0, (1 << 63) - 1), required=True, help=said)
        )
    if kind.takes == FIELDS:
        options.append(
            click.Option(["--field"], multiple=True, metavar="NAME=VALUE", help="A field of the signal.")
        )
    command.params = [*options, *command.params]
    return as_json_option(command)


def _command_on_sagas(kind: ActKind) -> click.Command:
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
        moves = acts.do_to_all(kind.name, saga, why=why, actor=actor)
        _tell(kind.name, moves if as_json else moves[:1], as_json)

    command = click.command(kind.name, help=kind.help)(run)
    saga = click.Option(["--saga"], default=holds.ALL, help="Only this saga (default: all sagas).")
    command.params = [
        saga,
        click.Option(["--why"], **who.why(required=True)),
        click.Option(["--actor"], **who.ACTOR),
        *command.params,
    ]
    return as_json_option(command)


def _tell(name: str, moves: list[Move], as_json: bool) -> None:
    if as_json:
        print_json({"transitions": moves})
    for move in moves:
        if move["transaction_id"]:
            say(voice.answer(move))
        else:
            say(f"{move['saga'] or 'every saga'}: {move['reason']}")
    if refusal(moves):
        raise KantorError(f"{name} was not possible")


COMMANDS = {kind.name: _command(kind) for kind in KINDS.values()} | {
    kind.name: _command_on_sagas(kind) for kind in ON_SAGAS.values()
}


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
