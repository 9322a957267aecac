"""One transaction's whole story, put together from what the view stored of it.

The journal gives the order: whatever moved the transaction hangs on the entry that caused it, and each command that went
out on the move that sent it, with its place on its topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kantor.codec import Codec, MemorySchemas
from kantor.errors import CodecError
from kantor_orchestrator import journal, topics
from kantor_orchestrator.core.decision import CHILD, COMPENSATION
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.transaction import StepStatus
from kantor_orchestrator.view.facts import Command, Entry, Head, frames, messages_from_json
from kantor_orchestrator.view.rows import StepRow, TransactionRow
from kantor_orchestrator.view.sagas import SagaFacts, keys_in
from kantor_schemas import Schema


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database has of one transaction. ``parts``: messages as JSON and moves, in their order."""

    transaction_id: str
    shard: int
    saga: str
    version: int
    status: str
    started_at: int
    updated_at: int
    ended_at: int
    reason: str
    last_error: str
    waiting_for: list[str]
    held: str
    parts: list[tuple[str, bytes]]
    incidents: list[Incident]
    definition: SagaFacts | None
    schemas: Mapping[int, Schema]


@dataclass(frozen=True, slots=True)
class Incident:
    """``closed_at`` 0: it is open."""

    kind: str
    step: str
    reason: str
    opened_at: int
    closed_at: int


@dataclass(frozen=True, slots=True)
class Move:
    """A transition. ``position``: of its record in the history."""

    kind: str
    at: int
    step: str
    status: str
    step_status: str
    round: int
    attempt: int
    timer: str
    due: int
    code: str
    reason: str
    position: str


@dataclass(slots=True)
class Message:
    """Something that was said: an event, a command, a timer that went off, an act of a person.

    ``origin``: where it lies, ``topic/partition/offset``. ``journal``: its journal entry's place; empty for a command of
    the engine, which has ``step`` and ``attempt`` instead. ``seen``: how often intake journaled it.
    """

    kind: str  # event | command | compensation | timer | ...
    type: str
    at: int
    id: str = ""
    origin: str = ""
    causation_id: str = ""
    source: str = ""
    journal: str = ""
    sent_at: int = 0
    step: str = ""
    attempt: int = 0
    detail: str = ""
    seen: int = 1
    is_repeat: bool = False  # a message of this id was there before
    moves: list[Move] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    """One step; ``pending`` if it was not reached."""

    name: str
    kind: str
    owner: str
    compensator: str
    status: str
    attempts: int
    started_at: int
    ended_at: int
    compensation_attempts: int
    compensation_started_at: int
    compensation_ended_at: int
    timer: str
    due: int
    code: str
    reason: str
    after: tuple[str, ...] = ()


@dataclass(slots=True)
class Child:
    """A transaction that a step started. ``status`` empty: the view does not know it (yet)."""

    step: str
    transaction_id: str
    status: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """``keys``: what it is found by. ``timeline``: in the journal's order. ``parent``: the transaction whose step it is."""

    transaction_id: str
    shard: int
    saga: str
    version: int
    status: str
    started_at: int
    updated_at: int
    ended_at: int
    reason: str
    last_error: str
    waiting_for: list[str]
    held: str  # who holds it, and why
    keys: list[tuple[str, str]]
    steps: list[Step]
    timeline: list[Message]
    incidents: list[Incident]
    parent: str = ""
    children: list[Child] = field(default_factory=list)


def build_trace(stored: Stored) -> Trace:
    entries: list[Entry] = []
    sent: dict[str, Command] = {}
    moves: list[tuple[int, dict[str, Any]]] = []
    decode = _decoder(stored.schemas)
    keys: dict[str, str] = {}
    row = TransactionRow(0, stored.transaction_id, stored.shard, stored.started_at)
    for messages, records in stored.parts:
        for message in messages_from_json(messages):
            if isinstance(message, Entry):
                entries.append(message)
            else:
                sent.setdefault(message.id, message)
        for offset, value in frames(records):
            move = decode(value)
            if move is not None:
                moves.append((offset, move))
                row.fold(tuple(move[name] for name in Head._fields), stored.definition)
                if stored.definition:
                    for name, text in keys_in(move["captured"], stored.definition.keys):
                        keys.setdefault(name, text)
    return Trace(
        transaction_id=stored.transaction_id,
        shard=stored.shard,
        saga=stored.saga,
        version=stored.version,
        status=stored.status,
        started_at=stored.started_at,
        updated_at=stored.updated_at,
        ended_at=stored.ended_at,
        reason=stored.reason,
        last_error=stored.last_error,
        waiting_for=stored.waiting_for,
        held=stored.held,
        keys=list(keys.items()),
        steps=_steps(row.steps, stored.definition),
        timeline=_timeline(stored.shard, entries, moves, sent),
        incidents=stored.incidents,
        parent=next((move["parent"] for _, move in moves if move.get("parent")), ""),
        children=_children(moves),
    )


def _children(moves: list[tuple[int, dict[str, Any]]]) -> list[Child]:
    found = {
        command["about"]: move["step"]
        for _, move in moves
        for command in move["commands"]
        if command["kind"] == CHILD and command.get("about")
    }
    return [Child(step, id_) for id_, step in found.items()]


