"""Which processes ``kantor run`` starts."""

from __future__ import annotations

from click.testing import CliRunner

from kantor_orchestrator.cli.main import main
from kantor_orchestrator.cli.run import engines_by_default, platform


def test_as_many_engines_as_asked_for() -> None:
    """The other roles run once, in the order in which they are needed."""
    assert platform(3) == ("intake", "engine", "engine", "engine", "view", "api")


def test_engines_by_default() -> None:
    """One for each core, and never so many that nothing is left for the others."""
    assert 1 <= engines_by_default() <= 4


def test_a_number_of_engines_and_a_role() -> None:
    """They contradict each other: a usage error says what to do."""
    result = CliRunner().invoke(main, ["run", "--role", "engine", "--engines", "2"])
    assert result.exit_code == 2
    assert "repeat `kantor run --role engine`" in result.output
