"""docs/tutorial.md shows what is in the files, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kantor_orchestrator.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
CHECKOUT = ROOT / "services" / "kantor_examples" / "checkout"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def sources(pattern: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(CHECKOUT.glob(pattern)))


@pytest.mark.parametrize("excerpt", blocks("python"))
def test_python_is_from_the_example(excerpt: str) -> None:
    """Every excerpt is in the example, word for word."""
    assert excerpt in sources("*.py")


@pytest.mark.parametrize("excerpt", blocks("yaml"))
def test_yaml_is_from_the_example(excerpt: str) -> None:
    """Every excerpt is in the definition, word for word."""
    assert excerpt in sources("checkout.yaml")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"bin/kantor ([a-z]+)", PAGE))))
def test_commands_exist(command: str) -> None:
    """What the page tells to type is there."""
    assert command in main.commands


@pytest.mark.parametrize(
    "module", sorted(set(re.findall(r"python -m kantor_examples\.checkout\.([a-z]+)", PAGE)))
)
def test_modules_exist(module: str) -> None:
    """What the page tells to run is there."""
    assert (CHECKOUT / f"{module}.py").exists()
