"""The columns of the table ``transactions``: what is written and read is derived from these names, in this order.

A new column is a field here, a migration in each of ``migrations/sqlite`` and ``migrations/postgresql``, and whoever fills or shows it.
"""

from __future__ import annotations

from typing import NamedTuple


class FoundBy(NamedTuple):
    """What transactions are found by, saga and status first: each of these is in an index."""

    saga: str
    status: str
    started_at: int
    reason: str
    last_error: str
    incidents: int  # open ones


class Beside(NamedTuple):
    """What lists show beside. ``waiting_for`` and ``open_steps``: JSON."""

    version: int
    ended_at: int
    waiting_for: str
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


class Listed(NamedTuple):
    """What is read for a list. ``waiting_for`` and ``open_steps``: JSON."""

    no: int
    id: str
    saga: str
    version: int
    status: str
    started_at: int
    updated_at: int
    ended_at: int
    waiting_for: str
    open_steps: str
    due: int
    reason: str
    last_error: str
    incidents: int
    held: str
    shard: int
    entry: int


class TransactionFacts(NamedTuple):
    """What is read for a transaction's own page. ``waiting_for``: JSON."""

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
    waiting_for: str
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
