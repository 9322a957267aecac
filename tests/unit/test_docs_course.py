"""docs/sagas.md and docs/sagas-people.md teach by the ten real cases: what it shows is what is shipped, and what it tells comes true."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from kantor_orchestrator.cli.main import main
from unit.course_kit import Excerpt, Told, play, problems, read, shipped
from unit.test_definitions_ten import NAMES, TEN

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["sagas.md", "sagas-people.md"]
TEXT = "".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
IMAGES = DOCS / "images" / "sagas"
EXCERPTS = [excerpt for page in PAGES for excerpt in read(DOCS / page)[0]]
STORIES = [told for page in PAGES for told in read(DOCS / page)[1]]


@pytest.mark.parametrize("told", STORIES, ids=lambda told: f"{told.saga}: {told.title}")
def test_story(told: Told) -> None:
    """A story of the page comes true, row by row; its history tells the same."""
    story = play(told)
    assert story.replayed() == story.txn


WRONG = [
    (1, "sends", "nothing", "it sends"),
    (1, "sends", "`HandOver`, `GetHandOver`", "it sends"),
    (1, "sends", "`HandOver` with `order_id: other`", "shipping.HandOver has"),
    (1, "sends", "HandOver", "in no notation"),
    (1, "stands", "compensating", "it is running"),
    (1, "stands", "running: `ship` in doubt", "the steps are"),
    (1, "stands", "running; an incident", "[]"),
    (1, "stands", "ended well", "in no notation"),
    (1, "happens", "`OrderPicked` with `color: red`", "OrderPicked has the fields"),
    (1, "happens", "`OrderEaten`", "KeyError"),
    (1, "happens", "`OrderPicked` for `payment`", "payment was not asked for anything"),
    (1, "happens", "it is picked", "in no notation"),
]


@pytest.mark.parametrize(("number", "cell", "said", "objection"), WRONG)
def test_what_is_not_so_is_noticed(number: int, cell: str, said: str, objection: str) -> None:
    """A page that mentions a command, a field, a status or an event that is not so fails, with its line."""
    told = next(told for told in STORIES if told.title == "an order")
    rows = [replace(row, **{cell: said}) if n == number else row for n, row in enumerate(told.rows)]
    with pytest.raises(AssertionError, match=rf"^{told.rows[number].place}: .*{re.escape(objection)}"):
        play(replace(told, rows=tuple(rows)))


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=str)
def test_yaml_is_shipped(excerpt: Excerpt) -> None:
    """What the page shows of a definition is in the file: line by line, in its order; where it grows, lines may be missing."""
    lines = iter(shipped(excerpt.saga).splitlines())
    missing = [line for line in excerpt.text.splitlines() if line not in lines]
    assert missing == []
    if not excerpt.is_whole:
        assert excerpt.text in shipped(excerpt.saga)


@pytest.mark.parametrize("excerpt", [e for e in EXCERPTS if e.is_whole], ids=str)
def test_whole_sagas_pass(excerpt: Excerpt) -> None:
    """A whole saga of the page, finished or not, is one that lint lets pass."""
    assert problems(excerpt.saga, excerpt.text) == []


def test_all_ten_are_told() -> None:
    """Each of the ten has a story that goes well and one that does not."""
    ends: dict[str, set[str]] = defaultdict(set)
    for told in STORIES:
        ends[told.saga].add(told.rows[-1].stands.partition(":")[0])
    assert sorted(ends) == NAMES
    for saga, found in ends.items():
        assert "completed" in found, saga
        assert len(found) > 1 or len([told for told in STORIES if told.saga == saga]) > 2, saga


def test_pictures_are_drawn_from_the_definitions() -> None:
    """Each picture is what `kantor diagram` draws (`make pictures` draws them again)."""
    assert sorted(path.stem for path in IMAGES.glob("*.svg")) == NAMES
    for name in NAMES:
        drawn = CliRunner().invoke(main, ["diagram", str(TEN / f"{name}.yaml")]).stdout
        is_current = (IMAGES / f"{name}.svg").read_text(encoding="utf-8") == drawn
        assert is_current, f"{name}.svg is old: `make pictures`"


def test_pictures_are_shown() -> None:
    """No picture lies about unused."""
    assert [name for name in NAMES if f"(images/sagas/{name}.svg)" not in TEXT] == []
