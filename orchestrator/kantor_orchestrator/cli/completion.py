"""``kantor completion``: what makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete `kantor` commands. To keep it:

    \b
    bash  eval "$(kantor completion bash)"  in ~/.bashrc
    zsh   eval "$(kantor completion zsh)"  in ~/.zshrc, after compinit
    fish  kantor completion fish > ~/.config/fish/completions/kantor.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "click knows these three"
    click.echo(found(ctx.find_root().command, {}, "kantor", "_KANTOR_COMPLETE").source())
