"""The evaluator of expressions: it gives what CEL's library gives, within bounds."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import cel
import pytest

from kantor_orchestrator.core.scope import Cost, Scope
from kantor_orchestrator.core.values import dump
from kantor_orchestrator.definitions.expressions import EvaluationError, Formula, check
from kantor_orchestrator.definitions.metering import Meter

A = {
    "n": 5, "z": 0, "f": 1.5, "s": "abc", "e": "", "t": True, "nil": None, "b": b"ab", "ns": [3, 1, 2], "ss": ["b", "a"],
    "m": {"x": 1, "y": 2}, "lines": [{"sku": "k1", "qty": 2}, {"sku": "k2", "qty": 0}],
    "at": datetime(2026, 3, 1, 13, 14, 15, 678000, tzinfo=UTC), "d": timedelta(hours=1, minutes=2, seconds=3.5),
}  # fmt: skip

#: Where the library is not CEL (https://github.com/google/cel-spec), or differs from run to run, the specification holds:
#: a text's size is its characters, not its bytes; ``all`` and ``exists`` are decided by one element, whatever is wrong with
#: those before it; a wrong type beside ``||`` is an error.
PAIRS = [
    "a.n + 1", "a.n - 7", "a.n * 3 - 2 * a.n", "-a.n / 2", "-a.n % 2", "a.n / a.z", "a.f / 0.0", "a.f + 1", "9223372036854775807 + a.n",
    "-9223372036854775808", "0x1F", "1e3", "3 - -2", "--3", "!!a.t", "1 - 1 - 1", "2 + 3 * 4 % 5", "a.n > 4 && a.s == 'abc'",
    "a.n > 4 || a.nil", "a.z == 1 || 1 / a.z == 1", "a.z == 0 || 1 / a.z == 1", "1 / a.z == 1 && a.z == 1", "a.n == 5.0", "a.n < 5.5",
    "a.t == 1", "[1] == [1.0]", "{'x': 1} == {'x': 1.0}", "a.s < 'b'", "a.s < a.b", "a.nil == null", "a.nil != 'x'", "a.nil < 1", "a.b + a.b",
    "a.s + a.b", "a.ns + [4]", "a.n in a.ns", "3 in a.ns", "'x' in a.m", "'q' in a.m", "a.s in a.ss", "1 in a.s", "a.ns[0]", "a.ns[3]", "a.ns[-1]",
    "a.m['x']", "a.m.q", "a.m['q']", "has(a.m.x)", "has(a.m.q)", "has(a.nil.x)", "a.nil.x", "a.s.x", "size(a.s)", "size(a.ns)", "a.m.size()",
    "size(a.n)", "a.s.contains('b')", "a.s.startsWith('ab')", "a.s.endsWith('x')", "a.nil.startsWith('a')", "a.s.matches('^a.c$')", "a.s.matches('x')",
    "int('12')", "int('+5')", "int(' 5')", "int('x')", "int(a.f)", "int(-1.9)", "int(1e300)", "uint('5')", "uint(-1)", "double('1.5')", "double('x')",
    "double(a.n)", "string(a.n)", "string(a.f)", "string(1.0)", "string(1e20)", "string(1e-7)", "string(a.at)", "string(a.d)", "string(duration('90m'))",
    "string(duration('250ms'))", "string(duration('1.5s'))", "string(duration('0s'))", "string(a.b)", "bytes(a.s)", "duration('1h30m')", "duration('-1.5h')",
    "duration('1d')", "duration('5')", "duration('')", "timestamp('2026-01-01T00:00:00+02:00')", "timestamp('2026-01-01')", "timestamp('x')",
    "a.at + a.d", "a.at - a.d", "a.at - a.at", "a.d - a.d", "a.d < duration('2h')", "a.at > timestamp('2020-01-01T00:00:00Z')", "a.d * 2", "a.at.getFullYear()",
    "a.at.getMonth()", "a.at.getDate()", "a.at.getDayOfMonth()", "a.at.getDayOfWeek()", "a.at.getDayOfYear()", "a.at.getHours()", "a.at.getMinutes()",
    "a.at.getSeconds()", "a.at.getMilliseconds()", "a.d.getHours()", "a.d.getMinutes()", "a.d.getSeconds()", "a.d.getMilliseconds()", "a.ns.map(x, x * 2)",
    "a.ns.map(x, x > 1, x * 2)", "a.ns.filter(x, x > 1)", "a.ns.all(x, x > 0)", "a.ns.exists(x, x == 2)", "a.ns.exists_one(x, x > 1)", "a.ns.exists_one(x, x > 2)",
    "a.ns.filter(x, 1)", "a.ns.all(x, 1)", "a.n.map(x, x)", "a.lines.map(l, l.sku)", "a.lines.filter(l, l.qty > 0).map(l, l.sku)", "a.lines.exists(l, l.q > 1)",
    "a.lines.map(l, a.ns.filter(x, x > l.qty))", "a.m.all(k, a.m[k] > 0)", "[[1], [2]].map(x, x[0])", "[1].map(x, [2].map(x, x))", "{'k': a.n}", "{'k': a.n}.k",
    "{1: 2}[1]", "[a.n, a.s, a.nil]", "[]", "{}", "[1,]", "a.t ? a.n : a.s", "a.n ? 1 : 2", "a.t ? (a.t ? 1 : 2) : 3", "'\\x41\\u0042\\n'", "r'\\n'", "'''x'y'''", "b'\\xff'",
    "a.q", "q.x", "a.ns.map(a, a)", "(a.n + 1) * 2", "a.s + '-' + string(a.n)", "// a comment\na.n",
    "r'\\' + 'x'",
]  # fmt: skip


def library(text: str) -> Any:
    try:
        return cel.evaluate(text, {"a": A, "q": {}})
    except Exception:  # noqa: BLE001 - the library's errors have no common type
        return Exception


def ours(text: str) -> Any:
    try:
        return Formula(text, lasting=True)({"a": A, "q": {}})
    except EvaluationError:
        return Exception


@pytest.mark.parametrize("text", PAIRS)
def test_as_the_library(text: str) -> None:
    """Each operator, function and macro gives what CEL's library gives, or both refuse."""
    check(text)
    expected, found = library(text), ours(text)
    assert (found, type(found)) == (expected, type(expected))


