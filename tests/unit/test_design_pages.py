"""docs/design: the pages' rules, and whoever cites them."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "design"
PAGES = sorted(FOLDER.glob("*.md"))
NAMES = [page.stem for page in PAGES]
CODE = sorted(
    path
    for folder in ("orchestrator", "services", "schemas", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".avsc") and path != Path(__file__)
)
TEXTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

#: A rule as its page has it, and as others cite it (``shard-4``, ``design/shard.md#shard-4``); not a name like ``shard-4.db``.
RULE = re.compile(r'<a id="([a-z]+)-(\d+)"></a>')
CITED = re.compile(rf"(?<![\w-])({'|'.join(NAMES)})-(\d+)(?![\w-]|\.\w)")
#: ``rule 4`` tells nobody of which page.
BARE = re.compile(r"\brules? \d|\bsection \d+[a-z]?, rule", re.IGNORECASE)
_MAY_CITE = re.compile(f"{CITED.pattern}|{BARE.pattern}|docs/design/", re.IGNORECASE)
#: Pages that are older than the limits, and are left as they are.
AS_THEY_WERE = {"log", "watermarks"}
#: Rules that neither code nor a test cites, and why.
UNCITED: dict[str, str] = {}


def rules(page: Path) -> list[tuple[str, int]]:
    return [(name, int(number)) for name, number in RULE.findall(page.read_text(encoding="utf-8"))]


RULES = {f"{name}-{number}" for page in PAGES for name, number in rules(page)}


@cache
def prose(path: Path) -> str:
    """What is written for people: of code the comments and docstrings, of a schema and a page all."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py" or not _MAY_CITE.search(text):
        return "" if path.suffix == ".py" else text
    return "\n".join(_of_code(text))


def _of_code(text: str) -> Iterator[str]:
    """Comments, and strings that are statements of their own."""
    is_new = True
    for kind, string, *_ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind == tokenize.COMMENT or (kind == tokenize.STRING and is_new):
            yield string
        if kind not in (tokenize.COMMENT, tokenize.NL):
            is_new = kind in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def cites(path: Path) -> set[str]:
    return {f"{name}-{number}" for name, number in CITED.findall(prose(path))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rules_are_numbered_from_one_in_order(page: Path) -> None:
    """Each is named by its page and the next number; so no two have the same name."""
    found = rules(page)
    assert found == [(page.stem, number) for number in range(1, len(found) + 1)]
    assert found


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in AS_THEY_WERE], ids=lambda page: page.name
)
def test_a_page_can_be_read(page: Path) -> None:
    """A page has at most 200 lines of at most 140 characters, and each rule shows its name."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 140] == []
    for name, number in rules(page):
        assert (
            sum(line.startswith(f'<a id="{name}-{number}"></a>**{name}-{number}.** ') for line in lines) == 1
        )


def test_every_rule_that_is_cited_exists() -> None:
    """Whether code, a test or a page cites it."""
    unknown = {
        f"{path.relative_to(ROOT)} cites {rule}" for path in (*CODE, *TEXTS) for rule in cites(path) - RULES
    }
    assert unknown == set()


def test_every_page_that_code_names_exists() -> None:
    """``docs/design/log.md`` in a docstring is a page, and what it names in it is there."""
    dead = []
    for path in CODE:
        for page, anchor in re.findall(r"docs/design/([\w.]+\.md)(?:#([\w-]+))?", prose(path)):
            target = FOLDER / page
            if not target.exists() or (
                anchor and f'<a id="{anchor}"></a>' not in target.read_text(encoding="utf-8")
            ):
                dead.append(f"{path.relative_to(ROOT)}: {page}#{anchor}")
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Tests above all, by their names or by a pattern; and files and folders of the code."""
    named = re.findall(
        r"`((?:tests|orchestrator|services|schemas)/[\w/.*]+)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def test_every_rule_is_cited() -> None:
    """By the code that carries it out, or by a test of it."""
    cited = set().union(*map(cites, CODE))
    assert (
        sorted(RULES - cited - UNCITED.keys(), key=lambda rule: (rule.split("-")[0], int(rule.split("-")[1])))
        == []
    )
    assert sorted(UNCITED.keys() & cited) == []
    assert sorted(UNCITED.keys() - RULES) == []


def test_no_rule_is_cited_by_a_bare_number() -> None:
    """It tells nobody of which page."""
    assert [str(path.relative_to(ROOT)) for path in CODE if BARE.search(prose(path))] == []


def test_the_walk_in_the_readme_names_files_that_exist() -> None:
    """The path from an event to a compensation, file by file; and the folders that the table names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (walk,) = re.findall(r"^The path from an event to a compensation.*?\n\n", text, re.DOTALL | re.MULTILINE)
    platform = ROOT / "orchestrator" / "kantor_orchestrator"
    named = re.findall(r"`([\w/]+\.py)`", walk)
    assert len(named) >= 10
    assert [name for name in named if not ((ROOT / name).exists() or (platform / name).exists())] == []
    (table,) = re.findall(r"^## Where things are\n\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    folders = [
        name for row in re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE) for name in row.split("`, `")
    ]
    assert folders
    assert [name for name in folders if not (ROOT / name).is_dir()] == []
