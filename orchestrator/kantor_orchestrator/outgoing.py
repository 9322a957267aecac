"""What goes out with a transition: its history record, its command, the announcement of an end, its timer."""

from __future__ import annotations

import logging
from dataclasses import replace

from kantor import envelope
from kantor.clock import Clock
from kantor.codec import Codec, Encoder
from kantor.envelope import Envelope
from kantor.errors import EncodingError
from kantor_orchestrator import journal, topics
from kantor_orchestrator.core.entry import DEADLINE, EXPIRY, Entry, timers_of
from kantor_orchestrator.core.saga import ROOT
from kantor_orchestrator.core.transaction import Kind, SentCommand, Transaction, Transition
from kantor_orchestrator.core.values import dump
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.entries import Headers
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.shard import Shard
from kantor_orchestrator.snapshots import transition_record
from kantor_schemas import system

log = logging.getLogger("kantor.engine")

#: Bytes of a command's payload: with its headers it must stay below what topics take unless told otherwise (1 MiB).
MAX_COMMAND = 980_000
#: Bytes of a trace header that is passed on; W3C Trace Context asks for 512 at least, and lets longer ones be dropped.
MAX_TRACE = 1024

#: The format of commands to services that know no Avro.
JSON = "json"

_END_HEADERS: list[tuple[str, bytes | None]] = [("ce_type", envelope.TRANSACTION_ENDED.encode())]


class Outgoing:
    """Writes into a shard's open Kafka transaction."""

    def __init__(self, codec: Codec, definitions: Definitions, metrics: EngineMetrics, clock: Clock) -> None:
        self._clock = clock
        self._codec = codec
        self._definitions = definitions
        self._metrics = metrics
        self._encode_history = codec.encoder(system("Transition"), topics.HISTORY)
        self._encode_end = codec.encoder(system("TransactionEnded"), topics.ENDED)
        self._encoders: dict[tuple[int, str], Encoder] = {}
        self._tally = metrics.tally.add
        for kind in Kind:  # each is shown from the start, with 0
            metrics.transitions.labels(kind)

    def encode_commands(self, transitions: list[Transition]) -> dict[str, bytes]:
        """The payloads of all commands, by id, before anything is changed. Raises ``EncodingError`` if captured values
        do not fit: the entry becomes an incident."""
        payloads: dict[str, bytes] = {}
        for command in [t.command for t in transitions if t.command and not t.command.held]:
            payload = payloads[command.id] = (
                dump(command.fields).encode()
                if command.format == JSON
                else self._encoder(command)(command.fields)
            )
            if len(payload) > MAX_COMMAND:
                raise EncodingError(f"{command.type}: {len(payload)} bytes, the limit is {MAX_COMMAND}")
        return payloads

    def write(
        self,
        shard: Shard,
        txn: Transaction,
        transition: Transition,
        entry: Entry,
        journal_offset: int,
        headers: Headers,
        payloads: dict[str, bytes],
    ) -> None:
        """One transition, just applied to ``txn``."""
        kind, key = transition.kind, txn.id.encode()
        history = self._encode_history(transition_record(transition, txn, entry, journal_offset))
        ended = kind is Kind.ENDED
        shard.producer.produce(topics.HISTORY, history, key, _END_HEADERS if ended else None, shard.number)
        self._tally(self._metrics.transitions, kind)
        command = transition.command
        if command is not None and not command.held:
            self._send(shard, txn, command, payloads[command.id], headers)
        if kind is Kind.RELEASED:
            for due, timer, step, round_, attempt in timers_of(txn):
                shard.set_timer((due, txn.id, timer, step, round_, attempt))
        elif transition.timer:
            # An activation starts the step's first round; its (choreographed) action has no attempts to count.
            round_, attempt = (1, 0) if kind is Kind.ACTIVATED else (transition.round, transition.attempt)
            shard.set_timer((transition.due, txn.id, transition.timer, transition.step, round_, attempt))
        if kind is Kind.STARTED:
            self._tally(self._metrics.started, txn.saga)
            if transition.due:
                shard.set_timer((transition.due, txn.id, DEADLINE, "", 0, 0))
        elif kind is Kind.KEPT:
            shard.set_timer((transition.due, txn.id, EXPIRY, "", 0, 0))
        elif kind in (Kind.INCIDENT_OPENED, Kind.COMPENSATION_FAILED):
            self._tally(self._metrics.incidents, txn.saga)
            facts = {
                "action": "incident_opened",
                "transaction": txn.id,
                "saga": txn.saga,
                "step": transition.step,
            }
            log.error("incident: %s", transition.reason or transition.code, extra=facts)
        elif ended:
            self._announce_end(shard, txn, key)

    def write_apart(self, shard: Shard, act: Entry, transition: Transition, journal_offset: int) -> None:
        """The answer to an act that is about no transaction: a saga, or all of them, is held or released."""
        history = self._encode_history(transition_record(transition, Transaction(""), act, journal_offset))
        shard.producer.produce(topics.HISTORY, history, None, None, shard.number)
        self._tally(self._metrics.transitions, transition.kind)

    def _send(
        self, shard: Shard, txn: Transaction, command: SentCommand, value: bytes, headers: Headers
    ) -> None:
        trace, state = _traced(headers, "traceparent"), _traced(headers, "tracestate")
        attributes = Envelope(
            id=command.id,
            source=envelope.KANTOR_SOURCE,
            type=command.type,
            correlation_id=command.about or txn.id,
            causation_id=command.causation_id or None,
            time=self._clock.now(),
            idempotency_key=command.idempotency_key,
            expiry_time=command.expires_at or None,
            reverses=command.reverses or None,
            asks=command.asks or None,
            traceparent=trace,
            tracestate=state,
        )
        sent = attributes.headers()
        if command.format == JSON:
            sent = [(name, b"application/json" if name == "content-type" else text) for name, text in sent]
        if command.about:
            sent.append((journal.PARENT, txn.id.encode()))
        key = command.key or command.about or txn.id
        shard.producer.produce(command.topic, value, key.encode(), sent)
        self._tally(self._metrics.commands, command.type)

    def _encoder(self, command: SentCommand) -> Encoder:
        key = (self._definitions.generation, command.type)
        encoder = self._encoders.get(key)
        if encoder is None:
            schema = self._definitions.schema(command.type)
            if schema is None and command.type.startswith("kantor."):
                schema = system(command.type.removeprefix("kantor."))
            assert schema is not None, "a definition brings the schemas of its commands"
            encoder = self._encoders[key] = self._codec.encoder(schema, command.topic)
        return encoder

    def _announce_end(self, shard: Shard, txn: Transaction, key: bytes) -> None:
        attributes = Envelope(
            id=envelope.event_id(txn.id, envelope.TRANSACTION_ENDED, txn.endings),
            source=envelope.KANTOR_SOURCE,
            type=envelope.TRANSACTION_ENDED,
            correlation_id=txn.id,
            time=txn.ended_at,
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
        shard.producer.produce(topics.ENDED, value, key, attributes.headers())
        if txn.parent:  # whose shard may be another one: by way of the journal
            to_parent = replace(attributes, correlation_id=txn.parent, causation_id=txn.parent_command)
            shard.producer.produce(topics.OWN_COMMANDS, value, txn.parent.encode(), to_parent.headers())
        self._tally(self._metrics.finished, txn.saga, txn.status)
        self._metrics.duration.labels(txn.saga, txn.status).observe((txn.ended_at - txn.started_at) / 1000)


def _traced(headers: Headers, name: str) -> str | None:
    found = headers.get(name)
    return found.decode("latin-1") if found and len(found) <= MAX_TRACE else None