def made(rng: random.Random, depth: int) -> str:
    """Some expression, right or wrong."""
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(["a.n", "a.z", "a.f", "a.s", "a.t", "a.nil", "a.ns", "a.ss", "a.m", "a.lines", "a.at", "1", "-2", "0.5", "'k1'", "null", "false", "[]"])  # fmt: skip

    def part() -> str:
        return made(rng, depth - 1)

    form = rng.randrange(10)
    if form < 4:
        sign = rng.choice(["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "in"])
        return f"({part()} {sign} {part()})"
    if form == 4:
        return f"({part()} ? {part()} : {part()})"
    if form == 5:
        return f"[{part()}, {part()}]"
    if form == 6:
        return f"{rng.choice(['int', 'double', 'string'])}({part()})"
    if form == 7:
        return f"{part()}[{part()}]" if rng.random() < 0.5 else f"{{'k': {part()}}}.k"
    macro = rng.choice(["map", "filter"])
    return f"[{part()}, {part()}].{macro}(v, {rng.choice(['v', 'v == ' + part(), part()])})"


def test_made_up_expressions_as_the_library() -> None:
    """So do expressions that were made up: 1,000 of them."""
    rng = random.Random(20261127)
    different = []
    for text in (made(rng, rng.choice([1, 2, 3])) for _ in range(1000)):
        expected, found = library(text), ours(text)
        if expected is Exception and ("string(" in text or "int(" in text):
            continue  # the library lacks string(bool) and int(timestamp)
        if (found, type(found)) != (expected, type(expected)):
            different.append((text, found, expected))
    assert different == []


# -- bounds

ITEMS = [f"sku-{number:06d}" for number in range(20_000)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("start.items.all(a, start.items.exists_one(b, a == b))", "it takes more than 500,000 steps"),
        ("start.items.all(a, start.items.exists_one(b, a == b) || true)", "steps"),
        ("start.items.all(a, a in start.items)", "steps"),
        ("start.items.all(a, start.items == start.items)", "steps"),
        ("start.items.all(a, a.matches('^sku-[0-9]+$'))", "steps"),
        ("start.items.map(a, sum(start.numbers))", "steps"),
        ("start.items.map(a, start.items)", "it builds more than 262,144 characters and values"),
        ("start.items.map(a, start.text + a)", "builds"),
        ("[start.text, start.text, start.text]", "builds"),
    ],
)
def test_costs_are_bounded(text: str, why: str) -> None:
    """What costs too much is refused, with the expression: steps and what is built are counted, whatever swallows errors."""
    check(text)
    scope = {"start": {"items": ITEMS, "text": "x" * 100_000, "numbers": list(range(20_000))}}
    with pytest.raises(EvaluationError) as raised:
        Formula(text)(scope)
    assert repr(text) in str(raised.value)
    assert why in str(raised.value)


def test_what_is_reasonable_is_within_bounds() -> None:
    """300 items are compared with each other, thousands gone through several times."""
    scope = {"start": {"few": ITEMS[:300], "lines": [{"sku": sku, "qty": 2} for sku in ITEMS[:5000]]}}
    assert Formula("start.few.all(a, start.few.exists_one(b, a == b))")(scope) is True
    assert Formula("sum(start.lines.filter(l, l.sku != 'x').map(l, l.qty * 2))")(scope) == 20_000


def test_the_same_in_every_process() -> None:
    """Elements of a map come in the order of their keys."""
    prices = {f"sku-{number}": number for number in (5, 3, 8, 1)}
    assert Formula("start.prices.map(k, k)")({"start": {"prices": prices}}) == sorted(prices)


def test_long_expressions_are_not_deep() -> None:
    """A chain of hundreds of operators is evaluated; a longer text than 2,000 characters is refused."""
    text = "+".join(["1"] * 999)
    check(text)
    assert Formula(text)({}) == 999
    with pytest.raises(ValueError, match="write at most 2,000"):
        check("+".join(["1"] * 1001))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("start.a.matches(start.b)", "takes the pattern of matches.. from data"),
        ("start.a.matches('(\\\\w{100}){9}')", "too large"),
        ("start.a.matches('(')", "is not a pattern"),
        ("max(start.a)", "which does not exist"),
        ("start.a.getHours('Europe/Berlin')", "what Kantor's expressions don't have: \"'Europe/Berlin'\" at character 18"),
        ("start.a.int()", "don't have: 'int' at character 9"),
        ("contains(start.a)", "don't have: 'contains' at character 1"),
        ("int( )", "don't have: '\\)' at character 6"),
        ("has((start.a))", "don't have: '\\(' at character 4"),
        ("has(!!start.a)", "don't have: '\\(' at character 4"),
        ("start.a.map(x)", "don't have: '\\)' at character 14"),
        ("start.a.filter(x, 1, 2)", "don't have: its end"),
        ("2 - -1u", "don't have: '1u' at character 6"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, why: str) -> None:
    """Patterns that could be slow, and what would be an incident at each transaction."""
    with pytest.raises(ValueError, match=why):
        check(text)


# -- what it gives


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("duration('1h')", "only `sleep` takes"),
        ("[start.at - start.at]", "only `sleep` takes"),
        ("{1: 2}", "only texts can be keys"),
    ],
)
def test_what_can_not_be_kept(text: str, why: str) -> None:
    """What JSON does not have is refused, also within lists."""
    with pytest.raises(EvaluationError, match=why):
        Formula(text)({"start": A})


