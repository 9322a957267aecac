"""Links between the project's pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kantor_orchestrator.core.transaction import Status, StepStatus

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def prose(page: Path) -> str:
    """What is not code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings: lower case, without signs, blanks as hyphens; and those that a page sets itself."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    found = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return found | set(re.findall(r'<a id="([^"]+)"></a>', prose(page)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Each link within the project names a file that is there, and a heading that is in it."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http:", "https:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("status", [*Status, *StepStatus])
def test_every_status_is_explained(status: str) -> None:
    """docs/concepts.md has every status of a transaction and of a step in a table."""
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert re.search(rf"^\|[^|]*`{status}`", page, re.MULTILINE)