def _decoder(schemas: Mapping[int, Schema]) -> Any:
    store = MemorySchemas()
    for id_, schema in schemas.items():
        store.add(id_, schema)
    codec = Codec(store)

    def decode(value: bytes) -> dict[str, Any] | None:
        try:
            return codec.decode(value)
        except CodecError:
            return None  # the projector has told the operators

    return decode


def _steps(found: Mapping[str, StepRow], definition: SagaFacts | None) -> list[Step]:
    """All steps in the definition's order, each item of a composite with its own; then those that only the history
    knows."""
    known = definition.steps if definition else {}
    begun = {definition_path(path) for path in found}
    waiting = [path for path in known if path not in begun]
    order = {path: n for n, path in enumerate(known)}
    steps = []
    for path in sorted([*found, *waiting], key=lambda path: _rank(path, order)):
        facts = known.get(definition_path(path))
        s = found.get(path)
        if s is None:
            assert facts is not None
            s = StepRow(path, facts.kind, facts.owner, facts.compensator, StepStatus.PENDING.value)
        steps.append(
            Step(
                path, s.kind, s.owner, s.compensator, s.status, s.attempts, s.started_at, s.ended_at,
                s.compensation_attempts, s.compensation_started_at, s.compensation_ended_at, s.timer, s.due, s.code,
                s.reason, facts.after if facts else (),
            )
        )  # fmt: skip
    return steps


def _rank(path: str, order: Mapping[str, int]) -> list[tuple[int, int]]:
    """Where a step stands in the tree: a composite before its items, each item before the steps in it."""
    ranks, above = [], ""
    for part in path.split("."):
        name, _, item = part.partition("[")
        above = f"{above}.{name}" if above else name
        ranks.append((order.get(above, len(order)), int(item[:-1]) + 1 if item else 0))
    return ranks


def _timeline(
    shard: int, entries: list[Entry], moves: list[tuple[int, dict[str, Any]]], sent: dict[str, Command]
) -> list[Message]:
    by_position: dict[int, Message] = {}
    by_origin: dict[str, Message] = {}
    ids: set[tuple[str, str]] = set()
    for entry in sorted(entries):
        first = by_origin.get(entry.origin) if entry.origin else None
        if first is not None:  # intake was restarted and read it again
            first.seen += 1
            by_position[entry.position] = first
            continue
        message = _of_entry(shard, entry)
        message.is_repeat = bool(message.id) and (message.source, message.id) in ids
        ids.add((message.source, message.id))
        by_position[entry.position] = by_origin[entry.origin] = message
    caused: dict[int, list[Message]] = {}
    for offset, move in sorted(moves, key=lambda one: one[0]):
        position = move["journal_offset"]
        cause = by_position.get(position)
        if cause is None:  # the journal has forgotten it, or it has not been read yet
            cause = by_position[position] = _of_move(shard, move)
        cause.moves.append(_move(shard, offset, move))
        for command in move["commands"]:
            caused.setdefault(position, []).append(_of_command(move, command, sent.pop(command["id"], None)))
    timeline: list[Message] = []
    shown: set[int] = set()
    for position in sorted(by_position):
        message = by_position[position]
        if id(message) not in shown:
            shown.add(id(message))
            timeline.append(message)
        timeline += caused.get(position, ())
    # Commands whose move has not been read yet.
    timeline += [
        Message("command", c.type, c.at, c.id, c.origin, c.causation_id, "kantor")
        for c in sorted(sent.values())
    ]
    return timeline


def _of_entry(shard: int, entry: Entry) -> Message:
    message = Message(
        kind=entry.kind,
        type=entry.type,
        at=entry.at,
        id=entry.message_id,
        origin=entry.origin,
        causation_id=entry.causation_id,
        source=entry.source,
        journal=f"{topics.JOURNAL}/{shard}/{entry.position}",
        sent_at=entry.sent_at,
        detail=entry.detail,
    )
    if entry.kind == journal.TIMER.decode():
        try:
            timer = journal.Timer.load(entry.detail.encode())
        except (ValueError, TypeError):
            return message
        message.type, message.step, message.attempt, message.detail = (
            timer.timer,
            timer.step,
            timer.attempt,
            "",
        )
    return message


def _of_move(shard: int, move: Mapping[str, Any]) -> Message:
    return Message(
        kind=move["entry_kind"],
        type=move["message_type"],
        at=move["at"],
        id=move["message_id"],
        origin=move["origin"],
        journal=f"{topics.JOURNAL}/{shard}/{move['journal_offset']}",
    )


def _of_command(move: Mapping[str, Any], command: Mapping[str, Any], found: Command | None) -> Message:
    return Message(
        kind="compensation" if command["kind"] == COMPENSATION else "command",
        type=command["type"],
        # Never before what caused it, whatever the brokers' clocks say.
        at=max(found.at, move["at"]) if found else move["at"],
        id=command["id"],
        origin=found.origin if found else "",
        causation_id=command["causation_id"],
        source="kantor",
        step=move["step"],
        attempt=move["attempt"],
    )


def _move(shard: int, offset: int, move: Mapping[str, Any]) -> Move:
    facts = {name: move[name] for name in Move.__slots__ if name != "position"}
    return Move(**facts, position=f"{topics.HISTORY}/{shard}/{offset}")
