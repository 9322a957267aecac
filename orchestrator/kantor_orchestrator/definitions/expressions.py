"""What fills a field or guards a step: ``scope.field``, a literal, or any other expression in CEL.

``start.amount_cents`` is a field of the start event, ``payment.amount_cents`` one of the event that ``payment``
succeeded on, ``'text'`` (with its own quotes), numbers, ``true``, ``false`` and ``null`` are themselves. All else is CEL
(https://cel.dev): ``size(parcels.failed) > 0``. ``sum(list)`` is ours. CEL's library says whether a text is CEL;
``evaluation`` evaluates it, within bounds.

CEL knows no decimals, dates, times of day and UUIDs. They can be passed on, compared for equality and summed (decimals);
anything else raises. What an expression gives can be written as JSON and kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import Any
from uuid import UUID

from kantor_orchestrator.core.limits import weight
from kantor_orchestrator.core.saga import Expression
from kantor_orchestrator.core.scope import Scope
from kantor_orchestrator.definitions import evaluation, references, syntax
from kantor_orchestrator.definitions.metering import Meter
from kantor_orchestrator.definitions.operations import CelError, kind
from kantor_orchestrator.definitions.outcomes import Choice, EvaluationError
from kantor_orchestrator.definitions.references import Use
from kantor_orchestrator.definitions.syntax import Node

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
#: What can be kept, besides null, lists and maps.
_KEPT = (bool, int, float, str, bytes, Decimal, date, clock_time, UUID)
#: Of CEL's operators, those that look like functions.
_OPERATORS = {"_in_"}


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
    """An expression in CEL; evaluated, it gives its value for the names in scope. Equal texts are equal. ``lasting``: it
    may give a duration, which nothing else can be."""

    text: str
    lasting: bool = False

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        """Raises ``EvaluationError``, whatever is wrong."""
        meter, names = Meter(), scope if isinstance(scope, dict) else dict(scope)
        try:
            value = evaluation.compiled(self.text)(names, meter)
            if not (self.lasting and isinstance(value, timedelta)):
                _refuse_odd(value, meter)
        except CelError as error:
            raise EvaluationError(f"{self.text!r}: {_null(self.text, scope) or error}") from error
        except Exception as error:  # a budget, or a value that nothing is prepared for
            raise EvaluationError(f"{self.text!r}: {error}") from error
        finally:
            if isinstance(scope, Scope):
                scope.cost.steps += meter.steps
        return value


def as_ref(text: str) -> Ref | None:
    """The field that a text refers to, if that is all it does."""
    found = _PATH.fullmatch(text)
    return Ref(found[1], found[2]) if found else None


def is_short(text: str) -> bool:
    """Whether a text is ``scope.field`` or a text in quotes of its own."""
    return bool(_PATH.fullmatch(text) or _QUOTED.fullmatch(text))


def formula(text: str, *, lasting: bool = False) -> Expression:
    """The expression of a text that ``check`` accepts: a plain path needs no CEL. ``lasting``: it may give a duration."""
    if _PATH.fullmatch(text) or text in _ALONE:
        return Choice((tuple(text.split(".")),))
    return Formula(text, lasting)


def literal(text: str) -> tuple[Any] | None:
    """The value of an expression that refers to nothing; None of one that does, or that has no value."""
    if references.uses(text):
        return None
    try:
        return (Formula(text, lasting=True)({}),)
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
    if len(text) > evaluation.LONGEST:
        raise ValueError(
            f"the expression {text[:40]!r}... has {len(text):,} characters; write at most {evaluation.LONGEST:,}, "
            "or let the service that publishes the data compute it"
        )
    try:
        program = evaluation.library().compile(text)
    except Exception as error:  # noqa: BLE001 - the parser's errors have no common type
        raise ValueError(_syntax(text, str(error))) from None
    for name in sorted(program.references()["functions"]):
        if name.isidentifier() and name not in evaluation.KNOWN and name not in _OPERATORS:
            raise ValueError(
                f"the expression {text!r} calls {name}(), which does not exist; "
                f"known are {', '.join(sorted(evaluation.KNOWN))}"
            )
    evaluation.compiled(text)


def _syntax(text: str, error: str) -> str:
    found = _PLACE.search(error)
    where = f" at character {found[2]}" if found else ""
    if found and int(found[1]) > 1:
        where = f" at line {found[1]}, character {found[2]}"
    why = found[3].partition(" expecting ")[0] if found else error.partition("\n")[0]
    return f"the expression {text!r} is wrong{where}: {why}; correct it (https://cel.dev has the syntax)"


def _refuse_odd(value: Any, meter: Meter) -> None:
    """Raises ``CelError`` or ``BudgetError`` for what can't be kept: too large, or nothing that JSON or Avro has."""
    meter.build(weight(value))
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if odd := [key for key in one if not isinstance(key, str)]:
                raise CelError(
                    f"it gives a map with a key of type {kind(odd[0])}, and only texts can be keys"
                )
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, timedelta):
            raise CelError("it gives a duration, which only `sleep` takes; string(...) makes a text of it")
        elif one is not None and not isinstance(one, _KEPT):
            raise CelError(f"it gives a {type(one).__name__}, which can't be kept")


