"""The version is said in one place: pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

from click.testing import CliRunner

from kantor_orchestrator.cli.main import main

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
CODE = [path for name in ("schemas", "services", "orchestrator") for path in (ROOT / name).rglob("*.py")]


def test_the_program_says_it() -> None:
    """``kantor --version`` and the metrics have it from the installed package's metadata. If not: ``make setup``."""
    assert version("kantor") == VERSION
    assert CliRunner().invoke(main, ["--version"]).output == f"kantor, version {VERSION}\n"


def test_no_code_repeats_it() -> None:
    """Else one of the two would be forgotten at a release."""
    said = re.compile(rf"__version__|[\"']{re.escape(VERSION)}[\"']")
    assert [
        str(path.relative_to(ROOT)) for path in CODE if said.search(path.read_text(encoding="utf-8"))
    ] == []


def test_the_changelog_says_it() -> None:
    """What is not released yet comes first, and says which version it will be, or the last one that was is this."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *released = re.findall(r"^## (.+)$", text, re.MULTILINE)
    beginning = text.partition("## Unreleased\n")[2].partition("\n### ")[0]
    assert first == "Unreleased"
    assert f"version {VERSION}" in beginning or (released and released[0].startswith(f"{VERSION} - "))
