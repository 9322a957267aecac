"""The tree of an expression: what its parts are, and how deep it may be."""

from __future__ import annotations

import pytest

from kantor_orchestrator.definitions.expressions import Formula, check, truth
from kantor_orchestrator.definitions.kinds import type_of
from kantor_orchestrator.definitions.references import uses
from kantor_orchestrator.definitions.syntax import parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a + b * c - d", ["a", "b * c", "d"]),
        ("a || b && c || d", ["a", "b && c", "d"]),
        ("a == b + c in d", ["a", "b + c", "d"]),
        ("!a.b == -c", ["!a.b", "-c"]),
        ("a - -5", ["a", "-5"]),
        ("- -a.b", ["a.b"]),
        ("a ? b : c ? d : e", ["a", "b", "c ? d : e"]),
        ("a.b[c].d", ["a.b[c]"]),
        ("(a + b).c(d, e[f])", ["(a + b)", "d", "e[f]"]),
        ("size( a.b )", ["a.b"]),
        ("a.map(x, x > 1, x + 1)", ["a", "x > 1", "x + 1"]),
        ("{a: b, 'c': d + e}", ["a", "b", "'c'", "d + e"]),
        ("[a, // one\n b,]", ["a", "b"]),
        (r"r'\' + 'a\'b' + '''c'd'''", [r"r'\'", r"'a\'b'", "'''c'd'''"]),
    ],
)
def test_the_parts_of_an_expression(text: str, parts: list[str]) -> None:
    """By CEL's precedence, each with its place in the text."""
    assert [text[part.at : part.end] for part in parse(text).parts] == parts


#: As deep as CEL's library takes brackets, with a node of every strength in each; and chains, which it takes at any length.
DEEP = [
    "1?1||1&&1==1+1*-(" * 95 + "1" + "):1" * 95,
    "start" + ".a" * 300,
    "start" + "[0]" * 300,
    "start.a" + ".size()" * 210,
]


@pytest.mark.parametrize("text", DEEP, ids=lambda text: text[:20])
def test_an_expression_that_is_too_deep_is_refused(text: str) -> None:
    """Before anything walks it, whatever is on the stack already; with the remedy."""
    with pytest.raises(
        ValueError, match="is too deep: more than 200 of its parts are within each other; let"
    ):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 95 + "1" + "]" * 95,
        "(" * 95 + "1" + ")" * 95,
        "{'a': " * 95 + "1" + "}" * 95,
        "1 == 1 ? 1 : " * 95 + "1",
        "int(1 + " * 95 + "1" + ")" * 95,
        "!" * 1_990 + "true",
        "&&".join(["true"] * 300),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_as_deep_as_brackets_go_is_walked(text: str) -> None:
    """Long chains of operators and signs are not deep."""
    check(text)
    assert Formula(text)({}) is not None
    assert type_of(text, {}, lambda path: path) != []
    assert (uses(text), truth(text, lambda use: True)) == ([], text)


def test_has_within_has_is_read_once() -> None:
    """Not twice at each level: forty of them would take years."""
    text = "has(" * 40 + "start.a" + ".b).c" * 39 + ".b)"
    check(text)
    assert [use.guarded for use in uses(text)] == [True]
