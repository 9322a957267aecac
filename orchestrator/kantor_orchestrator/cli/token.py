"""``kantor token``: who may use the API and the pages from other machines."""

from __future__ import annotations

import re

import click

from kantor_orchestrator.api.people import OPERATOR, ROLES
from kantor_orchestrator.api.tokens import ENV_TOKENS, new_token
from kantor_orchestrator.cli.output import print_json, say


@click.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default=OPERATOR, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def token(name: str, role: str, as_json: bool) -> None:
    """Create an API token for NAME. It is shown once. Add the printed line, its hash, to the file that KANTOR_API_TOKENS names."""
    if not re.fullmatch(r"[\w.@+-]{1,100}", name):
        raise click.UsageError(
            f"{name!r} is not a valid name: use up to 100 letters, digits and the characters . _ @ + -"
        )
    made, line = new_token(name, role)
    if as_json:
        print_json({"name": name, "role": role, "token": made, "line": line})
        return
    click.echo(made)
    say(
        f"Give it to {name}; it can't be shown again. Add this line to the file that {ENV_TOKENS} names:\n{line}"
    )
