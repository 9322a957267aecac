"""What the view tells, as JSON values: one shape for the command line and the API.

Times are RFC 3339 in UTC, places ``topic/partition/offset``; what there is not is null (wire-22).
"""

from __future__ import annotations

from typing import Any

from kantor.envelope import rfc3339
from kantor_orchestrator import voice
from kantor_orchestrator.definitions.bundle import Bundle
from kantor_orchestrator.view.columns import SHOWN, As, Summary
from kantor_orchestrator.view.queries import (
    Hold,
    OpenIncident,
    Page,
    RefusedTopic,
    UncorrelatedTopic,
    UnreadDecisions,
)
from kantor_orchestrator.view.shown import Step
from kantor_orchestrator.view.trace import Incident, Message, Move, Trace

Json = dict[str, Any]


def time(milliseconds: int) -> str | None:
    return rfc3339(milliseconds) if milliseconds else None


def definition(bundle: Bundle) -> Json:
    """A deployed version."""
    model = bundle.model
    return {
        "saga": model.saga,
        "version": model.version,
        "starts_on": model.starts_on,
        "steps": list(model.steps),
        "keys": list(model.keys),
        "deployed_at": time(bundle.deployed_at),
    }


def trace(found: Trace, complete_from: int) -> Json:
    """``complete_from``: of the view (ms; 0: from the beginning); told where it is about this one."""
    return {
        "transaction_id": found.transaction_id,
        "saga": found.saga or None,
        "version": found.version or None,
        "status": found.status,
        "waiting_on": found.waiting_on,
        "held": found.held or None,
        "started_at": time(found.started_at),
        "updated_at": time(found.updated_at),
        "ended_at": time(found.ended_at),
        "reason": found.reason or None,
        "last_error": found.last_error or None,
        "shard": found.shard if found.shard >= 0 else None,
        "keys": [{"name": name, "value": value} for name, value in found.keys],
        "steps": [_step(step) for step in found.steps],
        "timeline": [_message(message) for message in found.timeline],
        "incidents": [_incident(incident) for incident in found.incidents],
        "parent": found.parent or None,
        "unread": found.unread or None,
        "children": [
            {"step": child.step, "transaction_id": child.transaction_id, "status": child.status or None}
            for child in found.children
        ],
        "complete_from": time(complete_from if found.started_at < complete_from else 0),
    }


def summary(found: Summary) -> Json:
    told = {name: _told(getattr(found, name), declared) for name, declared in SHOWN.items()}
    return told | {"keys": [{"name": name, "value": value} for name, value in found.keys]}


def _told(value: Any, declared: Any) -> Any:
    """A value of this declared type."""
    match getattr(declared, "__metadata__", ()):
        case (As.TIME,):
            return time(value)
        case (As.TEXT | As.NUMBER,):
            return value or None
    return value


def page(found: Page, complete_from: int) -> Json:
    """``complete_from``: of the view (ms; 0: from the beginning)."""
    return {
        "transactions": [summary(one) for one in found.transactions],
        "next_page": found.next_page or None,
        "partial": found.is_partial,
        "complete_from": time(complete_from),
    }


def uncorrelated(found: UncorrelatedTopic) -> Json:
    return {
        "topic": found.topic,
        "count": found.count,
        "reason": found.reason,
        "sample": found.sample,
        "at": time(found.at),
    }


def refused(found: RefusedTopic) -> Json:
    return {"topic": found.topic, "reason": found.reason, "at": time(found.at)}


def unread(found: UnreadDecisions) -> Json:
    return {
        "shard": found.shard,
        "count": found.count,
        "first": found.place,
        "transaction_id": found.transaction_id or None,
        "reason": found.reason,
        "at": time(found.at),
    }


def hold(found: Hold) -> Json:
    return {"saga": found.saga or None, "reason": found.reason, "at": time(found.at)}


def open_incident(found: OpenIncident) -> Json:
    return {
        "transaction_id": found.transaction_id,
        "saga": found.saga or None,
        "kind": found.kind,
        "step": found.step or None,
        "reason": found.reason,
        "opened_at": time(found.opened_at),
        "keys": [{"name": name, "value": value} for name, value in found.keys],
    }


def _step(step: Step) -> Json:
    return {
        "name": step.name,
        "kind": step.kind or None,
        "owner": step.owner or None,
        "status": step.status,
        "attempts": step.attempts,
        "started_at": time(step.started_at),
        "ended_at": time(step.ended_at),
        "after": list(step.after),
        "timer": step.timer or None,
        "due": time(step.due),
        "code": step.code or None,
        "reason": step.reason or None,
        "compensation": {
            "owner": step.compensator or None,
            "attempts": step.compensation_attempts,
            "started_at": time(step.compensation_started_at),
            "ended_at": time(step.compensation_ended_at),
        }
        if step.compensation_attempts
        else None,
    }


def _message(message: Message) -> Json:
    return {
        "at": time(message.at),
        "kind": message.kind,
        "type": message.type or None,
        "id": message.id or None,
        "source": message.source or None,
        "origin": message.origin or None,
        "journal": message.journal or None,
        "causation_id": message.causation_id or None,
        "sent_at": time(message.sent_at),
        "step": message.step or None,
        "attempt": message.attempt or None,
        "seen": message.seen,
        "is_repeat": message.is_repeat,
        "detail": message.detail or None,
        "transitions": [_move(move) for move in message.moves],
    }


def _move(move: Move) -> Json:
    return {
        "kind": move.kind,
        "at": time(move.at),
        "step": move.step or None,
        "status": move.status,
        "step_status": move.step_status or None,
        "round": move.round or None,
        "attempt": move.attempt or None,
        "timer": move.timer or None,
        "due": time(move.due),
        "code": move.code or None,
        "reason": move.reason or None,
        "history": move.position,
        "text": voice.sentence(move),
    }


def _incident(incident: Incident) -> Json:
    return {
        "kind": incident.kind,
        "step": incident.step or None,
        "reason": incident.reason,
        "opened_at": time(incident.opened_at),
        "closed_at": time(incident.closed_at),
    }
