"""From a record of the journal to an :class:`Entry` that the core understands.

Keeps only what some saga wants of a payload; says in the entry what could not be decoded, and why. A payload of which nobody
wants anything is decoded all the same: bytes that are none, or another type's, must not end a step.
"""

from __future__ import annotations

import logging
from typing import Any

from kantor.clients import Record
from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ENDED
from kantor.errors import CodecError, RegistryUnavailableError, UndecodableError, UnknownSchemaError
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.limits import MOST_ATTRIBUTE
from kantor_orchestrator.core.values import load
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.formats import journal

log = logging.getLogger("kantor.entries")


#: The source of operator actions, as duplicates are told by source and id.
ACTS = "kantor.acts"

Headers = dict[str, bytes]


class NotYet(Exception):  # noqa: N818 - control flow, not a failure
    """Nothing can be processed now: the registry is away, or a definition. The shard keeps this entry and all that follow,
    and tries again soon (shard-20)."""


class BeingRead(NotYet):
    """The entry's transaction is being read from the log: mostly a matter of milliseconds."""


#: What reading JSON of somebody else's raises: also for a number that is infinite, and for ten thousand brackets.
_NO_JSON = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class MalformedEntry(Exception):  # noqa: N818 - the name says what it is
    """No entry of intake, a timer or an operator action: somebody else wrote into the journal. It is logged and passed over (journal-5)."""


def headers_of(record: Record) -> Headers:
    return {name: value for name, value in record.headers() or () if value is not None}


def transaction_of(record: Record) -> str:
    key = record.key()
    if not key:
        raise MalformedEntry("no key")
    return key.decode("utf-8", "replace")


def mark_of(headers: Headers) -> tuple[str, int]:
    """The source partition (by topic id: a topic recreated starts over) and the offset in it (journal-15)."""
    try:
        _, partition, offset = headers[journal.ORIGIN].decode().rsplit("/", 2)
        return f"{headers[journal.TOPIC_ID].decode()}/{partition}", int(offset)
    except (KeyError, ValueError) as error:
        raise MalformedEntry(f"no valid {journal.ORIGIN} or {journal.TOPIC_ID}") from error


def sent_at(headers: Headers) -> int:
    """The source record's own time, ms."""
    try:
        return int(headers[journal.TIMESTAMP])
    except (KeyError, ValueError) as error:
        raise MalformedEntry(f"no valid {journal.TIMESTAMP}") from error


def timer_entry(record: Record) -> Entry:
    try:
        fired = journal.TimerEntry.load(record.value() or b"")
    except _NO_JSON as error:
        raise MalformedEntry(f"no timer: {error}") from error
    at = record.timestamp()[1]
    return Entry("timer", at, timer=fired.timer, step=fired.step, round=fired.round, attempt=fired.attempt)


def act_entry(record: Record) -> Entry:
    try:
        act = journal.ActEntry.load(record.value() or b"")
    except _NO_JSON as error:
        raise MalformedEntry(f"not an operator action: {error}") from error
    return Entry(
        "act",
        record.timestamp()[1],
        type=act.act,
        id=act.id,
        source=ACTS,
        step=act.step,
        actor=act.actor,
        payload={"why": act.why, "fields": act.fields, "saga": act.saga},
        journal_offset=record.offset(),
    )


def refusal_entry(record: Record) -> Entry:
    """A message of the engine that Kafka did not take: its id is the entry's cause."""
    try:
        found = journal.read(record.value() or b"")
        id_, type_, topic, why = (str(found[name]) for name in ("id", "type", "topic", "why"))
    except _NO_JSON as error:
        raise MalformedEntry(f"no refusal: {error}") from error
    reason = f"Kafka does not take {type_} for {topic}: {why}"
    return Entry("refused", record.timestamp()[1], type=type_, causation_id=id_, payload={"reason": reason})


