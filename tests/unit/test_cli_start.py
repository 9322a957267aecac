"""What a process imports before it does anything: each role of ``kantor run`` is a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from kantor_orchestrator.cli.main import main

#: What takes long to import, and not everybody needs.
HEAVY = {"apsw", "cel", "fastapi", "pydantic", "rich", "yaml"}


def heavy_after(program: str) -> set[str]:
    """Which of these a new process has imported after this program."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    ("role", "needed"),
    [("", set()), ("intake", set()), ("engine", {"apsw", "cel", "pydantic"})],
    ids=["the supervisor", "intake", "engine"],
)
def test_a_role_imports_only_what_it_needs(role: str, needed: set[str]) -> None:
    """Neither the commands that show something, nor the other roles."""
    life = f"r.ROLES[{role!r}](None, 1, p.CollectorRegistry(), w.Wellness())" if role else ""
    assert (
        heavy_after(
            "import prometheus_client as p, kantor_orchestrator.running.roles as r, kantor_orchestrator.process.wellness as w\n"
            "from kantor_orchestrator.cli.main import main\n"
            f"main.commands['run']\n{life}"
        )
        <= needed
    )


def test_every_command_is_where_it_is_looked_for() -> None:
    """By its own name."""
    for name, command in main.commands.items():
        assert command.name == name


def test_a_command_that_is_mistyped_is_guessed() -> None:
    """Though none of them was imported."""
    result = CliRunner().invoke(main, ["incident"])
    assert result.exit_code == 2
    assert "incidents" in result.output
