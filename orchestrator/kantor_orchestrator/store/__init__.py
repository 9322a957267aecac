"""Where an engine keeps the snapshots of a shard's transactions: a cache of the state topic, which can be restored from it at any
time (shard-11). ``sqlite.py`` is the one that engines use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from kantor.errors import KantorError

#: (snapshot, when its next timer is due, when its retained record expires); None: forget the transaction.
Row = tuple[bytes, int | None, int | None]


class StoreLostError(KantorError):
    """What is in this store is not known any more: another one has opened it since, it was damaged (and has been removed), or
    the disk takes it again. Retake the shard: whoever it belongs to, the changelog has everything."""


class StoreFullError(KantorError):
    """The disk does not take this. Nothing was stored, and what is in the store stays; keep the rows, and flush again later,
    or go on with :meth:`Store.do_without`."""


class Store(Protocol):
    """Snapshots by transaction id, with the changelog position that they are of. Of one owner: whoever opened it before writes
    no more."""

    #: Why the store works without the disk, or the disk does not take new data; empty: the disk has everything.
    trouble: str

    def wipe(self, why: str) -> None:
        """Start over, empty: the changelog has everything. In memory, if the disk has no place for it."""

    def do_without(self, why: str) -> None:
        """Start over, empty, and in memory: the disk has no place for it. Its memory is not bounded: it has what the file
        would have."""

    @property
    def position(self) -> int:
        """Next changelog offset to read; 0 if nothing was stored."""

    @property
    def journal_position(self) -> int:
        """Next journal offset that the snapshots have not seen; 0 if that was not stored."""

    def load(self, id_: str) -> bytes | None:
        """A transaction's snapshot, if there is one. Raises ``StoreLostError``, as everything that reads."""

    def flush(self, rows: Mapping[str, Row | None], position: int, journal_position: int) -> None:
        """Store these, and that the changelog is applied up to ``position``, which is the journal up to
        ``journal_position``: all or nothing. Raises ``StoreLostError`` if another one has opened the store since: nothing
        was stored, and what is in it is not what we know."""

    def due_before(self, moment: int) -> Iterator[tuple[str, bytes]]:
        """Ids and snapshots of transactions with a timer due before ``moment`` (ms)."""

    def due_at(self, moment: int) -> Iterator[tuple[str, bytes]]:
        """Ids and snapshots of transactions whose next timer is due at ``moment`` (ms)."""

    def expired(self, moment: int, limit: int) -> Iterable[str]:
        """Ids of retained records that expired before ``moment`` (ms), the oldest first."""

    def close(self) -> None: ...
