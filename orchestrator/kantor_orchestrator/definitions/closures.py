"""The functions that operators and macros of an expression become (``evaluation``): closures over those of their parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kantor_orchestrator.definitions import operations
from kantor_orchestrator.definitions.metering import Meter
from kantor_orchestrator.definitions.operations import CelError, kind

Names = dict[str, Any]
#: From the names in scope to the value. Raises ``CelError`` or ``BudgetError``.
Evaluate = Callable[[Names, Meter], Any]

#: What a step that has not begun says.
_EMPTY: Mapping[str, Any] = {}

# -- names and literals


def constant(value: Any) -> Evaluate:
    return lambda _names, _meter: value


def named(name: str) -> Evaluate:
    return lambda names, _meter: names.get(name, _EMPTY)


def member(of: Evaluate, name: str) -> Evaluate:
    def found(names: Names, meter: Meter) -> Any:
        value = of(names, meter)
        if type(value) is dict or isinstance(value, Mapping):
            if name in value:
                return value[name]
            raise CelError(f"there is no {name!r}")
        raise CelError(f"there is no {kind(value)}.{name}")

    return found


def indexed(of: Evaluate, index: Evaluate) -> Evaluate:
    return lambda names, meter: operations.element(of(names, meter), index(names, meter))


def has(of: Evaluate, name: str) -> Evaluate:
    """``has(of.name)``: of all but the last name the value, of that whether it is there."""

    def found(names: Names, meter: Meter) -> bool:
        value = of(names, meter)
        if not isinstance(value, Mapping):
            raise CelError(f"there is no has({kind(value)}.{name})")
        return name in value

    return found


def made_list(items: list[Evaluate]) -> Evaluate:
    return lambda names, meter: [item(names, meter) for item in items]


def made_map(items: list[tuple[Evaluate, Evaluate]]) -> Evaluate:
    def mapped(names: Names, meter: Meter) -> dict[Any, Any]:
        found = {}
        for key, value in items:
            name = key(names, meter)
            if kind(name) not in ("string", "int", "bool"):
                raise CelError(f"a {kind(name)} can't be a key of a map")
            found[name] = value(names, meter)
        return found

    return mapped


# -- operators


def truth(value: Any, sign: str) -> bool:
    if value is True or value is False:
        return bool(value)
    raise CelError(f"{kind(value)} stands where {sign} wants true or false")


def negated(found: Evaluate, signs: str) -> Evaluate:
    def signed(names: Names, meter: Meter) -> Any:
        value = found(names, meter)
        for sign in signs:
            value = operations.negative(value) if sign == "-" else not truth(value, "!")
        return value

    return signed


def chosen(asked: Evaluate, one: Evaluate, other: Evaluate) -> Evaluate:
    return lambda names, meter: one(names, meter) if truth(asked(names, meter), "?") else other(names, meter)


def joined(first: Evaluate, chain: list[tuple[str, Evaluate]]) -> Evaluate:
    if chain[0][0] in ("&&", "||"):
        return _decided([first, *(other for _, other in chain)], chain[0][0])
    steps = [(_OPERATORS[sign], other) for sign, other in chain]
    if len(steps) == 1:
        ((operate, other),) = steps
        return lambda names, meter: operate(first(names, meter), other(names, meter), meter)

    def chained(names: Names, meter: Meter) -> Any:
        value = first(names, meter)
        for operate, other in steps:
            value = operate(value, other(names, meter), meter)
        return value

    return chained


def _decided(sides: list[Evaluate], sign: str) -> Evaluate:
    """``&&`` is decided by one false, ``||`` by one true, whatever is wrong with the others."""
    decides = sign == "||"

    def decided(names: Names, meter: Meter) -> bool:
        wrong: CelError | None = None
        for side in sides:
            try:
                if truth(side(names, meter), sign) is decides:
                    return decides
            except CelError as error:
                wrong = wrong or error
        if wrong is not None:
            raise wrong
        return not decides

    return decided


def _operator(sign: str) -> Callable[[Any, Any, Meter], Any]:
    if sign in ("<", "<=", ">", ">="):
        return lambda one, other, meter: operations.ordered(sign, one, other, meter)
    return lambda one, other, meter: operations.arithmetic(sign, one, other, meter)


_OPERATORS: Mapping[str, Callable[[Any, Any, Meter], Any]] = {
    **{sign: _operator(sign) for sign in ("<", "<=", ">", ">=", "+", "-", "*", "/", "%")},
    "==": operations.equal,
    "!=": lambda one, other, meter: not operations.equal(one, other, meter),
    "in": operations.within,
}


# -- macros


def _elements(value: Any, name: str) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping):
        return sorted(value, key=lambda key: (type(key).__name__, key))
    raise CelError(f"there is no {kind(value)}.{name}()")


def mapped_by(over: Evaluate, variable: str, asked: Evaluate | None, body: Evaluate, cost: int) -> Evaluate:
    def mapped(names: Names, meter: Meter) -> list[Any]:
        found, inner = [], names.copy()
        for inner[variable] in _elements(over(names, meter), "map"):
            meter.spend(cost)
            if asked is None or truth(asked(inner, meter), "map()"):
                meter.build(1)
                found.append(body(inner, meter))
        return found

    return mapped


def _filter(over: Evaluate, variable: str, body: Evaluate, cost: int) -> Evaluate:
    def filtered(names: Names, meter: Meter) -> list[Any]:
        found, inner = [], names.copy()
        for inner[variable] in _elements(over(names, meter), "filter"):
            meter.spend(cost)
            if truth(body(inner, meter), "filter()"):
                found.append(inner[variable])
        return found

    return filtered


def _quantified(name: str) -> Callable[[Evaluate, str, Evaluate, int], Evaluate]:
    """``all`` and ``exists``: one element decides; what is wrong with the ones before it does not matter then."""
    decides = name == "exists"

    def quantify(over: Evaluate, variable: str, body: Evaluate, cost: int) -> Evaluate:
        def quantified(names: Names, meter: Meter) -> bool:
            wrong: CelError | None = None
            inner = names.copy()
            for inner[variable] in _elements(over(names, meter), name):
                meter.spend(cost)
                try:
                    if truth(body(inner, meter), f"{name}()") is decides:
                        return decides
                except CelError as error:
                    wrong = wrong or error
            if wrong is not None:
                raise wrong
            return not decides

        return quantified

    return quantify


def _exists_one(over: Evaluate, variable: str, body: Evaluate, cost: int) -> Evaluate:
    def exists_one(names: Names, meter: Meter) -> bool:
        found, inner = 0, names.copy()
        for inner[variable] in _elements(over(names, meter), "exists_one"):
            meter.spend(cost)
            found += truth(body(inner, meter), "exists_one()")
        return found == 1

    return exists_one


QUESTIONS: Mapping[str, Callable[[Evaluate, str, Evaluate, int], Evaluate]] = {
    "filter": _filter,
    "all": _quantified("all"),
    "exists": _quantified("exists"),
    "exists_one": _exists_one,
}
