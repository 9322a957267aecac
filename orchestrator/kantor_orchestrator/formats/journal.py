"""The journal's format: what intake, timers and operator actions append, and the engine and the view read
(docs/design/journal.md, journal-2).

An entry keeps the source record's bytes and headers, but for headers of these names, and adds:

=====================  ===========================================================================================
``kantor_entry``       what it is: event, command, timer, act, refused (a message of the engine that Kafka did not take)
``kantor_origin``      ``topic/partition/offset`` of the source record
``kantor_topicid``     that topic's id (KIP-516): one recreated under the same name starts over
``kantor_key``         the source record's key, if it had one
``kantor_timestamp``   the source record's timestamp, ms since the epoch
``kantor_again``       of a copy of an entry that was deferred: the original's offset in the journal
=====================  ===========================================================================================

The record's key is the transaction id, its partition the shard, its timestamp the broker's (LogAppendTime): journal-3. Control
entries (operator actions on a whole saga: hold and release) have no key and an explicit partition (journal-4).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

ENTRY = "kantor_entry"
ORIGIN = "kantor_origin"
TOPIC_ID = "kantor_topicid"
KEY = "kantor_key"
TIMESTAMP = "kantor_timestamp"

#: Of a message that starts a child: the transaction whose step it is.
PARENT = "kantor_parent"

EVENT, COMMAND, TIMER, ACT = b"event", b"command", b"timer", b"act"
#: Of a copy of an entry that was deferred: the original's offset in the journal; and why it is none, if nothing of the kind is there.
AGAIN, LOST = "kantor_again", "kantor_lost"
#: What an entry says beside its original: of an original, under these names, it says nothing.
OWN = frozenset({ENTRY, ORIGIN, TOPIC_ID, KEY, TIMESTAMP, PARENT, AGAIN, LOST})
#: A message of the engine that Kafka did not take.
REFUSED = b"refused"

TIMER_HEADERS: list[tuple[str, bytes | None]] = [(ENTRY, TIMER)]
ACT_HEADERS: list[tuple[str, bytes | None]] = [(ENTRY, ACT)]
REFUSED_HEADERS: list[tuple[str, bytes | None]] = [(ENTRY, REFUSED)]


def read(value: bytes) -> Any:
    """JSON. What no text can have (half a surrogate pair, which a terminal makes of a byte that is not UTF-8) becomes ``?``: nobody
    could write it down. Raises ``ValueError``, ``RecursionError``."""
    found = json.loads(value)
    text = json.dumps(found, ensure_ascii=False)
    clean = text.encode(errors="replace")
    return found if clean.decode() == text else json.loads(clean)


@dataclass(frozen=True, slots=True)
class TimerEntry:
    """A timer that went off. What it was set for tells whether it is stale by the time it is read."""

    timer: str
    step: str
    round: int
    attempt: int
    due: int

    def dump(self) -> bytes:
        return json.dumps([self.timer, self.step, self.round, self.attempt, self.due]).encode()

    @classmethod
    def load(cls, value: bytes) -> TimerEntry:
        timer, step, round_, attempt, due = read(value)
        return cls(str(timer), str(step), int(round_), int(attempt), int(due))


@dataclass(frozen=True, slots=True)
class ActEntry:
    """What a person did to a transaction (``core.acts``), or without a key to all transactions of ``saga`` (empty: of all
    sagas). ``id``: the same for one that is sent again."""

    id: str
    act: str
    actor: str
    why: str
    step: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    saga: str = ""

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, value: bytes) -> ActEntry:
        """Raises ``ValueError`` or ``TypeError`` for anything else."""
        found = cls(**read(value))
        texts = (found.id, found.act, found.actor, found.why, found.step, found.saga)
        if not all(isinstance(text, str) for text in texts) or not isinstance(found.fields, dict):
            raise TypeError("a field of the operator action has the wrong type")
        return found
