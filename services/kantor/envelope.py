"""The envelope: CloudEvents 1.0 attributes as Kafka headers (binary mode), and the ids derived from them (docs/design/wire.md,
wire-5 and wire-12).

Sources: CloudEvents 1.0.2, Kafka protocol binding 3.2 (binary content mode); W3C Trace Context; RFC 9562 section
5.5 (UUID version 5). Only the standard library is imported here, because the orchestrator's pure core uses it too.

Ids are derived, never random: a crash that sends again sends the same id again, and whoever reads can tell.
Every id is ``uuid5(NAMESPACE, canonical JSON array)``; the arrays differ in length by kind of id, so that they can't
collide. Test vectors: ``tests/unit/test_envelope.py``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b, sha1
from json.encoder import encode_basestring
from typing import NamedTuple
from uuid import UUID

from kantor.errors import EnvelopeError, UnreadableHeadersError

Headers = Sequence[tuple[str, bytes | None]]

#: Fixed for ever: changing it would change every id. Any UUID would do; this one was drawn once.
NAMESPACE = UUID("6f1c2a52-5d0e-5b6c-9a43-b1d2f0c7e94a")

#: A transaction id (wire-6) is used as a record key, in URLs and in file names: keep it plain.
TRANSACTION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

CONTENT_TYPE = "application/avro"
#: The engine's own ``ce_source``; intake does not journal its commands again.
KANTOR_SOURCE = "kantor"
STEP_FAILED = "kantor.StepFailed"
TRANSACTION_ENDED = "kantor.TransactionEnded"
#: Asks a child to reverse its effects; it answers with its end, or with a ``StepFailed`` if there is no way back.
COMPENSATE_TRANSACTION = "kantor.CompensateTransaction"
#: Where Kantor sends commands to itself: intake copies them to the shard of the transaction that they are about.
OWN_COMMANDS = "cmd.kantor.v1"

#: The one header that a record seems to have if its client could not give its headers: its value says why. So no reader of
#: headers raises, and who asks for an attribute learns the reason (:func:`attributes`).
UNREADABLE = "kantor_unreadable"

#: Of a compensation whose action is known to have happened: whoever knows nothing of it must not confirm that it is reversed.
EFFECT, KNOWN = "ce_effect", b"known"

_NAMESPACE_BYTES = NAMESPACE.bytes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
#: Seconds of 400 years; of the first moment of year 1 and the last of year 9999, since the epoch.
_CYCLE = 146_097 * 86_400
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


def derived_id(*parts: str | int) -> str:
    """uuid5 over the canonical JSON array of ``parts``, as lower-case text with dashes."""
    # As json.dumps(parts, separators=(",", ":"), ensure_ascii=False), which costs four times as much.
    array = ",".join([encode_basestring(part) if type(part) is str else str(part) for part in parts])
    digest = sha1(_NAMESPACE_BYTES + f"[{array}]".encode(), usedforsecurity=False).hexdigest()
    # RFC 9562: version 5 in the 13th digit, variant 10xx in the 17th.
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def command_id(transaction_id: str, path: str, kind: str, round_: int, attempt: int) -> str:
    """The ``ce_id`` of one attempt of a command. ``kind`` is ``action`` or ``compensation``; counts start at 1."""
    return derived_id(transaction_id, path, kind, round_, attempt)


def idempotency_key(transaction_id: str, path: str, kind: str, round_: int) -> str:
    """The ``ce_idempotencykey`` that all attempts of one action share."""
    return derived_id(transaction_id, path, kind, round_)


def child_id(transaction_id: str, path: str, round_: int) -> str:
    """The transaction id of a child: the saga that runs as a step of another."""
    return derived_id(transaction_id, path, round_)


def event_id(cause: str, type_: str, index: int) -> str:
    """The ``ce_id`` of the ``index``-th event (from 0) of ``type_`` that handling ``cause`` produced."""
    return derived_id(cause, type_, index)


def choreographed_action(transaction_id: str, handler: str, item: str = "") -> str:
    """What ``ce_reverses`` names for an action that a service took by itself, on an event.

    ``handler`` is the full name of the event type that confirms the action (the step's ``succeeds_on``): the one
    name of it that both sides know.
    """
    return derived_id(transaction_id, handler, item)


def shard_of(transaction_id: str, shards: int) -> int:
    """The partition of the journal, history and state that a transaction lives in (wire-3)."""
    return zlib.crc32(transaction_id.encode()) % shards


def fingerprint(source: str, id_: str) -> int:
    """(ce_source, ce_id) as a signed 64-bit number: what duplicates are recognised by (journal-16)."""
    return int.from_bytes(blake2b(f"{source}\0{id_}".encode(), digest_size=8).digest(), "big", signed=True)


def rfc3339(milliseconds: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC, with milliseconds: ``2026-01-31T12:00:00.000Z``.

    Any number will do, also what a wrong clock or unit makes of a time: what is not in the years 1 to 9999 is written as
    ISO 8601 does, with a sign (``+59009-...``).
    """
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(256)  # times crowd around now, and formatting one costs 5 us
def _second(seconds: int) -> str:
    if _FIRST <= seconds <= _LAST:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    cycles, rest = divmod(seconds, _CYCLE)  # the calendar repeats itself
    moment = datetime.fromtimestamp(rest, UTC)
    return f"{moment.year + 400 * cycles:+05d}-{moment:%m-%dT%H:%M:%S}"


def parse_rfc3339(text: str) -> int:
    """RFC 3339 as milliseconds since the epoch. Raises ``EnvelopeError`` for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise EnvelopeError(f"{text!r} is not an RFC 3339 time") from error
    if moment.tzinfo is None:
        raise EnvelopeError(f"{text!r} has no offset from UTC")
    return (moment - _EPOCH) // _MILLISECOND  # whole numbers: timestamp() is a float, and loses some


class Envelope(NamedTuple):
    """The attributes around one payload. Times are milliseconds since the epoch. Name the arguments.

    A tuple, because making a frozen dataclass of twelve fields costs ten times as much, and each message needs one.
    """

    id: str
    source: str
    type: str
    correlation_id: str
    causation_id: str | None = None
    time: int | None = None
    idempotency_key: str | None = None
    expiry_time: int | None = None
    reverses: str | None = None
    asks: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """As Kafka headers. Attributes that are None are left out."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", self.id.encode()),
            ("ce_source", self.source.encode()),
            ("ce_type", self.type.encode()),
            ("ce_correlationid", self.correlation_id.encode()),
            ("content-type", b"application/avro"),
        ]
        if self.time is not None:
            headers.append(("ce_time", rfc3339(self.time).encode()))
        if self.causation_id is not None:
            headers.append(("ce_causationid", self.causation_id.encode()))
        if self.idempotency_key is not None:
            headers.append(("ce_idempotencykey", self.idempotency_key.encode()))
        if self.expiry_time is not None:
            headers.append(("ce_expirytime", rfc3339(self.expiry_time).encode()))
        if self.reverses is not None:
            headers.append(("ce_reverses", self.reverses.encode()))
        if self.asks is not None:
            headers.append(("ce_asks", self.asks.encode()))
        if self.traceparent is not None:
            headers.append(("traceparent", self.traceparent.encode()))
        if self.tracestate is not None:
            headers.append(("tracestate", self.tracestate.encode()))
        return headers


