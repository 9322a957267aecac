"""What a timeline is made of, and how it is stored: messages as JSON, decisions as the history's own bytes (view-9).

Of a decision only what ``evolve`` needs is decoded when it comes (``reading.py``); the rest when a person looks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.json import Encoder as JsonEncoder

_encode = JsonEncoder().encode


def to_json(value: object) -> str:
    """Compact JSON."""
    return _encode(value).decode()


class EntryFacts(NamedTuple):
    """An entry of the journal, without its payload. ``detail``: the value of a timer or an operator action. ``topic``: tells the topic that
    ``origin`` is in from others of its name, before and after it (0: of none). ``again``: of a copy of an entry that was put
    off, the original's offset (-1: it is none)."""

    position: int
    at: int
    kind: str
    type: str
    origin: str
    message_id: str
    causation_id: str
    source: str
    sent_at: int
    detail: str
    topic: int = 0
    again: int = -1


class CommandPlace(NamedTuple):
    """Where a command of the engine lies on its topic."""

    at: int
    origin: str
    id: str
    type: str
    causation_id: str


def messages_from_json(text: str) -> Iterator[EntryFacts | CommandPlace]:
    """What ``to_json`` made of a list of entries' and commands' facts."""
    for facts in json.loads(text):
        yield CommandPlace(*facts) if len(facts) == len(CommandPlace._fields) else EntryFacts(*facts)


#: Bytes of a timer's or an operator action's value that are kept as they are; characters of each text of an operator action that is larger.
DETAIL_LENGTH, _TEXT_LENGTH = 65_536, 2_000


def detail_of(value: bytes) -> str:
    """The value of a timer or an operator action. What is kept of one that is too large is JSON, too: who, what and why is known of
    each, whatever else a person has said."""
    if len(value) <= DETAIL_LENGTH:
        return value.decode("utf-8", "replace")
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return value[:_TEXT_LENGTH].decode("utf-8", "replace")
    kept = {name: text[:_TEXT_LENGTH] for name, text in found.items() if isinstance(text, str)}
    return json.dumps(kept | {"is_cut": True})


#: Before each decision: its offset in the history, its length.
_FRAME = struct.Struct(">QI")
frame = _FRAME.pack


def frames(moves: bytes) -> Iterator[tuple[int, bytes]]:
    """Offsets and records of decisions, one after the other."""
    place = 0
    while place < len(moves):
        offset, length = _FRAME.unpack_from(moves, place)
        place += _FRAME.size + length
        yield offset, moves[place - length : place]
