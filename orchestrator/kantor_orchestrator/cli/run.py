"""``kantor run``: the platform, or one role of it."""

from __future__ import annotations

import signal
import sys
from threading import Event

import click

from kantor import logs
from kantor.kafka import Admin
from kantor_orchestrator import topics
from kantor_orchestrator.config import Settings
from kantor_orchestrator.roles import ROLES, run_role
from kantor_orchestrator.supervisor import supervise


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(list(ROLES)),
    help="Run only this role; more replicas of it share the partitions. Default: all, each in its own process.",
)
def run(roles: tuple[str, ...]) -> None:
    """Run the platform until Ctrl-C or SIGTERM.

    Kafka's address comes from KANTOR_BOOTSTRAP_SERVERS, or is that of `kantor dev start`. KANTOR_SHARDS sets the number
    of shards when the journal is made (default 24; 4 on a local broker).
    """
    names = roles or tuple(ROLES)
    logs.configure(f"kantor-{names[0]}" if len(names) == 1 else "kantor")
    settings = Settings.from_env()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if len(names) == 1:
        run_role(names[0], settings, stop)
        return
    topics.ensure(Admin(settings.kafka), settings.shards, settings.default_shards)
    sys.exit(supervise(names, stop))