def _null(text: str, scope: Mapping[str, Any]) -> str:
    """What of an expression is null where it should not be; empty: nothing."""
    nulls = dict.fromkeys(
        ".".join(use.path).replace(f".{references.ELEMENT}", references.ELEMENT)
        for use in references.uses(text)
        if use.strict and _has_null(scope, use.path)
    )
    if not nulls:
        return ""
    return f"{' and '.join(nulls)} is null; check it first, as in {next(iter(nulls))} != null && ..."


def _has_null(found: Any, path: tuple[str, ...]) -> bool:
    """Whether null is at a path, or on the way to it."""
    for index, name in enumerate(path):
        if found is None:
            return True
        if name == references.ELEMENT:
            inner = found.values() if isinstance(found, Mapping) else found
            return isinstance(inner, Iterable) and any(_has_null(one, path[index + 1 :]) for one in inner)
        if not isinstance(found, Mapping) or name not in found:
            return False
        found = found[name]
    return found is None


def truth(text: str, is_flag: Callable[[Use], bool]) -> str:
    """The guard in which a bare ``STEP.succeeded`` or ``STEP.failed`` asks how the step ended.

    ``is_flag`` says whether a path is such a pair. Elsewhere (``size(parcels.failed)``) a composite's are lists.
    """
    asked = {(node.at, node.end) for node in _asked(syntax.parse(text), wanted=True)}
    result = text
    for use in reversed(references.uses(text)):
        if (use.at, use.end) not in asked or len(use.path) != 2 or not is_flag(use):
            continue
        status = f"{use.path[0]}.status"
        test = (
            f"{status} == 'succeeded'"
            if use.path[1] == "succeeded"
            else f"!({status} in ['succeeded', 'skipped', 'pending', 'active'])"
        )
        result = f"{result[: use.at]}(has({status}) && {test}){result[use.end :]}"
    return result


def _asked(node: Node, *, wanted: bool = False) -> Iterator[Node]:
    """Every bare ``STEP.succeeded`` and ``STEP.failed`` where a truth value is wanted: as the guard, in brackets of its
    own, beside ``&&``, ``||`` and ``!``, and before ``?``."""
    asks = 0  # so many of its parts are asked whether they are true
    match node:
        case syntax.Member("succeeded" | "failed", parts=(syntax.Name(),)) if wanted:
            yield node
        case syntax.Group() | syntax.Operation(("&&" | "||", *_)):
            asks = len(node.parts)
        case syntax.Conditional():
            asks = 1
        case syntax.Signed(signs):
            asks = int(signs[0] == "!")
    for index, part in enumerate(node.parts):
        yield from _asked(part, wanted=index < asks)
