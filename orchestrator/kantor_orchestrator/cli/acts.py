"""``kantor retry | skip | cancel | compensate | close | signal``: what people do to a transaction."""

from __future__ import annotations

import getpass
import time
from typing import Any

import click

from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.errors import KantorError, NotFoundError
from kantor.kafka import Admin, Consumer
from kantor.schemas import schema_store
from kantor_orchestrator import topics
from kantor_orchestrator.acts import Acts
from kantor_orchestrator.cli.output import as_json_option, open_view, print_json, say
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.core.transaction import Kind
from kantor_orchestrator.view.reader import NoViewError

#: Seconds that the engine has to answer.
PATIENCE = 10.0


def _command(name: str, summary: str, *, step: str = "", fields: bool = False) -> click.Command:
    """``step``: "needed" or "possible", where the act is about one."""

    def run(
        what: str, why: str, actor: str, as_json: bool, path: str = "", field: tuple[str, ...] = ()
    ) -> None:
        said = {}
        for one in field:
            key, equals, value = one.partition("=")
            if not equals:
                raise click.UsageError(f"--field {one}: write NAME=VALUE")
            said[key] = value
        moves = carry_out(Settings.from_env(), name, found(what), path, why, actor, said)
        if as_json:
            print_json({"moves": moves})
        for move in moves:
            say(" ".join(str(move[part]) for part in ("kind", "step", "reason") if move[part]))
        if any(move["kind"] == Kind.IGNORED for move in moves):
            raise KantorError(f"{name} was not possible")

    command = click.command(name, help=summary)(run)
    options = [
        click.Argument(["what"], metavar="ID|KEY=VALUE"),
        click.Option(
            ["--why"],
            required=name != core.SIGNAL,
            default="",
            help="The reason, or the evidence; kept in the history.",
        ),
        click.Option(["--actor"], default=getpass.getuser, help="Who does it (default: your user name)."),
    ]
    if step:
        options.append(
            click.Option(["--step", "path"], required=step == "needed", default="", help="The step's path.")
        )
    if fields:
        options.append(
            click.Option(["--field"], multiple=True, metavar="NAME=VALUE", help="What the signal says.")
        )
    command.params = [*options, *command.params]
    return as_json_option(command)


COMMANDS = (
    _command(
        core.RETRY,
        "Try again what waits for a person: a step, its compensation, or the whole transaction.",
        step="possible",
    ),
    _command(
        core.SKIP,
        "Say that a step, or its compensation, was done by hand; --why is the evidence.",
        step="needed",
    ),
    _command(
        core.CANCEL,
        "Cancel a running transaction: what happened is reversed, as long as there is a way back.",
    ),
    _command(core.COMPENSATE, "Reverse a running transaction's effects, as long as there is a way back."),
    _command(core.CLOSE, "End a transaction as it is, whatever its state; --why is the evidence."),
    _command(core.SIGNAL, "Give the signal that a step waits for.", step="needed", fields=True),
)


def found(what: str) -> str:
    """The transaction that is meant: as for ``kantor trace``, or literally where there is no view."""
    try:
        view = open_view()
    except NoViewError:
        return what
    with view:
        ids = view.find(what, 2)
    if not ids:
        raise NotFoundError(f"no transaction is found by {what!r}; `kantor list` shows the latest")
    if len(ids) > 1:
        raise click.UsageError(
            f"several transactions match {what}: give one's id (`kantor trace {what}` lists them)"
        )
    return ids[0]


def carry_out(
    settings: Settings, act: str, id_: str, step: str, why: str, actor: str, fields: dict[str, str]
) -> list[dict[str, Any]]:
    """Append the act, and wait for what the engine makes of it: its moves. Raises ``KantorError`` if it does not answer."""
    admin = Admin(settings.kafka)
    shards = admin.topics().get(topics.HISTORY, 0)
    if not shards:
        raise NotFoundError("there is no platform on this cluster: start it with `kantor run`")
    history = topics.HISTORY, shard_of(id_, shards)
    reader = Consumer(settings.kafka, "kantor-cli")
    try:
        reader.assign(admin.ends([history]))
        done = Acts(settings.kafka, shards).do(act, id_, actor=actor, why=why, step=step, fields=fields)
        codec = Codec(schema_store(settings.kafka))
        deadline = time.monotonic() + PATIENCE
        moves: list[dict[str, Any]] = []
        while not moves and time.monotonic() < deadline:
            for record in reader.poll(0.1).records:
                move = codec.decode(record.value())
                if move["message_id"] == done:
                    moves.append(move)
    finally:
        reader.close()
    if not moves:
        raise KantorError(
            f"the engine has not answered in {PATIENCE:.0f} s: the act is in the journal and will be carried out, if there is "
            f"a transaction {id_}; see `kantor status` and `kantor trace {id_}`"
        )
    return moves
