"""`kantor dev`: a Kafka broker of one's own, from pip. Data on stdout, messages on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 4 no broker runs (`status`).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import click

from kantor_orchestrator.dev import config
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.dev.errors import DevError
from kantor_orchestrator.dev.files import megabytes
from kantor_orchestrator.dev.progress import BarProgress, PlainProgress, Progress
from kantor_orchestrator.dev.record import BrokerStatus

NOT_FOUND = 4
KAFKAS_PORT = 9092  # where everybody looks for Kafka; the first choice, if it is free


class DevGroup(click.Group):
    """Ends with one line and exit code 1 instead of a traceback when the broker can't do what was asked."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DevError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=DevGroup)
def dev() -> None:
    """Start, inspect and stop a Kafka broker on this machine.

    Its data is in $KANTOR_HOME/kafka (default: .kantor/kafka in the current folder). If $KANTOR_BOOTSTRAP_SERVERS is set,
    that cluster is used and nothing is started.
    """


@dev.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to listen on. Default: the port used last time, 9092, or a free one.",
)
def start(port: int | None) -> None:
    """Start Kafka unless it is running; print its address once it answers."""
    click.echo(_broker(port).start())


@dev.command()
def stop() -> None:
    """Stop Kafka. Its data stays."""
    ending = _broker().stop()
    if ending == "killed":
        _say("Kafka did not stop in time and was killed; it recovers at the next start.")
    else:
        _say(
            "Kafka is stopped."
            if ending == "stopped"
            else "No broker of `kantor dev` is running: nothing to stop."
        )


@dev.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show whether Kafka is running, where, and its disk usage. Exit code 4 if it is not running, 1 if it has a problem."""
    found = _broker().status()
    click.echo(json.dumps(asdict(found), indent=2) if as_json else _table(found))
    ctx.exit({"running": 0, "stopped": NOT_FOUND}.get(found.state, 1))


@dev.command()
@click.option("--yes", is_flag=True, help="Don't ask.")
def reset(yes: bool) -> None:
    """Stop Kafka and delete all its topics, data and logs."""
    broker = _broker()
    if not yes:
        click.confirm(f"Delete all topics and data in {broker.folder}?", abort=True, err=True)
    broker.reset()
    _say(f"Kafka is stopped and {broker.folder} is empty.")


def _broker(port: int | None = None) -> DevBroker:
    return DevBroker(
        config.home_folder(),
        external=os.environ.get(config.BOOTSTRAP_SERVERS),
        port=port,
        first_port=KAFKAS_PORT,
        progress=_progress(),
    )


def _progress() -> Progress:
    return BarProgress() if sys.stderr.isatty() else PlainProgress(_say)


def _say(message: str) -> None:
    click.echo(message, err=True)


def _table(found: BrokerStatus) -> str:
    kept = f"{found.data} ({megabytes(found.disk_bytes or 0)})" if found.data else None
    rows = {
        "state": found.state,
        "address": found.bootstrap_servers,
        "named by": config.BOOTSTRAP_SERVERS if found.external else None,
        "pid": found.pid,
        "started": found.started_at,
        "version": found.version,
        "data": kept,
        "log": found.log,
    }
    return "\n".join(f"{name:<9}{value}" for name, value in rows.items() if value is not None)


if __name__ == "__main__":
    dev(prog_name="python -m kantor_orchestrator.cli.dev")
