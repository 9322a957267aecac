"""Texts with expressions in braces: ``Approve hire of {start.name}``. ``{{`` and ``}}`` are braces themselves.

``{env.NAME}`` stays as it is: whoever acts on the text fills it in (``kantor_http`` from its own environment), so that
secrets and addresses are never written to Kafka.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any
from urllib.parse import quote

from kantor_orchestrator.core.saga import Expression
from kantor_orchestrator.definitions import expressions, outcomes

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_ENVIRONMENT = re.compile(r"env\.[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Template:
    """Text; ``pieces`` are texts and expressions in turn. ``url``: what is filled in is escaped."""

    pieces: tuple[str | Expression, ...]
    url: bool = False

    def __call__(self, scope: Mapping[str, Any]) -> str:
        return "".join(
            piece if isinstance(piece, str) else self._value(piece(scope)) for piece in self.pieces
        )

    def _value(self, value: Any) -> str:
        """Raises ``EvaluationError`` for nothing in a URL: ``DELETE /users/`` is not ``DELETE /users/ann``."""
        if self.url and value in (None, ""):
            raise outcomes.EvaluationError("a part of a url is empty")
        if isinstance(value, str):
            text = value
        elif isinstance(value, bool | int | float | list | dict | None):
            text = json.dumps(value, default=_plain, ensure_ascii=False)
        else:
            text = _plain(value)
        return quote(text, safe="") if self.url else text


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of what each expression gives."""

    items: tuple[Expression, ...]

    def __call__(self, scope: Mapping[str, Any]) -> list[Any]:
        return [item(scope) for item in self.items]


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping of what each expression gives."""

    items: tuple[tuple[str, Expression], ...]

    def __call__(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        return {name: item(scope) for name, item in self.items}


@dataclass(frozen=True, slots=True)
class Json:
    """What an expression gives, as JSON text."""

    value: Expression

    def __call__(self, scope: Mapping[str, Any]) -> str:
        return json.dumps(self.value(scope), default=_plain, ensure_ascii=False, separators=(",", ":"))


def check(text: str) -> None:
    """Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``."""
    for found in _PIECE.finditer(text):
        if found[0] in ("{", "}"):
            raise ValueError(
                f"{text!r} has a lone {found[0]}; write {found[0] * 2} if the character is meant"
            )
        if found[1] is not None and not _ENVIRONMENT.fullmatch(found[1].strip()):
            expressions.check(found[1].strip())


def formulas(text: str) -> list[str]:
    """The expressions in a text."""
    return [
        found[1].strip()
        for found in _PIECE.finditer(text)
        if found[1] is not None and not _ENVIRONMENT.fullmatch(found[1].strip())
    ]


def names_environment(text: str) -> bool:
    return any(found[1] and _ENVIRONMENT.fullmatch(found[1].strip()) for found in _PIECE.finditer(text))


def person_formulas(text: str) -> list[str]:
    """The expressions in an entry of a task's ``for`` and ``not``: a bare ``scope.field`` is one."""
    if _is_template(text):
        return formulas(text)
    return [text] if isinstance(expressions.parse(text), expressions.Ref) else []


def _is_template(text: str) -> bool:
    return not expressions.is_short(text)


def compiled(text: str, formula: Callable[[str], Expression], *, url: bool = False) -> Expression:
    """The text with its expressions, made by ``formula``, filled in."""
    pieces: list[str | Expression] = []
    for found in _PIECE.finditer(text):
        inner = found[1]
        if inner is not None and not _ENVIRONMENT.fullmatch(inner.strip()):
            pieces.append(formula(inner.strip()))
        else:
            pieces.append({"{{": "{", "}}": "}"}.get(found[0], found[0]))
    if all(isinstance(piece, str) for piece in pieces):
        return outcomes.constant("".join(str(piece) for piece in pieces))
    return Template(tuple(pieces), url)


def person(text: str, formula: Callable[[str], Expression]) -> Expression:
    """An entry of a task's ``for`` and ``not``."""
    if _is_template(text):
        return compiled(text, formula)
    found = expressions.parse(text)
    return outcomes.constant(found.value) if isinstance(found, expressions.Literal) else formula(text)


def _plain(value: Any) -> str:
    """What JSON has no type for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | time) else str(value)
