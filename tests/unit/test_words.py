"""The field's terms, and not Kantor's former ones, in what people read (words-5)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = ROOT / "docs" / "design" / "words.md"
TEMPLATES = ROOT / "orchestrator" / "kantor_orchestrator" / "web" / "templates"
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != LIST),
    *sorted(TEMPLATES.glob("*.html")),
    *sorted((ROOT / "deploy" / "prometheus").glob("*.yml")),
]
FORMER = re.compile(
    r"\b(acts? of (a person|people)|(person|people|operator)'s? acts?|deeds?|(legal|last|next) moves?|stubs?|torn|made (again|anew)|"
    r"taken anew|puts? (it )?off|poison message|has the ball|(last|next|shard's) cuts?)\b",
    re.IGNORECASE,
)
#: Names in formats and in code, which stay.
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_the_terms_of_the_list(page: Path) -> None:
    """A word that the list replaces is in no page, but for names in code."""
    assert not [found[0] for found in FORMER.finditer(CODE.sub("", page.read_text(encoding="utf-8")))]


def test_the_list_has_what_is_looked_for() -> None:
    """What the pages are searched for is what the list replaces."""
    replaced = LIST.read_text(encoding="utf-8").partition("words-5")[2].partition("## In the business")[0]
    assert all(
        word in replaced for word in ("act,", "deed", "move", "stub", "torn", "made again", "put off", "cut")
    )
