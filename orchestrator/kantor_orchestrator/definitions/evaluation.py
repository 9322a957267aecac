"""Evaluates CEL, at a cost that is counted (``metering``) and bounded.

CEL's library has no limits and can't be interrupted, its ``map`` and ``filter`` copy all they have at each element (1,000
records take a second), and a map's elements come in another order in each process. So the library says whether a text is
CEL, and what is written here evaluates it; ``tests/unit/test_definitions_evaluation.py`` compares the two.

A text becomes a function, once: each part of it a closure over the closures of its parts. An element that a macro
(``map``, ``exists``, ...) goes through costs as many steps as its body has parts. Without macros an expression costs what
its length allows, times the size of what it is given, which a transaction's limits bound.

Errors are CEL's: ``||`` and ``&&`` swallow one if the other side decides. Elements of maps come in the order of their keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from kantor_orchestrator.definitions import closures, moments, operations
from kantor_orchestrator.definitions.closures import Evaluate, Names
from kantor_orchestrator.definitions.metering import STEPS, Meter
from kantor_orchestrator.definitions.operations import CelError, kind
from kantor_orchestrator.definitions.references import MACROS, Token, tokens

#: Characters of an expression. Deep ones would overflow the stack of CEL's library.
LONGEST = 2_000

#: How strongly operators bind; all from left to right.
_BINDS = {"||": 1, "&&": 2}
_BINDS |= dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3)
_BINDS |= {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "size": operations.size,
    "sum": operations.total,
    "int": operations.to_int,
    "uint": operations.to_uint,
    "double": operations.to_double,
    "string": operations.to_string,
    "bool": operations.to_bool,
    "bytes": operations.to_bytes,
    "duration": moments.duration,
    "timestamp": moments.timestamp,
}
_METHODS: Mapping[str, Callable[..., Any]] = {
    "size": operations.size,
    "contains": operations.contains,
    "startsWith": operations.starts_with,
    "endsWith": operations.ends_with,
}
_OF_TIMES = frozenset(
    f"get{part}"
    for part in (
        "FullYear",
        "Month",
        "Date",
        "DayOfMonth",
        "DayOfWeek",
        "DayOfYear",
        "Hours",
        "Minutes",
        "Seconds",
        "Milliseconds",
    )
)
#: All that can be called.
KNOWN = frozenset([*_FUNCTIONS, *_METHODS, *_OF_TIMES, *MACROS, "has", "matches"])


@cache
def library() -> Any:
    """CEL's own; the only place that imports it, and only once it is needed: that takes half a second."""
    import cel

    return cel


@lru_cache(10_000)
def compiled(text: str) -> Evaluate:
    """Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``, for what CEL's library accepts and this
    does not."""
    return _Compiler(text).whole()


