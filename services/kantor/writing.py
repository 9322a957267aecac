"""Messages as records: encoded payload, envelope as headers, key (kit-2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from kantor.codec import Codec, Encoder
from kantor.envelope import CONTENT_TYPE, event_id, rfc3339
from kantor.errors import EncodingError, KantorError
from kantor.handlers import MessageType
from kantor.messages import Message
from kantor.records import StepFailed
from kantor.topics import MAX_ANSWER

Header = tuple[str, bytes | None]

#: Bytes of a trace header that is handed on; W3C Trace Context asks for 512 at least, and lets longer ones be dropped. With one
#: of any length an answer may be larger than its topic takes.
MAX_TRACE = 1024


class Outgoing(NamedTuple):
    """One record to produce."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: list[Header]


class Payload(NamedTuple):
    """One encoded message, before it has an envelope: what the inbox stores. ``time`` is in milliseconds."""

    type: str
    topic: str
    value: bytes
    time: int


def failure_topic(service: str) -> str:
    """Where a service's ``StepFailed`` go (wire-17)."""
    return f"evt.{service}.failure.v1"


class Writer:
    """Encodes a service's messages and puts envelopes around them. Not thread-safe: one per thread."""

    def __init__(
        self,
        service: str,
        codec: Codec,
        types: Iterable[MessageType] = (),
        limits: Mapping[str, int] | None = None,
    ) -> None:
        """Makes the schemas of ``types`` known to readers. ``limits``: see ``kantor.topics.limits``. Raises what
        ``SchemaStore.id_of`` raises."""
        self._limits = limits or {}
        self._codec = codec
        self._failures = failure_topic(service)
        self._source: Header = ("ce_source", service.encode())
        self._encoders: dict[MessageType, tuple[Encoder, str, str]] = {}
        self._headers: dict[str, Header] = {}
        for type_ in types:
            self.learn(type_)

    def learn(self, type_: MessageType) -> None:
        """Prepare for a type. Raises what ``SchemaStore.id_of`` raises."""
        topic = self._failures if type_ is StepFailed else type_.TOPIC
        self._encoders[type_] = (self._codec.encoder(type_.SCHEMA, topic), type_.TYPE, topic)

    def encode(self, message: Message, now: int) -> Payload:
        """Raises ``EncodingError`` if the message does not fit its schema or its topic, ``KantorError`` if its type is unknown."""
        found = self._encoders.get(type(message))
        if found is None:
            raise KantorError(f"{type(message).__name__} was not declared")
        encode, type_, topic = found
        payload = Payload(type_, topic, encode(message.to_avro()), now)
        self.check(payload)
        return payload

    def check(self, payload: Payload) -> None:
        """Raises ``EncodingError`` if its topic does not take it: one that the inbox has may be of a time when it did."""
        size = len(payload.value)
        if size > MAX_ANSWER:
            raise EncodingError(f"{payload.type}: {size} bytes; a message has at most {MAX_ANSWER}")
        if self._limits and size > self._limits.get(payload.topic, MAX_ANSWER):
            raise EncodingError(
                f"{payload.type}: {size} bytes; with its envelope it fits {payload.topic} up to {self._limits[payload.topic]}: "
                f"make it smaller, or raise the topic's max.message.bytes and start the service again"
            )

    def answers(self, payloads: Iterable[Payload], headers: Mapping[str, bytes | None]) -> list[Outgoing]:
        """Payloads as answers to the message with these headers: its transaction, caused by it (wire-15), in its trace.

        The n-th answer of a type to one message always gets the same id. Another attempt of a command is another message:
        its answer has another id, but the same idempotency key, by which whoever acts on it knows that it tells nothing
        new. That key is handed down: what was caused by two tellings of one fact is one fact. The answer to a question
        about an action (``ce_asks``) is the action's own.
        """
        cause, transaction = headers["ce_id"], headers["ce_correlationid"]
        assert cause is not None
        fact = headers.get("ce_asks") or headers.get("ce_idempotencykey")
        counts: dict[str, int] = {}
        found = []
        for payload in payloads:
            index = counts[payload.type] = counts.get(payload.type, -1) + 1
            out = self._envelope(payload, event_id(cause.decode(), payload.type, index), transaction)
            out.append(("ce_causationid", cause))
            if fact is not None:
                key = event_id(fact.decode("utf-8", "replace"), payload.type, index)
                out.append(("ce_idempotencykey", key.encode()))
            trace = headers.get("traceparent")
            if trace is not None and len(trace) <= MAX_TRACE:
                out.append(("traceparent", trace))
                state = headers.get("tracestate")
                if state is not None and len(state) <= MAX_TRACE:
                    out.append(("tracestate", state))
            found.append(Outgoing(payload.topic, payload.value, transaction, out))
        return found

    def start(self, payload: Payload, transaction_id: str, index: int) -> Outgoing:
        """A payload as a message that nothing caused."""
        key = transaction_id.encode()
        headers = self._envelope(payload, event_id(transaction_id, payload.type, index), key)
        return Outgoing(payload.topic, payload.value, key, headers)

    def _envelope(self, payload: Payload, id_: str, transaction: bytes | None) -> list[Header]:
        type_ = self._headers.get(payload.type)
        if type_ is None:
            type_ = self._headers[payload.type] = ("ce_type", payload.type.encode())
        return [
            _VERSION,
            ("ce_id", id_.encode()),
            self._source,
            type_,
            ("ce_correlationid", transaction),
            _CONTENT_TYPE,
            ("ce_time", _time(payload.time)),
        ]


_VERSION: Header = ("ce_specversion", b"1.0")
_CONTENT_TYPE: Header = ("content-type", CONTENT_TYPE.encode())


@lru_cache(maxsize=8)  # a batch's answers are made within few milliseconds
def _time(milliseconds: int) -> bytes:
    return rfc3339(milliseconds).encode()
