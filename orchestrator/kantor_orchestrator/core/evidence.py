"""One effect, one reversal (saga-22): which effect a success reports, and where it was told.

A success with the causation or the idempotency key of one that is known is the same effect. One that its service told before
it confirmed a reversal was reversed by it: what is in one partition of a topic is in order; of what is in two, the records'
times tell (that of the journal, where a record has none).
"""

from __future__ import annotations

from json.encoder import encode_basestring

from msgspec import Struct

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Early
from kantor_orchestrator.core.values import dump, load


class Evidence(Struct, frozen=True, gc=False):
    """What a message reports, and its place. ``sent_at``: when its record was written, ms."""

    cause: str = ""
    key: str = ""
    origin: str = ""
    sent_at: int = 0

    @classmethod
    def of(cls, message: Entry | Early) -> Evidence:
        sent_at = message.sent_at if message.sent_at > 0 else message.at
        return cls(message.causation_id, message.idempotency_key, message.origin, sent_at)

    @classmethod
    def load(cls, text: str) -> Evidence:
        return cls(*load(text)) if text else cls()

    def dump(self) -> str:
        return dump([self.cause, self.key, self.origin, self.sent_at])

    def identity(self) -> str:
        """Without the place."""
        return f"[{encode_basestring(self.cause)},{encode_basestring(self.key)}]"

    def is_of(self, other: Evidence) -> bool:
        """Whether both report the same effect, as far as they say."""
        return (bool(self.cause) and self.cause == other.cause) or (bool(self.key) and self.key == other.key)

    def is_before(self, other: Evidence) -> bool:
        """Whether this was told before the other."""
        here, offset = _place(self.origin)
        there, other_offset = _place(other.origin)
        if here and here == there:
            return offset < other_offset
        return self.sent_at <= other.sent_at


def _place(origin: str) -> tuple[str, tuple[int, ...]]:
    """The partition (``topic/partition``), and the offset in it (with an index, if one record is several messages)."""
    parts = origin.split("/")
    if len(parts) < 3 or not all(part.isdecimal() for part in parts[1:]):
        return "", ()
    return f"{parts[0]}/{parts[1]}", tuple(int(part) for part in parts[2:])
