"""Expressions: what they refer to, what they give, what they refuse."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kantor_orchestrator.definitions import references, templates
from kantor_orchestrator.definitions.expressions import EvaluationError, Formula, check, formula, truth
from kantor_orchestrator.definitions.outcomes import Choice, Guard, Items, Sleep, Text


def value(text: str, **scope: Any) -> Any:
    return Formula(text)(scope)


# -- what they refer to


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("start.price > 3 && size(stock.shelf) < 2", ["start.price", "stock.shelf"]),
        ("'start.price' + r'a.b'", []),
        ('"a.b \\" c.d" == x.y', ["x.y"]),
        ("sum(parcels.failed.map(p, p.item.cents))", ["parcels.failed", "parcels.failed.[].item.cents"]),
        ("start.lines.filter(l, l.qty > 1).map(l, l.sku)", ["start.lines", "start.lines.[].qty", "start.lines.[].sku"]),
        ("start['price'] + start.lines[0].qty", ["start.price", "start.lines.[].qty"]),
        ("[1, 2].map(x, x + index)", ["index"]),
        ("a.b.exists(x, x == c.d) ? e.f : g", ["a.b", "a.b.[]", "c.d", "e.f", "g"]),
        ("a.b.startsWith(c.d)", ["a.b", "c.d"]),
        ("has(a.b) && a.b in [c.d]", ["a.b", "c.d"]),
        ("{'x': a.b}['x']", ["a.b"]),
        ("start['rate'] + start[r'river']", ["start.rate", "start.river"]),
        ("a['\\x62'] + a[b'b']", ["a.[]"]),
        ("(a.b).c + ((a).d)", ["a.b.c", "a.d"]),
        ("(a.b).exists(x, x.c)", ["a.b", "a.b.[].c"]),
    ],
)  # fmt: skip
def test_references(text: str, paths: list[str]) -> None:
    """The fields that an expression reads are found in its text; texts and variables of macros are none."""
    check(text)
    assert list(dict.fromkeys(".".join(use.path) for use in references.uses(text))) == paths


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("(a.b) > c.d", {"a.b", "c.d"}),
        ("!a.b == c.d", {"a.b"}),
        ("size((a.b)) == c.d", {"a.b"}),
        ("a.b == c.d && (e.f)", {"e.f"}),
        ("a.b in c.d", {"c.d"}),
        ("a.b == null == c.d", set()),
        ("a.b == null ? c.d : e.f", set()),
    ],
)
def test_where_null_would_raise(text: str, paths: set[str]) -> None:
    """Brackets change nothing; a sign binds more strongly than an operator."""
    assert {".".join(use.path) for use in references.uses(text) if use.strict} == paths


@pytest.mark.parametrize(
    ("text", "paths"),
    [("1 + a.b.size()", set()), ("!a.b < c.d", {"c.d"}), ("-(a.b) < 1 + c.d * 2", {"a.b", "c.d"})],
)
def test_what_is_reckoned_with(text: str, paths: set[str]) -> None:
    """What an operator or a sign gets itself, not what a method or another sign makes of it."""
    assert {".".join(use.path) for use in references.uses(text) if use.reckoned} == paths


# -- what they give


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.n + 1", 6),
        ("a.n >= 5 && a.s == 'x'", True),
        ("sum(a.ns)", 6),
        ("sum(a.none)", 0),
        ("a.ns.map(n, n * 2)", [2, 4, 6]),
        ("has(a.missing) ? a.missing : 'none'", "none"),
        ("has(later.x)", False),
        ("a.lines[1].sku", "k2"),
        ("a.s + '-' + string(a.n)", "x-5"),
        ("{'n': a.n}", {"n": 5}),
    ],
)
def test_values(text: str, expected: Any) -> None:
    """Expressions are CEL, with `sum`; a step that has not begun has no fields."""
    a = {"n": 5, "s": "x", "ns": [1, 2, 3], "none": [], "lines": [{"sku": "k1"}, {"sku": "k2"}]}
    assert value(text, a=a) == expected


@pytest.mark.parametrize(
    "given",
    [
        Decimal("1.10"),
        date(2026, 1, 2),
        time(1, 2, 3, 4),
        UUID(int=7),
        datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - a local timestamp of Avro
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        b"\x00\xff",
        2**63 - 1,
        -(2**63),
        1.5,
        None,
        "ü",
        {"a": [Decimal(1), {"b": date(2026, 1, 1)}]},
    ],
)
def test_nothing_is_lost(given: Any) -> None:
    """What goes through an expression comes out as it was, of the same type."""
    found = value("a.yes ? a.x : a.y", a={"yes": True, "x": given, "y": 0})
    assert (found, type(found)) == (given, type(given))


def test_decimals() -> None:
    """Decimals can be summed and compared for equality, without loss."""
    a = {"x": Decimal("0.10"), "y": Decimal("0.20"), "z": Decimal("0.30")}
    assert value("sum([a.x, a.y])", a=a) == Decimal("0.30")
    assert value("sum([a.x, a.y]) == a.z", a=a) is True


@pytest.mark.parametrize("text", ["a.x < a.y", "a.x + a.y", "a.x > 1"])
def test_decimals_are_not_reckoned_with(text: str) -> None:
    """Anything else with a decimal raises; it never gives a wrong answer."""
    with pytest.raises(EvaluationError):
        value(text, a={"x": Decimal("0.1"), "y": Decimal("0.2")})


@pytest.mark.parametrize("text", ["a.missing > 3", "a.n + 'x'", "1 / 0", "later.x == 1", "a.n.b"])
def test_errors_name_the_expression(text: str) -> None:
    """An expression that can't be evaluated raises, and says which it is."""
    with pytest.raises(EvaluationError) as raised:
        value(text, a={"n": 1})
    assert repr(text) in str(raised.value)


