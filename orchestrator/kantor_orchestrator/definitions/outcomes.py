"""What an expression must give where it stands: a truth value, a list, a duration, a record's key. And those that need
no CEL: constants and plain paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from kantor_orchestrator.core.saga import Expression
from kantor_orchestrator.definitions import durations
from kantor_orchestrator.definitions.operations import told


class EvaluationError(ValueError):
    """An expression gave no value, or none of the kind that is needed: the transaction's data don't suit it."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A truth value. Raises ``EvaluationError`` for any other."""

    value: Expression
    text: str

    def __call__(self, scope: Mapping[str, Any]) -> bool:
        found = self.value(scope)
        if not isinstance(found, bool):
            raise EvaluationError(f"{self.text!r} gave {told(found)}, which is neither true nor false")
        return found


@dataclass(frozen=True, slots=True)
class Sleep:
    """Milliseconds, from a duration as text or CEL's own. Raises ``EvaluationError`` for anything else."""

    value: Expression
    text: str

    def __call__(self, scope: Mapping[str, Any]) -> int:
        found = self.value(scope)
        if isinstance(found, timedelta) and found >= timedelta(0):
            return min(int(found / timedelta(milliseconds=1)), durations.LONGEST)
        try:
            return durations.parse(found, shortest=0)
        except ValueError as error:
            why = f"gave {told(found)}, which is no duration from 0ms to 3650d: 200ms, 30s, 15m, 2h or 21d"
            raise EvaluationError(f"{self.text!r} {why}") from error


@dataclass(frozen=True, slots=True)
class Text:
    """A record key: text or a number. Raises ``EvaluationError`` for anything else."""

    value: Expression
    text: str

    def __call__(self, scope: Mapping[str, Any]) -> str:
        found = self.value(scope)
        if isinstance(found, bool) or not isinstance(found, str | int | UUID) or found == "":
            raise EvaluationError(f"{self.text!r} gave {told(found)}, which can't be a record's key")
        return str(found)


@dataclass(frozen=True, slots=True)
class Choice:
    """The first of several paths that is known. Raises ``EvaluationError`` if none is."""

    paths: tuple[tuple[str, ...], ...]

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        for path in self.paths:
            found: Any = scope
            for name in path:
                if not isinstance(found, Mapping) or name not in found:
                    break
                found = found[name]
            else:
                return found
        raise EvaluationError(f"{' and '.join('.'.join(path) for path in self.paths)} are unknown")


@dataclass(frozen=True, slots=True)
class AsDecimal:
    """What fills a decimal field: a whole number, such as the sum of no decimals, as a decimal."""

    value: Expression

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        found = self.value(scope)
        return Decimal(found) if isinstance(found, int) and not isinstance(found, bool) else found


@dataclass(frozen=True, slots=True)
class Items:
    """A list. Raises ``EvaluationError`` for anything else."""

    value: Expression
    text: str

    def __call__(self, scope: Mapping[str, Any]) -> list[Any]:
        found = self.value(scope)
        if not isinstance(found, list | tuple):
            raise EvaluationError(f"{self.text!r} gave {told(found)}, which is not a list")
        return list(found)


@dataclass(frozen=True, slots=True)
class _Constant:
    value: Any

    def __call__(self, scope: Mapping[str, Any]) -> Any:  # noqa: ARG002 - an Expression
        return self.value


def constant(value: Any) -> Expression:
    return _Constant(value)


def constant_of(expression: Expression) -> tuple[Any] | None:
    """The value that an expression always has, if it is a constant."""
    return (expression.value,) if isinstance(expression, _Constant) else None
