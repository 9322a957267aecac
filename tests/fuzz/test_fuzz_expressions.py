"""Expressions on real data: they give a value or say what is wrong, within a budget of time and memory."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.bounds import bounded
from fuzz.conftest import examples
from kantor_orchestrator.definitions import expressions
from kantor_orchestrator.definitions.expressions import EvaluationError, Formula

#: What an expression may cost, whatever the data.
_SECONDS, _MEGABYTES = 2.0, 150

_names = st.sampled_from(
    ["start.items", "start.text", "start.n", "start.m", "payment.amount", "start.none", "x", "item"]
)
_leaves = st.one_of(
    _names,
    st.sampled_from(
        ["1", "-1", "0", "1.5", "'a'", "true", "null", "[]", "{}", "9223372036854775807", "b'a'", "1u"]
    ),
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "%", "==", "<", "&&", "||", "in", ">="])
    macros = st.sampled_from(["map", "filter", "all", "exists", "exists_one"])
    functions = st.sampled_from(
        ["size", "int", "string", "double", "duration", "timestamp", "sum", "type", "bytes"]
    )
    methods = st.sampled_from(["contains", "startsWith", "matches", "endsWith"])
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, macros, inner).map(lambda t: f"{t[0]}.{t[1]}(x, {t[2]})"),
        st.tuples(functions, inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, methods, inner).map(lambda t: f"{t[0]}.{t[1]}({t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
        st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{{t[0]}: {t[1]}}}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        inner.map(lambda t: f"has({t})"),
        inner.map(lambda t: f"!({t})"),
    )


texts = st.one_of(
    st.recursive(_leaves, _grow, max_leaves=12),
    st.text(max_size=30),
    st.tuples(st.sampled_from("([!-{"), st.sampled_from([50, 3_000])).map(lambda t: t[0] * t[1] + "1"),
)
_data: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "start": st.fixed_dictionaries(
            {
                "items": st.sampled_from(
                    [[], ["a"], list(range(2_000)), ["b" * 1_000] * 300, [{"n": 1}] * 500]
                ),
                "text": st.sampled_from(["", "a", "a" * 50_000, "\0", "(a+)+$"]),
                "n": st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**70, 1e308, float("nan")]),
                "m": st.sampled_from([{}, {"a": 1}, {str(k): k for k in range(1_000)}]),
                "none": st.none(),
            }
        ),
        "payment": st.sampled_from([{}, {"amount": 1}]),
    }
)


@given(texts, _data)
@examples(150)
def test_an_expression_gives_a_value_or_says_why_not(text: str, data: dict[str, Any]) -> None:
    """What ``check`` accepts can be evaluated on anything."""
    with bounded(_SECONDS, _MEGABYTES, text, data):
        try:
            expressions.check(text)
        except ValueError:
            return
        with suppress(EvaluationError):
            Formula(text)(data)


@pytest.mark.parametrize(
    "text",
    [
        "start.items.all(x, start.items.exists_one(y, y == x))",
        "start.items.map(x, start.items.map(y, start.items))",
        "start.items.map(x, start.text + start.text)",
        "start.text.matches('(a+)+$')",
        "1" + " + 1" * 50_000,
        "(" * 50_000 + "1" + ")" * 50_000,
    ],
    ids=lambda text: text[:40],
)
def test_an_expensive_expression_is_refused_or_ends(text: str) -> None:
    """Two thousand items, fifty thousand characters."""
    data = {"start": {"items": list(range(2_000)), "text": "a" * 50_000}}
    with bounded(_SECONDS, _MEGABYTES), suppress(ValueError, EvaluationError):
        expressions.check(text)
        Formula(text)(data)
