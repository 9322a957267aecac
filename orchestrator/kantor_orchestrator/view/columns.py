"""The columns of the table ``transactions``: what is written, read and told as JSON is derived from these names, in this order.

A new column is a field here, a migration in each of ``migrations/sqlite`` and ``migrations/postgresql``, and who fills it
(``database.py``). A field of ``Summary`` is shown in lists: in their JSON, and in the shape that OpenAPI has of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, get_origin, get_type_hints


class As(Enum):
    """What stands for *none* in a column; JSON has null."""

    TEXT = auto()  # empty
    NUMBER = auto()  # 0
    TIME = auto()  # 0; else ms since the epoch


Text = Annotated[str, As.TEXT]
Number = Annotated[int, As.NUMBER]
Time = Annotated[int, As.TIME]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One transaction in a list. What is a list is JSON in its column."""

    transaction_id: str
    saga: Text
    version: Number
    status: str
    waiting_on: list[str]
    held: Text  # who holds it, and why
    open_steps: list[str]
    started_at: Time
    updated_at: Time
    ended_at: Time
    due: Time
    reason: Text
    last_error: Text
    open_incidents: int
    keys: list[tuple[str, str]] = field(default_factory=list)  # as the saga names them, in its order


class FoundBy(NamedTuple):
    """What transactions are found by, saga and status first: each of these is in an index."""

    saga: str
    status: str
    started_at: int
    reason: str
    last_error: str
    open_incidents: int


class Beside(NamedTuple):
    """What lists show beside. ``waiting_on`` and ``open_steps``: JSON."""

    version: int
    ended_at: int
    waiting_on: str
    open_steps: str
    due: int
    held: str


class Kept(NamedTuple):
    """What the projection goes on with."""

    shard: int
    updated_at: int
    parts: int
    entry: int
    unread: str


class Known(NamedTuple):
    """What the projection reads of a transaction that it meets again."""

    no: int
    shard: int
    saga: str
    status: str
    started_at: int
    updated_at: int
    parts: int
    entry: int
    unread: str


class TransactionFacts(NamedTuple):
    """What is read for a transaction's own page. ``waiting_on``: JSON."""

    no: int
    shard: int
    saga: str
    version: int
    status: str
    started_at: int
    updated_at: int
    ended_at: int
    reason: str
    last_error: str
    waiting_on: str
    held: str
    entry: int
    unread: str


def _set(*columns: str) -> str:
    return ", ".join(f"{column} = ?" for column in columns)


_REST = (*Beside._fields, *Kept._fields)
_ALL = (*FoundBy._fields, *_REST, "no", "id")

#: Values: of ``FoundBy``, ``Beside`` and ``Kept``; then the transaction's number and id.
INSERT = f"INSERT INTO transactions ({', '.join(_ALL)}) VALUES ({', '.join('?' * len(_ALL))})"  # noqa: S608 - our own names
#: Values: the same, without the id.
UPDATE = f"UPDATE transactions SET {_set(*FoundBy._fields, *_REST)} WHERE no = ?"  # noqa: S608 - our own names
#: Without ``FoundBy``. SQLite writes an index again for whatever column is named, also if it has not changed.
UPDATE_REST = f"UPDATE transactions SET {_set(*_REST)} WHERE no = ?"  # noqa: S608 - our own names

#: Types of what lists show, as they are declared.
SHOWN: Mapping[str, Any] = MappingProxyType(get_type_hints(Summary, include_extras=True))
#: Columns that are read for a list: ``no``, ``shard`` and ``entry`` for what is not in the row, then those of ``Summary``.
_SHOWN = ("id", *(name for name in SHOWN if name not in ("transaction_id", "keys")))
LISTED = ", ".join(("no", "shard", "entry", *_SHOWN))
#: Of those that are shown: which are JSON.
LISTS = frozenset(name for name in _SHOWN if get_origin(SHOWN.get(name)) is list)


def shown(values: Sequence[Any], load: Callable[[str], Any]) -> dict[str, Any]:
    """``Summary``'s fields, but for its keys, of a row's values behind ``no``, ``shard`` and ``entry``. ``load`` reads JSON."""
    row = dict(zip(_SHOWN, values, strict=True))
    row["transaction_id"] = row.pop("id")
    return row | {name: load(row[name]) for name in LISTS}
