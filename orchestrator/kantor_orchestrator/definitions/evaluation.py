"""Evaluates CEL, at a cost that is counted (``metering``) and bounded.

CEL's library has no limits and can't be interrupted, its ``map`` and ``filter`` copy all they have at each element (1,000
records take a second), and a map's elements come in another order in each process. So the library says whether a text is
CEL, and what is written here evaluates it; ``tests/unit/test_definitions_evaluation.py`` compares the two.

A text becomes a function, once: each node of it a closure over the closures of its parts. An element that a macro
(``map``, ``exists``, ...) goes through costs as many steps as its body has parts. Without macros an expression costs what
its length allows, times the size of what it is given, which a transaction's limits bound.

Errors are CEL's: ``||`` and ``&&`` swallow one if the other side decides. Elements of maps come in the order of their keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from kantor_orchestrator.definitions import closures, moments, operations, syntax
from kantor_orchestrator.definitions.closures import Evaluate, Names
from kantor_orchestrator.definitions.metering import STEPS, Meter
from kantor_orchestrator.definitions.operations import CelError, kind
from kantor_orchestrator.definitions.syntax import MACROS, Node

#: Characters of an expression. Deep ones would overflow the stack of CEL's library.
LONGEST = 2_000

_WORDS = {"true": True, "false": False, "null": None}
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
#: All that can be called.
KNOWN = frozenset([*_FUNCTIONS, *_METHODS, *moments.PARTS, *MACROS, "has", "matches"])


@cache
def library() -> Any:
    """CEL's own; the only place that imports it, and only once it is needed: that takes half a second."""
    import cel

    return cel


@lru_cache(10_000)
def compiled(text: str) -> Evaluate:
    """Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``, for what CEL's library accepts and this
    does not."""
    return _Compiler(text).made(syntax.parse(text))


class _Compiler:
    """Each method takes a node, and gives its function."""

    def __init__(self, text: str) -> None:
        self._text = text

    def made(self, node: Node) -> Evaluate:
        if isinstance(node, syntax.Call) and node.name == "has":
            return self._has(node)
        parts = [self.made(part) for part in node.parts]
        match node:
            case syntax.Name(name):
                return closures.named(name)
            case syntax.Literal(_, written):
                return closures.constant(_literal(written))
            case syntax.Group():
                return parts[0]
            case syntax.Member(name):
                return closures.member(parts[0], name)
            case syntax.Element():
                return closures.indexed(*parts)
            case syntax.Call():
                return self._function(node, parts)
            case syntax.Method():
                return self._method(node, *parts)
            case syntax.Macro():
                return _macro(node, *parts)
            case syntax.Signed(signs):
                return closures.negated(parts[0], signs)
            case syntax.Operation(signs):
                return closures.joined(parts[0], list(zip(signs, parts[1:], strict=True)))
            case syntax.Conditional():
                return closures.chosen(*parts)
            case syntax.List():
                return closures.made_list(parts)
            case _:
                return closures.made_map(list(zip(parts[::2], parts[1::2], strict=True)))

    def _has(self, node: syntax.Call) -> Evaluate:
        match node.parts:
            case (syntax.Member(name, parts=(of,)),):
                return closures.has(self.made(of), name)
        raise syntax.strange(self._text, node.at, behind=1 if len(node.parts) == 1 else 2)

    def _function(self, node: syntax.Call, given: list[Evaluate]) -> Evaluate:
        if node.name not in _FUNCTIONS:
            raise syntax.strange(self._text, node.at)
        self._count(given, 1, node.at)
        function, value = _FUNCTIONS[node.name], given[0]
        return lambda names, meter: function(value(names, meter), meter)

    def _count(self, given: Sequence[Evaluate], wanted: int, named: int) -> None:
        """``named``: where the name of what is called is written."""
        if len(given) != wanted:
            raise syntax.strange(self._text, named, behind=2)

    def _method(self, node: syntax.Method, of: Evaluate, *given: Evaluate) -> Evaluate:
        name = node.name
        if name not in {*_METHODS, *moments.PARTS, "matches"}:
            raise syntax.strange(self._text, node.named)
        self._count(given, 0 if name == "size" or name in moments.PARTS else 1, node.named)
        if name == "matches":
            return self._matches(of, node.parts[1])
        if name in moments.PARTS:
            return lambda names, meter: moments.part_of_time(name, of(names, meter))
        function = _METHODS[name]
        if name == "size":
            return lambda names, meter: function(of(names, meter), meter)
        (other,) = given
        return lambda names, meter: function(of(names, meter), other(names, meter), meter)

    def _matches(self, of: Evaluate, pattern: Node) -> Evaluate:
        """The library searches: in linear time, which Python's own does not promise."""
        if not isinstance(pattern, syntax.Literal) or pattern.kind != "text":
            raise ValueError(
                f"the expression {self._text!r} takes the pattern of matches() from data, which could make it slow; "
                "write the pattern itself, in quotes"
            )
        program, price = _pattern(pattern.written)

        def matches(names: Names, meter: Meter) -> bool:
            value = of(names, meter)
            if kind(value) != "string":
                raise CelError(f"there is no {kind(value)}.matches()")
            meter.read(value)
            meter.spend(price)
            return bool(program.execute({"text": value}))

        return matches


def _macro(node: syntax.Macro, over: Evaluate, *bodies: Evaluate) -> Evaluate:
    cost = 1 + sum(_steps(body) for body in node.parts[1:])
    if node.name == "map":
        *asked, body = bodies
        return closures.mapped_by(over, node.variable, asked[0] if asked else None, body, cost)
    return closures.QUESTIONS[node.name](over, node.variable, bodies[0], cost)


def _steps(node: Node) -> int:
    """What one evaluation of a node is taken to cost: a step for each of its parts."""
    match node:
        case syntax.Operation(signs) | syntax.Signed(signs):
            own = len(signs)
        case _:
            own = not (isinstance(node, syntax.Literal) and node.written[0] == "-")  # it is one with its sign
    return own + sum(map(_steps, node.parts))


def _pattern(written: str) -> tuple[Any, int]:
    """What searches for a pattern, and how many steps that takes: the library reads the pattern again each time."""
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


def _literal(written: str) -> Any:
    """The value of a literal."""
    if written in _WORDS:
        return _WORDS[written]
    if written.removeprefix("-").isdecimal():
        return operations.whole(int(written))
    if written[0] in "'\"" and "\\" not in written and written[:3] not in ("'''", '"""'):
        return written[1:-1]
    return library().compile(written).execute({})