def test_what_can_be_kept() -> None:
    """Everything else can be written as JSON."""
    assert dump(Formula("[start.n, start.at, start.b, {'k': start.nil}]")({"start": A}))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("start.nil > 0", "start.nil"),
        ("start.nil.startsWith('W')", "start.nil"),
        ("has(start.nil) && start.nil > 0", "start.nil"),
        ("size(start.nil) > 0", "start.nil"),
        ("[start.n].map(x, x + start.nil)", "start.nil"),
        ("start.list.map(l, l.qty + 1)", "start.list[].qty"),
    ],
)  # fmt: skip
def test_null_is_called_null(text: str, path: str) -> None:
    """An expression that stumbles over null says which field is null, and how to ask."""
    with pytest.raises(EvaluationError) as raised:
        Formula(text)({"start": {**A, "list": [{"qty": 1}, {"qty": None}]}})
    assert f"{path} is null; check it first, as in {path} != null" in str(raised.value)


def test_whatever_is_wrong_is_an_evaluation_error() -> None:
    """Also data that nothing is prepared for, such as lists in lists in lists."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(EvaluationError):
        Formula("start.x == start.y || start.x")({"start": {"x": object(), "y": deep}})


def test_a_meter_counts() -> None:
    """A text costs a step more for each 256 characters that are gone through."""
    meter = Meter()
    meter.read("x" * 1000)
    assert meter.steps == 4


def test_what_an_evaluation_costs_is_added_to_that_of_its_decision() -> None:
    """Also what it took before it failed: the next one of the same decision begins where this one ended."""
    cost = Cost()
    scope = Scope({"start": {"ns": list(range(100)), "big": list(range(2_000))}}, cost)
    assert Formula("start.ns.all(x, x >= 0)")(scope)
    once = cost.steps
    assert Formula("start.ns.all(x, x >= 0)")(scope.copy())
    assert (once > 100, cost.steps) == (True, 2 * once)
    with pytest.raises(EvaluationError, match="takes more than 500,000 steps"):
        Formula("start.big.all(x, start.big.all(y, y >= 0))")(scope)
    assert cost.steps > 500_000