def unreadable(why: object) -> list[tuple[str, bytes | None]]:
    """The headers of a record whose headers can't be had, for clients to put in their place."""
    return [(UNREADABLE, str(why).encode("utf-8", "replace"))]


def attributes(headers: Headers | None) -> dict[str, bytes | None]:
    """Headers by name, as whoever reads records from outside should ask for them: the guarded door of headers (wire-7).

    Raises ``UnreadableHeadersError`` if they can't be had, ``EnvelopeError`` if a CloudEvents attribute is there twice with
    different values, or is of another version than 1.0. What is missing is the caller's business. Of other repeated
    names the last one counts.
    """
    found = dict(headers or ())
    version = found.get("ce_specversion", b"1.0")
    if version != b"1.0" or UNREADABLE in found or len(found) != len(headers or ()):
        _refuse(headers or (), found)
    return found


def _refuse(headers: Headers, found: Mapping[str, bytes | None]) -> None:
    why = found.get(UNREADABLE)
    if why is not None:
        raise UnreadableHeadersError(f"the headers can't be read: {why.decode('utf-8', 'replace')}")
    for name, value in headers:
        if name[:3] == "ce_" and value != found[name]:
            raise EnvelopeError(
                f"the header {name} is present twice, as {_shown(value)} and as {_shown(found[name])}: send it once"
            )
    version = found.get("ce_specversion", b"1.0")
    if version != b"1.0":
        raise EnvelopeError(
            f"ce_specversion is {_shown(version)}: only 1.0 is supported, because other versions have other attributes"
        )