class _Compiler:
    """Goes through the tokens once, by CEL's precedence. Each method takes what it is about, and gives its function."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        #: Functions that were made so far.
        self._parts = 0

    def whole(self) -> Evaluate:
        found = self._choice()
        if self._at < len(self._tokens):
            raise self._strange()
        return found

    # -- tokens

    def _is(self, *signs: str) -> bool:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token is not None and token.kind != "text" and token.text in signs

    def _take(self, *wanted: str) -> Token:
        if self._at >= len(self._tokens) or (wanted and not self._is(*wanted)):
            raise self._strange()
        self._at += 1
        return self._tokens[self._at - 1]

    def _name(self) -> str:
        token = self._take()
        if token.kind != "name":
            self._at -= 1
            raise self._strange()
        return token.text

    def _strange(self) -> ValueError:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        what = f"{token.text!r} at character {token.at + 1}" if token else "its end"
        return ValueError(
            f"the expression {self._text!r} has what Kantor's expressions don't have: {what}; "
            "docs/sagas-reference.md says what they have"
        )

    # -- operators

    def _choice(self) -> Evaluate:
        asked = self._operation(1)
        if not self._is("?"):
            return asked
        self._take()
        one = self._choice()
        self._take(":")
        other = self._choice()
        self._parts += 1
        return lambda names, meter: (
            one(names, meter) if closures.truth(asked(names, meter), "?") else other(names, meter)
        )

    def _operation(self, least: int) -> Evaluate:
        """A chain of operators that bind equally strongly is one function: however long, it is not deep."""
        found = self._signed()
        chain: list[tuple[str, Evaluate]] = []
        strength = 0
        while self._at < len(self._tokens) and self._is(*_BINDS):
            sign = self._tokens[self._at].text
            if _BINDS[sign] < least:
                break
            if chain and _BINDS[sign] != strength:
                found, chain = closures.joined(found, chain), []
            strength = _BINDS[sign]
            self._take()
            chain.append((sign, self._operation(strength + 1)))
            self._parts += 1
        return closures.joined(found, chain) if chain else found

    def _signed(self) -> Evaluate:
        signs = ""
        while self._is("!", "-"):
            signs = self._take().text + signs
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if signs[:1] == "-" and token is not None and token.kind == "number":
            signs = signs[1:]
            found = _constant(_literal(f"-{self._take().text}"))  # the least whole number has no positive one
        else:
            found = self._chain()
        self._parts += len(signs)
        return closures.negated(found, signs) if signs else found

    # -- names, and what follows them

    def _chain(self) -> Evaluate:
        found = self._begin(self._take())
        while self._is(".", "["):
            self._parts += 1
            if self._take().text == "[":
                found = closures.indexed(found, self._choice())
                self._take("]")
                continue
            name = self._name()
            if not self._is("("):
                found = closures.member(found, name)
            elif name in MACROS:
                found = self._macro(found, name)
            else:
                found = self._method(found, name)
        return found

    def _begin(self, token: Token) -> Evaluate:
        self._parts += 1
        if token.kind in ("text", "number"):
            return _constant(_literal(token.text))
        if token.kind == "name":
            return self._function(token.text) if self._is("(") else _named(token.text)
        if token.text == "(":
            found = self._choice()
            self._take(")")
            return found
        if token.text == "[":
            items = [item for item, _ in self._listed("]")]
            return lambda names, meter: [item(names, meter) for item in items]
        if token.text == "{":
            return closures.made_map(self._listed("}"))
        self._at -= 1
        raise self._strange()

    def _listed(self, closing: str) -> list[tuple[Evaluate, Evaluate]]:
        """Up to the bracket that closes; of a map, keys with their values."""
        found = []
        while not self._is(closing):
            item = value = self._choice()
            if closing == "}":
                self._take(":")
                value = self._choice()
            found.append((item, value))
            if not self._is(closing):
                self._take(",")
        self._take(closing)
        return found

    def _arguments(self, count: int) -> list[Evaluate]:
        self._take("(")
        before = self._at
        found = [item for item, _ in self._listed(")")]
        if len(found) != count:
            self._at = before
            raise self._strange()
        return found

    def _function(self, name: str) -> Evaluate:
        if name == "has":
            return self._has()
        if name not in _FUNCTIONS:
            self._at -= 1
            raise self._strange()
        function = _FUNCTIONS[name]
        (value,) = self._arguments(1)
        return lambda names, meter: function(value(names, meter), meter)

    def _has(self) -> Evaluate:
        """``has(a.b)``: of all but the last name the value, of that whether it is there."""
        before = self._at
        self._arguments(1)
        end = self._at
        if self._tokens[end - 3].text != "." or self._tokens[end - 2].kind != "name":
            self._at = before
            raise self._strange()
        name = self._tokens[end - 2].text
        inner = _Compiler("")
        inner._tokens = self._tokens[before + 1 : end - 3]
        of = inner.whole()

        def has(names: Names, meter: Meter) -> bool:
            value = of(names, meter)
            if not isinstance(value, Mapping):
                raise CelError(f"there is no has({kind(value)}.{name})")
            return name in value

        return has

    def _method(self, of: Evaluate, name: str) -> Evaluate:
        if name == "matches":
            return self._matches(of)
        if name in _OF_TIMES:
            self._arguments(0)
            return lambda names, meter: moments.part_of_time(name, of(names, meter))
        if name not in _METHODS:
            self._at -= 1
            raise self._strange()
        function = _METHODS[name]
        if name == "size":
            self._arguments(0)
            return lambda names, meter: function(of(names, meter), meter)
        (other,) = self._arguments(1)
        return lambda names, meter: function(of(names, meter), other(names, meter), meter)

    def _matches(self, of: Evaluate) -> Evaluate:
        """The library searches: in linear time, which Python's own does not promise."""
        self._arguments(1)
        before, last = self._tokens[self._at - 3], self._tokens[self._at - 2]
        if last.kind != "text" or before.text != "(":
            raise ValueError(
                f"the expression {self._text!r} takes the pattern of matches() from data, which could make it slow; "
                "write the pattern itself, in quotes"
            )
        program, price = _pattern(last.text)

        def matches(names: Names, meter: Meter) -> bool:
            value = of(names, meter)
            if kind(value) != "string":
                raise CelError(f"there is no {kind(value)}.matches()")
            meter.read(value)
            meter.spend(price)
            return bool(program.execute({"text": value}))

        return matches

    def _macro(self, over: Evaluate, name: str) -> Evaluate:
        self._take("(")
        variable = self._name()
        self._take(",")
        before = self._parts
        bodies = [body for body, _ in self._listed(")")]
        if not 0 < len(bodies) <= (2 if name == "map" else 1):
            raise self._strange()
        cost = self._parts - before + 1
        if name == "map":
            return closures.mapped_by(
                over, variable, None if len(bodies) == 1 else bodies[0], bodies[-1], cost
            )
        return closures.QUESTIONS[name](over, variable, bodies[0], cost)


