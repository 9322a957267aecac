"""What fills a field or guards a step: ``scope.field``, a literal, or any other expression in CEL.

``start.amount_cents`` is a field of the start event, ``payment.amount_cents`` one of the event that ``payment``
succeeded on, ``'text'`` (with its own quotes), numbers, ``true``, ``false`` and ``null`` are themselves. All else is CEL
(https://cel.dev): ``size(parcels.failed) > 0``. ``sum(list)`` is ours. The only module that imports ``cel``, and only once
an expression needs it: importing it takes half a second.

CEL knows no decimals, dates, times of day and UUIDs, and would take some of them for something else. They go through it
sealed: they can be passed on, compared for equality and summed (decimals); anything else raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from kantor_orchestrator.core.saga import Expression
from kantor_orchestrator.definitions import references
from kantor_orchestrator.definitions.outcomes import Choice, EvaluationError
from kantor_orchestrator.definitions.references import Use

__all__ = [
    "EvaluationError",
    "Formula",
    "Literal",
    "Plain",
    "Ref",
    "as_ref",
    "check",
    "formula",
    "is_short",
    "literal",
    "parse",
    "truth",
]

#: What may be written: YAML's and Python's plain values.
Plain = str | int | float | bool | None

_PATH = re.compile(r"([a-z][a-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
_QUOTED = re.compile(r"'([^'\\]*)'")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names that mean something by themselves.
_ALONE = {"item", "index"}
_PLACE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_SEAL = "\0sealed"
_SEALED = (Decimal, date, time, UUID)


@dataclass(frozen=True, slots=True)
class Ref:
    """A field of a captured event. ``scope``: ``start`` or a step."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope}.{self.name}"


@dataclass(frozen=True, slots=True)
class Literal:
    value: Plain


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression in CEL; evaluated, it gives its value for the names in scope. Equal texts are equal."""

    text: str

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        """Raises ``EvaluationError``."""
        seals: dict[Any, int] = {}
        try:
            names = {
                root: _prepared(scope.get(root, {}), wanted, seals) for root, wanted in _roots(self.text)
            }
            value = _evaluate(self.text, names, seals)
        except Exception as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise EvaluationError(f"{self.text!r}: {reason}") from error
        return _opened(value, list(seals)) if seals else value


def as_ref(text: str) -> Ref | None:
    """The field that a text refers to, if that is all it does."""
    found = _PATH.fullmatch(text)
    return Ref(found[1], found[2]) if found else None


def is_short(text: str) -> bool:
    """Whether a text is ``scope.field`` or a text in quotes of its own."""
    return bool(_PATH.fullmatch(text) or _QUOTED.fullmatch(text))


def formula(text: str) -> Expression:
    """The expression of a text that ``check`` accepts: a plain path needs no CEL."""
    if _PATH.fullmatch(text) or text in _ALONE:
        return Choice((tuple(text.split(".")),))
    return Formula(text)


def literal(text: str) -> tuple[Any] | None:
    """The value of an expression that refers to nothing; None of one that does, or that has no value."""
    if references.uses(text):
        return None
    try:
        return (Formula(text)({}),)
    except EvaluationError:
        return None


def parse(written: Plain) -> Ref | Literal | Formula:
    """What fills a field. Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``."""
    if not isinstance(written, str):
        return Literal(written)
    if found := _PATH.fullmatch(written):
        return Ref(found[1], found[2])
    if found := _QUOTED.fullmatch(written):
        return Literal(found[1])
    if _NAME.fullmatch(written) and written not in _ALONE:
        raise ValueError(
            f"{written!r} does not say whose field it is; write start.{written} or STEP.{written}, "
            f"or \"'{written}'\" if the text itself is meant"
        )
    check(written)
    return Formula(written)


def check(text: str) -> None:
    """Raises ``ValueError`` with what is wrong with an expression, its place in it, and the remedy, joined by ``; ``."""
    try:
        program = _program(text)
    except Exception as error:  # noqa: BLE001 - the parser's errors have no common type
        found = _PLACE.search(str(error))
        where = f" at character {found[2]}" if found else ""
        if found and int(found[1]) > 1:
            where = f" at line {found[1]}, character {found[2]}"
        why = found[3].partition(" expecting ")[0] if found else str(error).partition("\n")[0]
        raise ValueError(
            f"the expression {text!r} is wrong{where}: {why}; correct it (https://cel.dev has the syntax)"
        ) from None
    unknown = sorted(
        name
        for name in program.references()["functions"]
        if name.isidentifier() and not name.startswith("_") and name not in _FUNCTIONS
    )
    if unknown:
        raise ValueError(
            f"the expression {text!r} calls {unknown[0]}(), which does not exist; "
            f"known are {', '.join(sorted(_FUNCTIONS))}"
        )


#: CEL's standard functions and macros, and ours.
_FUNCTIONS = frozenset(
    [
        "all",
        "bool",
        "bytes",
        "contains",
        "double",
        "duration",
        "endsWith",
        "exists",
        "exists_one",
        "filter",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "has",
        "int",
        "map",
        "matches",
        "max",
        "min",
        "size",
        "startsWith",
        "string",
        "sum",
        "timestamp",
        "type",
        "uint",
    ]
)


@cache
def _cel() -> Any:
    import cel

    return cel


@lru_cache(10_000)
def _program(text: str) -> Any:
    return _cel().compile(text)


@lru_cache(10_000)
def _roots(text: str) -> tuple[tuple[str, frozenset[str] | None], ...]:
    """The names that an expression needs, each with the fields of it; None: all."""
    found: dict[str, set[str] | None] = {}
    for use in references.uses(text):
        root, fields = use.path[0], use.path[1:2]
        known = found.setdefault(root, set())
        if not fields or fields == (references.ELEMENT,):
            found[root] = None
        elif known is not None:
            known.add(fields[0])
    return tuple((root, None if fields is None else frozenset(fields)) for root, fields in found.items())


def _evaluate(text: str, names: dict[str, Any], seals: dict[Any, int]) -> Any:
    def total(values: list[Any]) -> Any:
        added = sum(_opened(value, list(seals)) for value in values)
        return _sealed(added, seals)

    context = _cel().Context(variables=names, functions={"sum": total})
    return _program(text).execute(context)


def _prepared(value: Any, wanted: frozenset[str] | None, seals: dict[Any, int]) -> Any:
    if wanted is not None and isinstance(value, Mapping):
        value = {name: value[name] for name in wanted if name in value}
    return _sealed(value, seals)


def _sealed(value: Any, seals: dict[Any, int]) -> Any:
    """The same, with what CEL has no type for under seal. Equal values have equal seals."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _sealed(inner, seals) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sealed(inner, seals) for inner in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if isinstance(value, _SEALED):
        return {_SEAL: seals.setdefault(value, len(seals))}
    return value


