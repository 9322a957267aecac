"""Transactions and transitions as the platform's Avro records, and back."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import (
    Early,
    Incident,
    Kind,
    SentCommand,
    Status,
    StepState,
    StepStatus,
    Transaction,
    Transition,
)
from kantor_orchestrator.core.values import dump, load


def transaction_record(t: Transaction) -> dict[str, Any]:
    """A ``kantor.TransactionState``. Equal transactions give equal bytes: sets and maps are sorted."""
    prints = sorted(t.fingerprints)
    return {
        "transaction_id": t.id,
        "saga": t.saga,
        "version": t.version,
        "status": t.status,
        "started_at": t.started_at,
        "updated_at": t.updated_at,
        "ended_at": t.ended_at,
        "expires_at": t.expires_at,
        "deadline": t.deadline,
        "reason": t.reason,
        "failing": t.failing,
        "parent": t.parent,
        "parent_command": t.parent_command,
        "held": t.held,
        "entries": t.entries,
        "endings": t.endings,
        "steps": [
            {
                "path": path,
                "status": s.status,
                "round": s.round,
                "attempt": s.attempt,
                "doubtful": s.doubtful,
                "command_id": s.command_id,
                "compensation_round": s.compensation_round,
                "compensation_attempt": s.compensation_attempt,
                "compensation_id": s.compensation_id,
                "again": s.again,
                "questions": s.questions,
                "timer": s.timer,
                "due": s.due,
                "started_at": s.started_at,
                "ended_at": s.ended_at,
                "code": s.code,
                "reason": s.reason,
                "final": s.final,
                "effect": s.effect,
                "reversal": s.reversal,
                "reversed_round": s.reversed_round,
            }
            for path, s in t.steps.items()
        ],
        "captured": dump(t.captured),
        "early": [_dump_early(early) for early in t.early],
        "fingerprints": struct.pack(f">{len(prints)}q", *prints),
        "incidents": [
            {"kind": i.kind, "step": i.step, "reason": i.reason, "opened_at": i.opened_at}
            for i in t.incidents
        ],
        "put_off": t.put_off,
        "put_off_since": t.put_off_since,
        "put_off_print": t.put_off_print,
        "again_at": t.again_at,
        "asked": t.asked,
    }


def transaction_from(record: dict[str, Any]) -> Transaction:
    """The inverse of :func:`transaction_record`."""
    prints = record["fingerprints"]
    steps = {}
    for found in record["steps"]:
        facts = dict(found)
        path = facts.pop("path")
        facts["status"] = StepStatus(facts["status"])
        steps[path] = StepState(**facts)
    return Transaction(
        id=record["transaction_id"],
        saga=record["saga"],
        version=record["version"],
        status=Status(record["status"]),
        started_at=record["started_at"],
        updated_at=record["updated_at"],
        ended_at=record["ended_at"],
        expires_at=record["expires_at"],
        deadline=record["deadline"],
        reason=record["reason"],
        failing=record["failing"],
        parent=record["parent"],
        parent_command=record["parent_command"],
        held=record["held"],
        entries=record["entries"],
        endings=record["endings"],
        steps=steps,
        captured=load(record["captured"]),
        early=[_load_early(text) for text in record["early"]],
        fingerprints=set(struct.unpack(f">{len(prints) // 8}q", prints)),
        incidents=[Incident(**incident) for incident in record["incidents"]],
        put_off=list(record["put_off"]),
        put_off_since=record["put_off_since"],
        put_off_print=record["put_off_print"],
        again_at=record["again_at"],
        asked=record["asked"],
    )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of the engine as it leaves, byte for byte. ``key`` empty: none."""

    topic: str
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(slots=True)
class Decided:
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


def decision_record(
    txn: Transaction,
    entry: Entry,
    transitions: list[Transition],
    messages: list[Outgoing],
    epoch: int,
    journal_offset: int,
) -> dict[str, Any]:
    """A ``kantor.Decision``: what ``entry`` led to; ``txn`` as it is after all of ``transitions``."""
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
        "transitions": [_move_record(t) for t in transitions],
        "messages": [
            {
                "topic": m.topic,
                "key": m.key,
                "headers": [{"name": name, "value": value} for name, value in m.headers],
                "value": m.value,
            }
            for m in messages
        ],
    }


def decided_from(record: dict[str, Any]) -> Decided:
    """The inverse of :func:`decision_record`."""
    at, actor = record["at"], record["actor"]
    return Decided(
        record["transaction_id"],
        record["epoch"],
        record["journal_offset"],
        at,
        record["entry_kind"],
        record["message_id"],
        record["message_type"],
        record["origin"],
        actor,
        record["saga"],
        record["version"],
        record["status"],
        [_move_from(move, at, actor) for move in record["transitions"]],
        [
            Outgoing(m["topic"], m["key"], [(h["name"], h["value"]) for h in m["headers"]], m["value"])
            for m in record["messages"]
        ],
    )


def _move_record(t: Transition) -> dict[str, Any]:
    return {
        "kind": t.kind,
        "step": t.step,
        "status": "" if t.status is None else t.status,
        "saga": t.saga,
        "version": t.version,
        "round": t.round,
        "attempt": t.attempt,
        "timer": t.timer,
        "due": t.due,
        "code": t.code,
        "reason": t.reason,
        "scope": t.scope,
        "captured": "" if t.captured is None else dump(t.captured),
        "fingerprint": t.fingerprint,
        "commands": [] if t.command is None else [_command_record(t.command)],
        "early": "" if t.early is None else _dump_early(t.early),
        "parent": t.parent,
        "parent_command": t.parent_command,
        "put_off": t.put_off,
        "evidence": t.evidence,
    }


def _move_from(record: dict[str, Any], at: int, actor: str) -> Transition:
    captured, early, commands, status = (record[name] for name in ("captured", "early", "commands", "status"))
    return Transition(
        kind=Kind(record["kind"]),
        at=at,
        step=record["step"],
        status=Status(status) if status else None,
        saga=record["saga"],
        version=record["version"],
        round=record["round"],
        attempt=record["attempt"],
        timer=record["timer"],
        due=record["due"],
        code=record["code"],
        reason=record["reason"],
        scope=record["scope"],
        captured=load(captured) if captured else None,
        fingerprint=record["fingerprint"],
        command=_command_from(commands[0]) if commands else None,
        early=_load_early(early) if early else None,
        actor=actor,
        parent=record["parent"],
        parent_command=record["parent_command"],
        put_off=record["put_off"],
        evidence=record["evidence"],
    )


def _command_record(c: SentCommand) -> dict[str, Any]:
    """Without the payload where the message itself has it."""
    return {
        "id": c.id,
        "type": c.type,
        "topic": c.topic,
        "kind": c.kind,
        "idempotency_key": c.idempotency_key,
        "causation_id": c.causation_id,
        "reverses": c.reverses,
        "asks": c.asks,
        "expires_at": c.expires_at,
        "key": c.key,
        "about": c.about,
        "held": c.held,
        "format": c.format,
        "fields": dump(c.fields) if c.held else "",
    }


def _command_from(record: dict[str, Any]) -> SentCommand:
    return SentCommand(**{**record, "fields": load(record["fields"] or "{}")})


def _dump_early(e: Early) -> str:
    payload = json.loads(dump(e.payload))
    facts = [e.kind, e.type, e.id, e.source, e.causation_id, e.at, e.origin, payload]
    return dump([*facts, e.sent_at, e.idempotency_key])


def _load_early(text: str) -> Early:
    return Early(*load(text))