def message_entry(record: Record, headers: Headers, type_: str, sent: int) -> Entry:
    """The envelope only; :class:`PayloadReader` adds the payload."""
    parent = headers.get(journal.PARENT, b"").decode("utf-8", "replace")
    id_ = headers.get("ce_id", b"").decode("utf-8", "replace")
    return Entry(
        headers[journal.ENTRY].decode("utf-8", "replace"),
        record.timestamp()[1],
        type=type_,
        id=id_,
        source=headers.get("ce_source", b"").decode("utf-8", "replace"),
        causation_id=headers.get("ce_causationid", b"").decode("utf-8", "replace"),
        origin=headers[journal.ORIGIN].decode("utf-8", "replace"),
        sent_at=sent,
        parent=parent,
        parent_command=id_ if parent else "",
        journal_offset=record.offset(),
        again=_again(headers),
        idempotency_key=headers.get("ce_idempotencykey", b"").decode("utf-8", "replace"),
    )


def _returned(text: object) -> dict[str, Any]:
    """What a child returns. Raises ``CodecError`` if it is not a JSON object: anybody may have written it."""
    try:
        found = load(text or "{}") if isinstance(text, str | None) else text
    except (ValueError, ArithmeticError, TypeError, RecursionError) as error:
        raise UndecodableError(f"its `returns` is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UndecodableError(f"its `returns` is not a JSON object: {text!r:.100}")
    return found


def _again(headers: Headers) -> int:
    found = headers.get(journal.AGAIN)
    if found is None:
        return -1
    try:
        return int(found)
    except ValueError as error:
        raise MalformedEntry(f"no valid {journal.AGAIN}") from error


class PayloadReader:
    """Adds to an entry what some saga wants of its payload, once it is known to be one of its type."""

    def __init__(self, codec: Codec, definitions: Definitions, *, waits: bool) -> None:
        """``waits``: a schema that is unknown now may be known soon, because there is a registry. Without one, an id that the
        schemas' topic lacks when read to its end was never published."""
        self._codec = codec
        self._definitions = definitions
        self._waits = waits

    def read(self, entry: Entry, record: Record, headers: Headers) -> None:
        """Sets ``entry.payload``, ``entry.error`` or ``entry.not_yet``, whatever the bytes are. Raises ``NotYet`` while the
        registry is away, and nothing else."""
        try:
            self._read(entry, record, headers)
        except NotYet:
            raise
        except Exception as error:
            log.exception(
                "unreadable %s at %s", entry.type, entry.origin, extra={"action": "payload_unreadable"}
            )
            entry.payload = {}
            entry.error = (
                f"{entry.type} at {entry.origin} can't be read: {type(error).__name__}: {error!s:.300}"
            )

    def _read(self, entry: Entry, record: Record, headers: Headers) -> None:
        if journal.LOST in headers:
            entry.error = headers[journal.LOST].decode("utf-8", "replace")
            return
        if not entry.id or not entry.source:
            entry.error = f"the header {'ce_source' if entry.id else 'ce_id'} is missing"
            entry.id = entry.id or entry.origin
            return
        if (
            max(map(len, (entry.id, entry.source, entry.causation_id, entry.idempotency_key)))
            > MOST_ATTRIBUTE
        ):
            entry.error = f"ce_id, ce_source, ce_causationid or ce_idempotencykey has more than {MOST_ATTRIBUTE} characters"
            entry.id, entry.source, entry.causation_id = entry.origin, entry.source[:MOST_ATTRIBUTE], ""
            entry.idempotency_key = ""
            return
        wanted = self._definitions.captures.get(entry.type, ())
        if not wanted and entry.type not in self._definitions.named:
            return  # what it is, a definition tells that can't be read now
        value = record.value()
        try:
            reader = self._definitions.schema(entry.type)
            payload = self._codec.decode(
                value, headers, expected=entry.type, reader=reader, resolves=bool(wanted)
            )
            if wanted and entry.type == TRANSACTION_ENDED:  # of a child: what it returns, beside how it ended
                payload = {**_returned(payload.get("returns")), **payload}
        except UnknownSchemaError as error:
            if self._waits:
                entry.not_yet = str(error)
            else:
                entry.error = str(error)
            return
        except CodecError as error:
            entry.error = str(error)
            return
        except RegistryUnavailableError as error:
            raise NotYet(str(error)) from error
        entry.payload = {name: payload[name] for name in wanted if name in payload}
