"""``kantor``: the program. Data on stdout, messages on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 4 not found.
"""

from __future__ import annotations

from typing import Any

import click

from kantor.errors import ConfigError, KantorError, NotFoundError
from kantor_orchestrator.cli import acts
from kantor_orchestrator.cli.bulk import bulk
from kantor_orchestrator.cli.completion import completion
from kantor_orchestrator.cli.definitions import definitions, deploy, diagram, lint, undeploy
from kantor_orchestrator.cli.dev import dev
from kantor_orchestrator.cli.incidents import incidents
from kantor_orchestrator.cli.listing import list_
from kantor_orchestrator.cli.run import run
from kantor_orchestrator.cli.status import status
from kantor_orchestrator.cli.token import token
from kantor_orchestrator.cli.trace import trace
from kantor_orchestrator.cli.view import view


class _WrongSetting(click.ClickException):
    exit_code = 2


class _NotFound(click.ClickException):
    exit_code = 4


class Program(click.Group):
    """What Kantor raises on purpose ends with its message and an exit code, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise _WrongSetting(str(error)) from error
        except NotFoundError as error:
            raise _NotFound(str(error)) from error
        except KantorError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Program)
@click.version_option(package_name="kantor", prog_name="kantor")
def main() -> None:
    """Kantor: transactions that span many services, on Kafka."""


for command in (
    dev,
    run,
    trace,
    view,
    list_,
    incidents,
    status,
    *acts.COMMANDS,
    bulk,
    lint,
    deploy,
    undeploy,
    definitions,
    diagram,
    completion,
    token,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
