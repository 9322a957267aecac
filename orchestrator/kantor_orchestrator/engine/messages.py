"""The bytes that leave because of a decision: commands, answers, the announcement of an end.

They are made before the decision is logged, because the log holds them complete (log-1): whoever recovers sends the same
bytes. The end of a transaction is announced (wire-18); parents and children talk by way of ``cmd.kantor.v1`` (wire-19).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kantor import envelope
from kantor.codec import Codec, Encoder
from kantor.envelope import Envelope
from kantor.errors import EncodingError
from kantor.writing import MAX_TRACE
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import ROOT
from kantor_orchestrator.core.transaction import Kind, SentCommand, Transaction, Transition
from kantor_orchestrator.core.values import dump
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.entries import Headers
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Outgoing
from kantor_schemas import system

#: Bytes of a command's payload (wire-11): with its headers it must stay below what topics take unless told otherwise (1 MiB).
MAX_COMMAND = 980_000

#: The format of commands to services that know no Avro.
JSON = "json"


class Messages:
    """Makes messages; sends nothing."""

    def __init__(self, codec: Codec, definitions: Definitions) -> None:
        self._codec = codec
        self._definitions = definitions
        self._encode_end = codec.encoder(system("TransactionEnded"), topics.ENDED)
        self._encoders: dict[tuple[int, str], Encoder] = {}

    def of(
        self,
        txn: Transaction,
        transitions: Sequence[Transition],
        entry: Entry,
        headers: Headers,
        now: int,
    ) -> list[Outgoing]:
        """What leaves because of these transitions of ``txn`` (which is as they left it), in order. ``now``: their
        ``ce_time``, ms. Raises ``CodecError`` if captured values do not fit (the entry becomes an incident),
        ``RegistryUnavailableError`` if a schema's id can't be had (the shard waits)."""
        found: list[Outgoing] = []
        for transition in transitions:
            command = transition.command
            if command is not None and not command.held:
                sent = self._command(txn, command, headers, now)
                if transition.kind is Kind.COMPENSATION_SENT and not txn.steps[transition.step].doubtful:
                    sent.headers.append((envelope.EFFECT, envelope.KNOWN))
                found.append(sent)
            if transition.kind is Kind.ENDED:
                found += self._end(txn, entry, headers)
        return found

    def _command(self, txn: Transaction, command: SentCommand, headers: Headers, now: int) -> Outgoing:
        attributes = Envelope(
            id=command.id,
            source=envelope.KANTOR_SOURCE,
            type=command.type,
            correlation_id=command.about or txn.id,
            causation_id=command.causation_id or None,
            time=now,
            idempotency_key=command.idempotency_key,
            expiry_time=command.expires_at or None,
            reverses=command.reverses or None,
            asks=command.asks or None,
            traceparent=_traced(headers, "traceparent"),
            tracestate=_traced(headers, "tracestate"),
        )
        sent = attributes.headers()
        if command.format == JSON:
            sent = [(name, b"application/json" if name == "content-type" else text) for name, text in sent]
            value = dump(command.fields).encode()
        else:
            value = self._encoder(command)(command.fields)
        if len(value) > MAX_COMMAND:
            raise EncodingError(f"{command.type}: {len(value)} bytes, the limit is {MAX_COMMAND}")
        if command.about:
            sent.append((journal.PARENT, txn.id.encode()))
        return Outgoing(command.topic, (command.key or command.about or txn.id).encode(), sent, value)

    def _encoder(self, command: SentCommand) -> Encoder:
        key = (self._definitions.generation, command.type)
        encoder = self._encoders.get(key)
        if encoder is None:
            schema = self._definitions.schema(command.type)
            if schema is None and command.type.startswith("kantor."):
                schema = system(command.type.removeprefix("kantor."))
            if schema is None:
                raise EncodingError(f"{command.type}: no definition brings its schema; deploy the saga again")
            encoder = self._encoders[key] = self._codec.encoder(schema, command.topic)
        return encoder

    def _end(self, txn: Transaction, entry: Entry, headers: Headers) -> Iterator[Outgoing]:
        attributes = Envelope(
            id=envelope.event_id(txn.id, envelope.TRANSACTION_ENDED, txn.endings),
            source=envelope.KANTOR_SOURCE,
            type=envelope.TRANSACTION_ENDED,
            correlation_id=txn.id,
            causation_id=entry.id or None,
            time=txn.ended_at,
            traceparent=_traced(headers, "traceparent"),
            tracestate=_traced(headers, "tracestate"),
        )
        value = self._encode_end(
            {
                "transaction_id": txn.id,
                "saga": txn.saga,
                "version": txn.version,
                "status": txn.status,
                "started_at": txn.started_at,
                "ended_at": txn.ended_at,
                "reason": txn.reason or None,
                "returns": dump(txn.captured[ROOT]) if ROOT in txn.captured else "",
            }
        )
        yield Outgoing(topics.ENDED, txn.id.encode(), attributes.headers(), value)
        if txn.parent:  # whose shard may be another one: by way of the journal (shard-28)
            answer = envelope.event_id(txn.parent_command, envelope.TRANSACTION_ENDED, txn.endings)
            to_parent = attributes._replace(
                id=answer, correlation_id=txn.parent, causation_id=txn.parent_command
            )
            yield Outgoing(topics.OWN_COMMANDS, txn.parent.encode(), to_parent.headers(), value)


def _traced(headers: Headers, name: str) -> str | None:
    found = headers.get(name)
    return found.decode("latin-1") if found and len(found) <= MAX_TRACE else None
