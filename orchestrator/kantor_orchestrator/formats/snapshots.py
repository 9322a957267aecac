"""Transactions and transitions as the platform's records, and back.

The records are Avro. What only engines and the view look into is one field of them: the transitions of a decision as JSON,
its messages and a transaction's facts as MessagePack, written and read by msgspec straight from and into the core's own types
(docs/decisions/0018).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder as JsonDecoder
from msgspec.json import Encoder as JsonEncoder
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import replace

from kantor_orchestrator.core.entry import Entry, timers_of
from kantor_orchestrator.core.transaction import (
    ENDED,
    Early,
    Incident,
    Status,
    StepState,
    Transaction,
    Transition,
)
from kantor_orchestrator.core.values import DEEPEST, TAGGED, plain_fields, real_fields


class _Facts(Struct, array_like=True):
    """What a snapshot has of a transaction, in this order. ``fingerprints``: 8 bytes each, big-endian, sorted."""

    started_at: int
    updated_at: int
    ended_at: int
    expires_at: int
    deadline: int
    reason: str
    failing: str
    parent: str
    parent_command: str
    held: str
    entries: int
    endings: int
    steps: dict[str, StepState]
    captured: dict[str, dict[str, Any]]
    early: list[Early]
    fingerprints: bytes
    incidents: list[Incident]
    put_off: list[int]
    put_off_since: int
    put_off_print: int
    again_at: int
    asked: int


class Outgoing(Struct, array_like=True, frozen=True):
    """A message of the engine as it leaves, byte for byte. ``key`` empty: none."""

    topic: str
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes


#: No time is later (ms): a store's integers have 64 bits, MessagePack's may have one more.
_LATEST = 1 << 61
#: What reading a record raises that is none of ours, or none of this version.
_FOREIGN = (MsgspecError, ValueError, TypeError, AttributeError, LookupError, RecursionError, struct.error)


def _no_extension(code: int, _data: memoryview) -> Any:
    raise ValueError(f"an extension of MessagePack, of type {code}")


_pack = Encoder().encode
_facts_from = Decoder(_Facts, ext_hook=_no_extension).decode
_messages_from = Decoder(list[Outgoing], ext_hook=_no_extension).decode
_json = JsonEncoder().encode
_transitions_from = JsonDecoder(list[Transition]).decode


class Stub(Struct, frozen=True):
    """What the state has of a transaction that is at rest (:func:`is_at_rest`). ``history``: the offset, in the history's
    partition of the same number, of the decision that has its snapshot."""

    id: str
    saga: str
    version: int
    status: Status
    history: int
    expires_at: int


def is_at_rest(t: Transaction) -> bool:
    """Whether it has ended, and nobody waits for it: no timer is set, no person is asked, and it is forgotten one day. Timers
    that go off for it are stale, whatever they are."""
    return t.status in ENDED and t.expires_at > 0 and not timers_of(t)


def is_lost(t: Transaction) -> bool:
    """Whether nobody knows any more what it has done: it was a retained record, and the history has lost its snapshot. ``reason`` says
    so."""
    return bool(t.saga) and not t.started_at


def lost(stub: Stub, why: str) -> Transaction:
    """What is left of a transaction without its snapshot."""
    expires_at = stub.expires_at
    return Transaction(stub.id, stub.saga, stub.version, stub.status, expires_at=expires_at, reason=why)


def transaction_record(t: Transaction) -> dict[str, Any]:
    """A ``kantor.TransactionState``; its id is the record's key. Transactions that were folded from equal transitions give
    equal bytes. Raises ``ValueError`` or ``TypeError`` for captured values that Avro does not have."""
    return _state(t, snapshot_of(t), -1, 0)


def stub_record(t: Transaction, history: int) -> dict[str, Any]:
    """A ``kantor.TransactionState`` of a transaction at rest whose snapshot is in the decision at this offset."""
    return _state(t, b"", history, t.expires_at)


def _state(t: Transaction, facts: bytes, history: int, expires_at: int) -> dict[str, Any]:
    return {
        "saga": t.saga,
        "version": t.version,
        "status": t.status,
        "facts": facts,
        "history": history,
        "expires_at": expires_at,
    }


def snapshot_of(t: Transaction) -> bytes:
    """What of a transaction is neither in the other fields of its state, nor in those of its decision. Raises ``ValueError`` or
    ``TypeError`` for captured values that Avro does not have."""
    prints = sorted(t.fingerprints)
    facts = _Facts(
        t.started_at,
        t.updated_at,
        t.ended_at,
        t.expires_at,
        t.deadline,
        t.reason,
        t.failing,
        t.parent,
        t.parent_command,
        t.held,
        t.entries,
        t.endings,
        t.steps,
        {scope: plain_fields(fields) for scope, fields in t.captured.items()},
        [_plain_early(one) for one in t.early] if t.early else [],
        struct.pack(f">{len(prints)}q", *prints),
        t.incidents,
        t.put_off,
        t.put_off_since,
        t.put_off_print,
        t.again_at,
        t.asked,
    )
    return _pack(facts)


def state_from(id_: str, record: Mapping[str, Any]) -> Transaction | Stub:
    """The inverse of :func:`transaction_record` and :func:`stub_record`. Raises ``ValueError`` for what they did not
    write."""
    try:
        if record["history"] >= 0:
            status = Status(record["status"])
            saga, version, expires_at = record["saga"], record["version"], record["expires_at"]
            return Stub(id_, saga, version, status, record["history"], expires_at)
    except _FOREIGN as error:
        raise ValueError(f"not a retained record: {type(error).__name__}: {error}") from error
    return transaction_from(id_, record)


def transaction_from(id_: str, record: Mapping[str, Any]) -> Transaction:
    """The inverse of :func:`transaction_record`. Raises ``ValueError`` for what it did not write."""
    try:
        return _transaction(id_, record)
    except _FOREIGN as error:
        raise ValueError(f"not a transaction's record: {type(error).__name__}: {error}") from error


def _transaction(id_: str, record: Mapping[str, Any]) -> Transaction:
    raw = record["facts"]
    f = _facts_from(raw)
    captured, early = f.captured, f.early
    times = (f.started_at, f.updated_at, f.ended_at, f.expires_at, f.deadline, f.put_off_since, f.again_at)
    if not -_LATEST < min(times) <= max(times) < _LATEST or any(
        abs(step.due) >= _LATEST for step in f.steps.values()
    ):
        raise ValueError("a time out of range")
    if b"$" in raw:
        captured = {scope: real_fields(fields) for scope, fields in captured.items()}
        early = [_real_early(one) for one in early]
    return Transaction(
        id_,
        record["saga"],
        record["version"],
        Status(record["status"]),
        f.started_at,
        f.updated_at,
        f.ended_at,
        f.expires_at,
        f.deadline,
        f.reason,
        f.failing,
        f.parent,
        f.parent_command,
        f.held,
        f.entries,
        f.endings,
        f.steps,
        captured,
        early,
        set(struct.unpack(f">{len(f.fingerprints) // 8}q", f.fingerprints)),
        f.incidents,
        f.put_off,
        f.put_off_since,
        f.put_off_print,
        f.again_at,
        f.asked,
    )


class Decided(Struct):
    """What one journal entry led to, as the history has it (``kantor.Decision``). Empty text and 0 mean: none."""

    transaction_id: str
    epoch: int
    journal_offset: int
    at: int
    entry_kind: str
    message_id: str
    message_type: str
    origin: str
    actor: str
    saga: str
    version: int
    status: str
    transitions: list[Transition]
    messages: list[Outgoing]
    snapshot: bytes = b""  # of the transaction after it, if it is at rest then
    offset: int = -1  # its own, if whoever read it says so

    def transaction(self) -> Transaction:
        """As its snapshot has it. Raises ``ValueError`` if that is none."""
        return transaction_from(
            self.transaction_id,
            {"saga": self.saga, "version": self.version, "status": self.status, "facts": self.snapshot},
        )


def decision_record(
    txn: Transaction,
    entry: Entry,
    transitions: list[Transition],
    messages: list[Outgoing],
    epoch: int,
    journal_offset: int,
    snapshot: bytes = b"",
) -> dict[str, Any]:
    """A ``kantor.Decision``: what ``entry`` led to; ``txn`` as it is after all of ``transitions``, and its ``snapshot`` if it is
    at rest then. Raises ``ValueError`` or ``TypeError`` for captured values that Avro does not have."""
    return {
        "transaction_id": txn.id,
        "epoch": epoch,
        "journal_offset": journal_offset,
        "at": entry.at,
        "entry_kind": entry.kind,
        "message_id": entry.id,
        "message_type": entry.type,
        "origin": entry.origin,
        "actor": entry.actor,
        "saga": txn.saga,
        "version": txn.version,
        "status": txn.status,
        "transitions": _json([_plain(t) for t in transitions]).decode(),
        "messages": _pack(messages) if messages else b"",
        "snapshot": snapshot,
    }


def decided_from(record: Mapping[str, Any]) -> Decided:
    """The inverse of :func:`decision_record`. Raises ``ValueError`` for what it did not write."""
    try:
        return _decided(record)
    except _FOREIGN as error:
        raise ValueError(f"not a decision's record: {type(error).__name__}: {error}") from error


def _decided(record: Mapping[str, Any]) -> Decided:
    return Decided(
        record["transaction_id"],
        record["epoch"],
        record["journal_offset"],
        record["at"],
        record["entry_kind"],
        record["message_id"],
        record["message_type"],
        record["origin"],
        record["actor"],
        record["saga"],
        record["version"],
        record["status"],
        transitions_from(record["transitions"]),
        _messages_from(record["messages"]) if record["messages"] else [],
        record["snapshot"],
    )


def transitions_from(text: str) -> list[Transition]:
    """Those of a decision's record. Raises ``ValueError`` if they are none."""
    try:
        found = _transitions_from(text)
        # Few brackets can't be nested deeper than what may be written again.
        may_be_deep = text.count("[") + text.count("{") > DEEPEST
        return [_real(t) for t in found] if TAGGED in text or may_be_deep else found
    except _FOREIGN as error:
        raise ValueError(f"not transitions: {type(error).__name__}: {error}") from error


def _plain(t: Transition) -> Transition:
    """As the log has it: without the payload of a command where the message itself has it."""
    captured, command, early = t.captured, t.command, t.early
    if captured is None and command is None and early is None:
        return t
    if captured is not None:
        captured = plain_fields(captured)
    if command is not None:
        command = replace(command, fields=plain_fields(command.fields) if command.held else {})
    if early is not None:
        early = _plain_early(early)
    if captured is t.captured and command is None and early is t.early:
        return t
    return replace(t, captured=captured, command=command, early=early)


def _real(t: Transition) -> Transition:
    if t.captured is not None:
        t.captured = real_fields(t.captured)
    if t.command is not None:
        t.command.fields = real_fields(t.command.fields)
    if t.early is not None:
        t.early = _real_early(t.early)
    return t


def _plain_early(e: Early) -> Early:
    payload = plain_fields(e.payload)
    return e if payload is e.payload else replace(e, payload=payload)


def _real_early(e: Early) -> Early:
    return replace(e, payload=real_fields(e.payload))