def _opened(value: Any, seals: list[Any]) -> Any:
    if isinstance(value, dict):
        if _SEAL in value:
            return seals[value[_SEAL]]
        return {name: _opened(inner, seals) for name, inner in value.items()}
    return [_opened(inner, seals) for inner in value] if isinstance(value, list) else value


#: What ``truth`` may stand between, for a step's ``succeeded`` or ``failed`` to be meant as a truth value.
_BEFORE, _AFTER = {"&&", "||", "!", "("}, {"&&", "||", ")"}


def truth(text: str, is_flag: Callable[[Use], bool]) -> str:
    """The guard in which a bare ``STEP.succeeded`` or ``STEP.failed`` asks how the step ended.

    ``is_flag`` says whether a path is such a pair. Elsewhere (``size(parcels.failed)``) a composite's are lists.
    """
    found = references.tokens(text)
    where = {token.at: number for number, token in enumerate(found)}
    result = text
    for use in reversed(references.uses(text)):
        if len(use.path) != 2 or use.path[1] not in ("succeeded", "failed") or not is_flag(use):
            continue
        first = where[use.at]
        behind = first + 3
        opens = first == 0 or (
            found[first - 1].text in _BEFORE
            and not (found[first - 1].text == "(" and first > 1 and found[first - 2].kind == "name")
        )
        closes = behind >= len(found) or found[behind].text in _AFTER
        if opens and closes:
            status = f"{use.path[0]}.status"
            test = (
                f"{status} == 'succeeded'"
                if use.path[1] == "succeeded"
                else f"!({status} in ['succeeded', 'skipped', 'pending', 'active'])"
            )
            result = f"{result[: use.at]}(has({status}) && {test}){result[use.end :]}"
    return result