def test_guard_that_gives_no_boolean() -> None:
    """A guard gives true or false, else it raises, naming the expression."""
    with pytest.raises(EvaluationError, match=r"'a\.n' gave int, which is neither true nor false"):
        Guard(formula("a.n"), "a.n")({"a": {"n": 1}})


def test_list_that_is_none() -> None:
    """What `each` goes over is a list."""
    with pytest.raises(EvaluationError, match="which is not a list"):
        Items(formula("a.n"), "a.n")({"a": {"n": "abc"}})


@pytest.mark.parametrize(
    ("text", "expected"), [("a.d", 259_200_000), ("duration('90m')", 5_400_000), ("a.z", 0)]
)
def test_sleep(text: str, expected: int) -> None:
    """A sleep takes a duration as text, or CEL's own."""
    assert Sleep(formula(text, lasting=True), text)({"a": {"d": "3d", "z": "0s"}}) == expected


@pytest.mark.parametrize("given", [3, "soon", None, "-1s"])
def test_sleep_of_no_duration(given: Any) -> None:
    """Anything else raises."""
    with pytest.raises(EvaluationError):
        Sleep(formula("a.d"), "a.d")({"a": {"d": given}})


@pytest.mark.parametrize("given", ["", None, True, 1.5, ["x"]])
def test_key_that_can_be_none(given: Any) -> None:
    """A record's key is a text or a whole number."""
    with pytest.raises(EvaluationError):
        Text(formula("a.k"), "a.k")({"a": {"k": given}})
    assert Text(formula("a.k"), "a.k")({"a": {"k": 7}}) == "7"


def test_first_that_is_known() -> None:
    """A plain path needs no CEL; of several the first that is known counts."""
    choice = Choice((("item", "x"), ("start", "x")))
    assert choice({"item": {}, "start": {"x": 1}}) == 1
    with pytest.raises(EvaluationError, match=r"item\.x and start\.x are unknown"):
        choice({"start": {}})


def test_expressions_are_values() -> None:
    """Equal texts are equal, and an expression can be handed to another process."""
    guard = Guard(formula("a.n > 1"), "a.n > 1")
    assert pickle.loads(pickle.dumps(guard)) == guard
    assert pickle.loads(pickle.dumps(guard))({"a": {"n": 2}}) is True


# -- outcomes as truth values


@pytest.mark.parametrize(
    ("text", "is_changed"),
    [
        ("a.succeeded", True),
        ("!a.failed", True),
        ("(a.succeeded || a.failed) && b.c", True),
        ("size(a.failed) > 0", False),
        ("a.failed.exists(f, f.index > 0)", False),
        ("a.failed == []", False),
        ("!a.failed == b.c", True),
        ("a.failed ? b.c : b.d", True),
        ("b.c && a.failed ? b.c : b.d", True),
        ("b.c ? b.d || a.failed : b.d", True),
        ("b.list.exists(x, a.failed && x.c)", True),
        ("b.list.exists(a, a.failed && b.c)", False),
        ("(b.c ? a.failed : a.succeeded).map(f, f.item) == []", False),
        ("(a.failed).map(f, f.item) == []", False),
        ("has(a.failed)", False),
    ],
)
def test_bare_outcomes(text: str, is_changed: bool) -> None:
    """STEP.succeeded asks how a step ended only where nothing but a truth value makes sense."""
    assert (truth(text, lambda use: use.path[0] == "a") != text) is is_changed


# -- what they refuse


@pytest.mark.parametrize(
    ("text", "place"),
    [("a.b >", "at character 6"), ("a..b", "at character 3"), ("a b", "at character 3"), ("a +\n* 3", "at line 2, character 1")],
)  # fmt: skip
def test_syntax_errors(text: str, place: str) -> None:
    """A syntax error is told with its place in the expression."""
    with pytest.raises(ValueError, match=place):
        check(text)


# -- templates


def test_template() -> None:
    """Expressions in braces are filled in; doubled braces are braces; env is left to others."""
    made = templates.compiled("{{a}} {a.s} {a.n + 1} {env.HOME} {a.d}", formula)
    assert made({"a": {"s": "x", "n": 1, "d": Decimal("1.10")}}) == "{a} x 2 {env.HOME} 1.10"


@pytest.mark.parametrize("given", [None, ""])
def test_nothing_in_a_url(given: Any) -> None:
    """An empty part would make another address of a URL: it raises."""
    made = templates.compiled("{env.A}/users/{a.id}", formula, url=True)
    assert made({"a": {"id": "a/b?c"}}) == "{env.A}/users/a%2Fb%3Fc"
    with pytest.raises(EvaluationError, match="empty"):
        made({"a": {"id": given}})


@pytest.mark.parametrize("text", ["{", "a}", "{a.b", "{a b}", "{}"])
def test_template_with_a_mistake(text: str) -> None:
    """A lone brace and a wrong expression are refused."""
    with pytest.raises(ValueError, match="; "):
        templates.check(text)