def _pattern(written: str) -> tuple[Any, int]:
    """What searches for a pattern, and how many steps that takes: the library reads the pattern anew each time."""
    text = _literal(written)
    times = math.prod(max(int(n) for n in re.findall(r"[0-9]+", most)) for most in _REPEATED.findall(text))
    classes = sum(_CLASSES.get(name, 0) for name in re.findall(r"\\(.)", text))
    price = _SEARCH + times * (2 * len(text) + classes)
    if price > STEPS // 10:
        raise ValueError(
            f"the pattern {written} is too large to be searched for; "
            "write fewer repetitions, and [0-9] and [a-z] where \\d and \\w are not needed"
        )
    program = library().compile(f"text.matches({written})")
    try:
        program.execute({"text": ""})
    except Exception:  # noqa: BLE001 - the library's errors have no common type
        raise ValueError(
            f"{written} is not a pattern; see https://github.com/google/re2/wiki/Syntax"
        ) from None
    return program, price


#: Steps of a search for a letter: the library is given the text, and reads the pattern.
_SEARCH = 100
_REPEATED = re.compile(r"\{([0-9]+(?:,[0-9]*)?)\}")
#: Steps that classes of all of Unicode's characters take, measured.
_CLASSES = {**dict.fromkeys("wWbBpP", 2_000), **dict.fromkeys("dDsS", 500)}


# -- literals and names


def _literal(written: str) -> Any:
    """The value of a number or a text."""
    if written.removeprefix("-").isdecimal():
        return operations.whole(int(written))
    if written[0] in "'\"" and "\\" not in written and written[:3] not in ("'''", '"""'):
        return written[1:-1]
    return library().compile(written).execute({})


def _constant(value: Any) -> Evaluate:
    return lambda _names, _meter: value


_WORDS = {"true": True, "false": False, "null": None}


def _named(name: str) -> Evaluate:
    if name in _WORDS:
        return _constant(_WORDS[name])

    def named(names: Names, _meter: Meter) -> Any:
        return names.get(name, _EMPTY)

    return named


#: What a step that has not begun says.
_EMPTY: Mapping[str, Any] = {}
