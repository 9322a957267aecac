"""``kantor run``: the platform, or one role of it."""

from __future__ import annotations

import logging
import os
import sys
from threading import Event

import click

from kantor import logs
from kantor.errors import KafkaUnavailableError
from kantor.kafka import ENV_BOOTSTRAP
from kantor.watchdog import end_within
from kantor_orchestrator.config import Settings
from kantor_orchestrator.formats.sharding import agree
from kantor_orchestrator.process.open_files import raise_limit
from kantor_orchestrator.running.roles import ROLES, run_role
from kantor_orchestrator.running.supervisor import GRACE, end_with_supervisor, supervise, tell_supervisor

log = logging.getLogger("kantor.run")

#: Seconds from the signal until a role that hangs is ended hard. Kubernetes waits for 30, the supervisor for 20.
DEADLINE = 15.0
#: Engines on one machine unless told otherwise: the other roles, and the broker, want their share of the cores.
_MOST_ENGINES = 4


def engines_by_default() -> int:
    """One engine uses one core: two on two cores end a burst a third sooner (docs/performance.md)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_ENGINES)


def platform(engines: int) -> tuple[str, ...]:
    """Every role, and so many engines."""
    return tuple(name for name in ROLES for _ in range(engines if name == "engine" else 1))


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(list(ROLES)),
    help="Run only this role; its replicas share the partitions. Default: all roles, each in its own process.",
)
@click.option(
    "--engines",
    type=click.IntRange(1),
    help="How many engines to run beside the other roles; they share the shards. Default: one per core, at most 4.",
)
def run(roles: tuple[str, ...], engines: int | None) -> None:
    """Run the platform until Ctrl-C or SIGTERM.

    Kafka's address comes from KANTOR_BOOTSTRAP_SERVERS; otherwise the broker of `kantor dev start` is used. KANTOR_SHARDS
    sets the number of shards when the journal is created (default 24; 4 on a local broker).
    """
    if roles and engines:
        raise click.UsageError(
            "--engines is for the whole platform; repeat `kantor run --role engine` instead"
        )
    names = roles or platform(engines or engines_by_default())
    logs.configure(f"kantor-{names[0]}" if len(names) == 1 else "kantor")
    raise_limit()
    settings = Settings.from_env()
    stop = Event()
    if len(names) == 1:
        end_within(DEADLINE, stop.set)
        end_with_supervisor()
        run_role(names[0], settings, stop, tell_supervisor)
        return
    end_within(GRACE + DEADLINE, stop.set)  # the roles end first
    try:  # before the roles, which would do it all at once
        agree(settings.kafka, settings.kafka.admin(), settings.shards, settings.default_shards)
    except KafkaUnavailableError as error:
        log.error(
            "Kafka at %s does not answer: %s; the roles wait for it: start it (`kantor dev start` on this machine), or correct %s",
            settings.kafka.bootstrap_servers,
            error,
            ENV_BOOTSTRAP,
            extra={"action": "kafka_away"},
        )
    sys.exit(supervise(names, stop, http_port=settings.http_port, home=settings.home))
