"""docs/logs.md has every action that is logged, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from kantor_orchestrator.core.transaction import Kind

ROOT = Path(__file__).parents[2]
#: Their action is the kind of a transition: a saga is held, or released.
NAMED_BY_A_MOVE = {str(Kind.HELD), str(Kind.RELEASED)}


def logged() -> Iterator[str]:
    """Every value of a key ``action`` in a dictionary of the platform or the kit."""
    for folder in (ROOT / "services" / "kantor", ROOT / "orchestrator"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Dict):
                    for key, value in zip(node.keys, node.values, strict=True):
                        if isinstance(key, ast.Constant) and key.value == "action":
                            yield str(value.value) if isinstance(value, ast.Constant) else ""


def test_every_action_that_is_logged_has_a_row() -> None:
    """Whoever searches for one finds what happened, why, and what to do."""
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    rows = [
        line.split("|") for line in text.splitlines() if line.startswith("| `") and "`action`" not in line
    ]
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row[1])]
    assert len(told) == len(set(told))
    assert set(told) == (set(logged()) - {""}) | NAMED_BY_A_MOVE
    assert all(len(row) == 5 and row[2].strip() and row[3].strip() for row in rows)
