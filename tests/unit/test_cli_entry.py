"""`kantor` where only the packages that services need are installed."""

from __future__ import annotations

import sys

import pytest

from kantor_orchestrator.cli import entry


@pytest.fixture
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the command line had not been imported yet."""
    for name in [
        one for one in sys.modules if one.startswith("kantor_orchestrator.cli.") and one != entry.__name__
    ]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("_forgotten")
def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing package, and the remedy, instead of a traceback."""
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=r"click is missing.*Install kantor\[orchestrator\]"):
        entry.main()


@pytest.mark.usefixtures("_forgotten")
def test_a_fault_of_our_own_is_not_taken_for_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as what it is."""
    monkeypatch.setitem(sys.modules, "kantor_orchestrator.cli.main", None)
    with pytest.raises(ModuleNotFoundError, match="kantor_orchestrator"):
        entry.main()