def _shown(value: bytes | None) -> str:
    return "null" if value is None else repr(value[:140].decode("utf-8", "replace"))


def header_map(headers: Headers | None) -> dict[str, bytes]:
    """Headers by name; of a repeated name the last one counts. Null values are left out."""
    return {name: value for name, value in headers or () if value is not None}


def transaction_id_of(headers: Mapping[str, bytes | None]) -> str:
    """The transaction that a record belongs to. Raises ``EnvelopeError`` if none or malformed.

    The record's key is never a fallback (wire-4): a key may be anything, and a wrong guess would change the wrong transaction.
    """
    raw = headers.get("ce_correlationid")
    if raw is None:
        why = headers.get(UNREADABLE)
        if why is not None:
            raise UnreadableHeadersError(f"the headers can't be read: {why.decode('utf-8', 'replace')}")
        type_ = headers.get("content-type") or b""
        if type_.startswith(b"application/cloudevents"):
            raise EnvelopeError(
                f"no transaction id: this is a CloudEvent in structured mode (content-type {_shown(type_)}), its attributes "
                "are in its value; send it in binary mode, with its attributes as headers that begin with ce_"
            )
        raise EnvelopeError("no transaction id: the header ce_correlationid is missing")
    text = raw.decode("utf-8", "replace")
    if TRANSACTION_ID.fullmatch(text) is None:
        raise EnvelopeError(f"malformed transaction id {text[:140]!r}: allowed is [A-Za-z0-9._:-]{{1,128}}")
    return text


def read(headers: Headers | Mapping[str, bytes] | None) -> Envelope:
    """The envelope of a record. Raises ``EnvelopeError`` naming the attribute that is missing or malformed."""
    found: Mapping[str, bytes | None] = headers if isinstance(headers, Mapping) else attributes(headers)
    try:
        text = {
            name: value.decode()
            for name, value in found.items()
            if value is not None and (name[:3] == "ce_" or name[:5] == "trace")
        }
    except UnicodeDecodeError as error:
        raise EnvelopeError(f"an attribute is not UTF-8: {error}") from error
    for name in ("ce_id", "ce_source", "ce_type"):
        if not text.get(name):
            raise EnvelopeError(f"the header {name} is missing")
    time, expiry = text.get("ce_time"), text.get("ce_expirytime")
    return Envelope(
        id=text["ce_id"],
        source=text["ce_source"],
        type=text["ce_type"],
        correlation_id=transaction_id_of(found),
        causation_id=text.get("ce_causationid"),
        time=parse_rfc3339(time) if time else None,
        idempotency_key=text.get("ce_idempotencykey"),
        expiry_time=parse_rfc3339(expiry) if expiry else None,
        reverses=text.get("ce_reverses"),
        asks=text.get("ce_asks"),
        traceparent=text.get("traceparent"),
        tracestate=text.get("tracestate"),
    )
