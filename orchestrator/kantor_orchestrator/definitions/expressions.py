"""What a field of a command is filled with: ``scope.field``, or a literal.

The spelling is a subset of CEL, so that expressions can join later without changing what is written today:
``start.amount_cents`` is a field of the start event, ``payment.amount_cents`` one of the event that ``payment``
succeeded on, ``'text'`` (with its own quotes), numbers, ``true``, ``false`` and ``null`` are themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What may be written: YAML's and Python's plain values.
Plain = str | int | float | bool | None

_PATH = re.compile(r"([a-z][a-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
_QUOTED = re.compile(r"'([^'\\]*)'")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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


def parse(written: Plain) -> Ref | Literal:
    """What ``written`` means. Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``."""
    if not isinstance(written, str):
        return Literal(written)
    if found := _PATH.fullmatch(written):
        return Ref(found[1], found[2])
    if found := _QUOTED.fullmatch(written):
        return Literal(found[1])
    if _NAME.fullmatch(written):
        raise ValueError(
            f"{written!r} does not say whose field it is; write start.{written} or STEP.{written}, "
            f"or \"'{written}'\" if the text itself is meant"
        )
    raise ValueError(
        f"the expression {written!r} is not supported by this version of Kantor; "
        f"write start.FIELD, STEP.FIELD, a number, true, false, null, or text in quotes of its own: \"'text'\""
    )
