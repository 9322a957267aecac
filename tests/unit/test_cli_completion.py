"""``kantor completion`` and what a shell then offers."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from kantor_orchestrator.cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    """It asks this program for what can follow."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_KANTOR_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kantor inc", "incidents"),
        ("kantor list --st", "--status"),
        ("kantor list --status comp", "compensated"),
    ],
)
def test_what_a_shell_offers(typed: str, offered: str) -> None:
    """Commands, options and their values."""
    words = {
        "_KANTOR_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    result = CliRunner().invoke(main, env=words, prog_name="kantor")
    assert f"plain,{offered}" in result.stdout.splitlines()
