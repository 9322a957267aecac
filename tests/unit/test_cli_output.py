"""What commands have in common."""

from __future__ import annotations

import logging

import click
from click.testing import CliRunner

from kantor_orchestrator.cli.output import silence_clients


def test_clients_are_silent_while_a_command_runs() -> None:
    """Whoever runs it in a process of their own, as tests do, has their log as it was."""
    log = logging.getLogger("kantor.kafka")
    before, during = log.getEffectiveLevel(), []

    @click.command()
    def command() -> None:
        silence_clients()
        during.append(log.getEffectiveLevel())
        raise click.ClickException("it fails")

    assert CliRunner().invoke(command).exit_code == 1
    assert during == [logging.CRITICAL]
    assert log.getEffectiveLevel() == before != logging.CRITICAL
