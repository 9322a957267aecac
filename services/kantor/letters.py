"""Dead letters: records that a service can't read, with where they were and why (wire-20)."""

from __future__ import annotations

from kantor.clients import Record
from kantor.errors import KantorError, UnreadableHeadersError
from kantor.topics import MAX_RECORD, dead_letters
from kantor.writing import Header, Outgoing

#: Bytes of a record that fits the dead letters with what is added: a compressed one may have been of any size.
_LARGEST = MAX_RECORD - 20_000


def place(record: Record) -> str:
    """``topic/partition/offset``."""
    return f"{record.topic()}/{record.partition()}/{record.offset()}"


def dead_letter(record: Record, error: KantorError, group: str) -> Outgoing:
    """The record as it is, for the dead letters of this group; without its value and headers if it is larger than they take."""
    headers: list[Header] = []
    text = str(error)
    if isinstance(error, UnreadableHeadersError):
        text += "; key and value are the record's own, its headers are lost"
    else:
        headers += record.headers() or ()
    value = record.value()
    size = len(value or b"") + len(record.key() or b"") + sum(len(n) + len(v or b"") for n, v in headers)
    if size > _LARGEST:
        text += f"; of {size} bytes, so its value and headers are left where they are: at {place(record)}"
        value, headers = None, []
    added: dict[str, object] = {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "group": group,
        "delivery.count": 1,
        "message": text,
    }
    headers += [
        (f"__dlq.errors.{name}", str(value).encode("utf-8", "replace")) for name, value in added.items()
    ]
    return Outgoing(dead_letters(group), value, record.key(), headers)
