"""One partition: records and the markers of Kafka transactions, each with an offset.

What a reader sees (KIP-98): ``read_committed`` stops at the *last stable offset*, the first offset of the earliest open
Kafka transaction, and passes over what was aborted. A marker takes an offset but is never delivered, so the position after
the last record is short of the end; only the end-of-partition event tells it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from kantor.envelope import unreadable

Header = tuple[str, bytes | None]
#: (topic, partition)
Partition = tuple[str, int]

CREATE_TIME, LOG_APPEND_TIME = 1, 2


class KafkaTransaction:
    """A Kafka transaction from its first record to its markers."""

    __slots__ = ("aborted", "began", "logs", "offsets")

    def __init__(self, began: float) -> None:
        self.began = began  # monotonic, s
        self.aborted = False
        self.logs: dict[Log, None] = {}
        #: By group, the positions that it commits.
        self.offsets: dict[str, dict[Partition, int]] = {}


class Entry:
    """A record, or a marker (``headers`` None). Satisfies ``kantor.clients.Record``."""

    __slots__ = (
        "_headers",
        "_key",
        "_offset",
        "_place",
        "_timestamp",
        "_value",
        "gone_at",
        "is_marker",
        "transaction",
        "visible_at",
    )

    def __init__(
        self,
        place: Partition,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[Header] | None,
        timestamp: tuple[int, int],
        transaction: KafkaTransaction | None,
        visible_at: float,
        *,
        is_marker: bool = False,
    ) -> None:
        self._place = place
        self._offset = offset
        self._key = key
        self._value = value
        self._headers = headers
        self._timestamp = timestamp
        self.transaction = transaction
        self.visible_at = visible_at
        self.is_marker = is_marker
        #: Of a tombstone that the cleaner has seen: when it may be removed (ms).
        self.gone_at: int | None = None

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[Header] | None:
        return None if self._headers is None else list(self._headers)  # readers may add to theirs

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp


def _offset(entry: Entry) -> int:
    return entry.offset()


class Log:
    """The entries of one partition."""

    __slots__ = ("_open", "end", "entries", "place", "start")

    def __init__(self, place: Partition) -> None:
        self.place = place
        self.entries: list[Entry] = []
        #: The next offset: also what an open Kafka transaction has written counts.
        self.end = 0
        #: The first offset that retention has left.
        self.start = 0
        self._open: dict[KafkaTransaction, int] = {}

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: list[Header] | None,
        timestamp: tuple[int, int],
        transaction: KafkaTransaction | None,
        visible_at: float,
    ) -> Entry:
        if headers is not None and not "".join([name for name, _ in headers]).isascii():
            headers = _as_read(headers)
        entry = Entry(self.place, self.end, key, value, headers, timestamp, transaction, visible_at)
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = self.end
            transaction.logs[self] = None
        self.entries.append(entry)
        self.end += 1
        return entry

    def mark(self, transaction: KafkaTransaction, now: int) -> None:
        """Write the transaction's marker: what it holds here becomes readable, or will never be."""
        if self._open.pop(transaction, None) is None:
            return
        marker = Entry(
            self.place, self.end, None, None, None, (LOG_APPEND_TIME, now), transaction, 0, is_marker=True
        )
        self.entries.append(marker)
        self.end += 1

    @property
    def stable_end(self) -> int:
        """The last stable offset."""
        return min(self._open.values(), default=self.end)

    def read(
        self, position: int, limit: int, now: float, *, committed: bool
    ) -> tuple[list[Entry], int, int | None]:
        """Up to ``limit`` records from ``position``; the position after what was looked through; the end, if it was met."""
        end = self.stable_end if committed else self.end
        found: list[Entry] = []
        entries = self.entries
        size = len(entries)
        index = position if size == self.end else bisect_left(entries, position, key=_offset)
        while index < size:
            entry = entries[index]
            if entry._offset >= end:
                break
            if entry.visible_at > now or len(found) == limit:
                return found, entry._offset, None
            index += 1
            if entry.is_marker or (committed and entry.transaction is not None and entry.transaction.aborted):
                continue
            found.append(entry)
        return found, max(position, end), end

    def trim(self, start: int) -> None:
        """Retention removes what lies before ``start``."""
        self.start = max(self.start, min(start, self.end))
        self.entries = [entry for entry in self.entries if entry._offset >= self.start]

    def compact(self, now: int, retention: int) -> None:
        """Keep of each key the last record that is readable, and everything after the stable end. A tombstone stays for
        ``retention`` (ms) after the cleaner has met it first (KIP-354's delete horizon)."""
        end = self.stable_end
        last: dict[bytes | None, int] = {}
        for entry in self.entries:
            if entry._offset < end and not entry.is_marker and not _is_aborted(entry):
                last[entry._key] = entry._offset
        kept = []
        for entry in self.entries:
            if entry._offset < end and not entry.is_marker:
                if _is_aborted(entry) or last[entry._key] != entry._offset:
                    continue
                if entry._value is None:
                    if entry.gone_at is not None and entry.gone_at <= now:
                        continue
                    entry.gone_at = entry.gone_at if entry.gone_at is not None else now + retention
            kept.append(entry)
        self.entries = kept


def _as_read(headers: list[Header]) -> list[Header]:
    """What the client makes of a header whose name is not UTF-8: written as ``"\\udcff"`` (PEP 383's surrogates), it stands for
    any bytes, as other clients may write."""
    for name, _ in headers:
        raw = name.encode("utf-8", "surrogateescape")
        try:
            raw.decode()
        except UnicodeDecodeError:
            return unreadable(f"a header's name is not UTF-8: {raw[:100]!r}")
    return headers


def _is_aborted(entry: Entry) -> bool:
    return entry.transaction is not None and entry.transaction.aborted


Offsets = Mapping[Partition, int]
