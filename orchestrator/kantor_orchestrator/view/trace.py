"""One transaction's whole story, put together from what the view stored of it.

The journal gives the order: whatever moved the transaction hangs on the entry that caused it, and each command that went
out on the transition that sent it, with its place on its topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kantor.codec import Codec, MemorySchemas
from kantor.errors import CodecError
from kantor_orchestrator.core.decision import CHILD, COMPENSATION
from kantor_orchestrator.core.transaction import SentCommand, Status, StepState, Transition
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Decided, decided_from
from kantor_orchestrator.view.facts import CommandPlace, EntryFacts, frames, messages_from_json
from kantor_orchestrator.view.remedies import Remedy, remedies
from kantor_orchestrator.view.rows import Folded
from kantor_orchestrator.view.sagas import SagaFacts, keys_in
from kantor_orchestrator.view.shown import Step, Tries, steps_of
from kantor_schemas import Schema


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database has of one transaction. ``is_held``: it stands still, also if nothing has come for it since a person held
    its saga. ``parts``: messages as JSON and transitions, in their order."""

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
    waiting_on: list[str]
    held: str
    is_held: bool
    entry: int  # its last one in the journal
    unread: str
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
    """Something that was said: an event, a command, a timer that went off, an operator action.

    ``origin``: where it lies, ``topic/partition/offset``; there is one message of it (view-18). ``journal``: its journal entry's
    place; empty for a command of the engine, which has ``step`` and ``attempt`` instead. ``seen``: how often intake journaled it.
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
class Child:
    """A transaction that a step started. ``status`` empty: the view does not know it (yet)."""

    step: str
    transaction_id: str
    status: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """``keys``: what it is found by, in its saga's order. ``timeline``: in the journal's order. ``parent``: the transaction whose
    step it is. ``remedies``: what a person may do about its open incidents. ``unread``: where the first of its decisions lies that
    could not be read, and why; empty: all could, and what is shown is what is."""

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
    waiting_on: list[str]
    held: str  # who holds it, and why
    keys: list[tuple[str, str]]
    steps: list[Step]
    timeline: list[Message]
    incidents: list[Incident]
    parent: str = ""
    unread: str = ""
    remedies: list[Remedy] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Told:
    """A decision, and its transitions as they are shown."""

    decided: Decided
    moves: list[Move]


def build_trace(stored: Stored) -> Trace:
    entries: list[EntryFacts] = []
    sent: dict[str, CommandPlace] = {}
    told: list[_Told] = []
    decode = _decoder(stored.schemas)
    keys: dict[str, str] = {}
    names = stored.definition.keys if stored.definition else ()
    folded = Folded(stored.transaction_id)
    tries: dict[str, Tries] = {}
    for messages, records in stored.parts:
        for message in messages_from_json(messages):
            if isinstance(message, EntryFacts):
                entries.append(message)
            else:
                sent.setdefault(message.id, message)
        for offset, value in frames(records):
            decided = decode(value)
            if decided is None:
                continue
            position = f"{topics.HISTORY}/{stored.shard}/{offset}"
            told.append(_Told(decided, _fold(folded, decided, tries, position)))
            for move in decided.transitions if names else ():
                for name, text in keys_in(move.captured or {}, names):
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
        waiting_on=stored.waiting_on,
        held=stored.held,
        keys=[(name, keys[name]) for name in names if name in keys],
        steps=steps_of(folded.txn, tries, stored.definition),
        timeline=_timeline(stored.shard, entries, told, sent),
        incidents=stored.incidents,
        parent=folded.txn.parent,
        unread=stored.unread,
        remedies=remedies(
            folded.txn,
            stored.definition.steps if stored.definition else {},
            is_held=stored.is_held,
        ),
        children=_children(told),
    )


def _fold(folded: Folded, decided: Decided, tries: dict[str, Tries], position: str) -> list[Move]:
    """Apply one decision; its transitions, each with what it made of its step and of the transaction."""
    shown = []
    for move in decided.transitions:
        txn = folded.txn
        if move.step:
            tries.setdefault(move.step, Tries()).count(move, txn.steps.get(move.step) or StepState())
        folded.move(move)
        if folded.txn is not txn:  # another life
            tries.clear()
        after = folded.txn.steps.get(move.step)
        shown.append(
            Move(
                move.kind.value, move.at, move.step, folded.txn.status.value, after.status.value if after else "", move.round,
                move.attempt, move.timer, move.due, move.code, move.reason, position,
            )
        )  # fmt: skip
    folded.settle(decided.saga, decided.version, Status(decided.status))
    return shown


def _children(told: list[_Told]) -> list[Child]:
    found = {
        move.command.about: move.step
        for one in told
        for move in one.decided.transitions
        if move.command is not None and move.command.kind == CHILD and move.command.about
    }
    return [Child(step, id_) for id_, step in found.items()]


def _decoder(schemas: Mapping[int, Schema]) -> Callable[[bytes], Decided | None]:
    store = MemorySchemas()
    for id_, schema in schemas.items():
        store.add(id_, schema)
    codec = Codec(store)

    def decode(value: bytes) -> Decided | None:
        try:
            return decided_from(codec.decode(value))
        except (CodecError, LookupError, ValueError, TypeError):
            return None  # the projector has told the operators

    return decode


def _timeline(
    shard: int, entries: list[EntryFacts], told: list[_Told], sent: dict[str, CommandPlace]
) -> list[Message]:
    by_position: dict[int, Message] = {}
    by_origin: dict[tuple[int, str], Message] = {}  # of a topic that is recreated, offsets are others'
    ids: set[tuple[str, str]] = set()
    for entry in sorted(entries):
        origin = entry.topic, entry.origin
        first = by_origin.get(origin) if entry.origin else None
        if first is not None:
            first.seen += (
                entry.again < 0
            )  # intake was restarted and read it again; else the engine has copied it
            by_position[entry.position] = first
            continue
        message = _of_entry(shard, entry)
        message.is_repeat = bool(message.id) and (message.source, message.id) in ids
        ids.add((message.source, message.id))
        by_position[entry.position] = by_origin[origin] = message
    caused: dict[int, list[Message]] = {}
    for one in told:
        decided = one.decided
        position = decided.journal_offset
        cause = by_position.get(position)
        if cause is None:  # the journal has forgotten it, or it has not been read yet
            cause = by_position[position] = _of_decision(shard, decided)
        cause.moves += one.moves
        for move in decided.transitions:
            if (command := move.command) is not None:
                message = _of_command(move, command, sent.pop(command.id, None))
                caused.setdefault(position, []).append(message)
    timeline: list[Message] = []
    shown: set[int] = set()
    for position in sorted(by_position):
        message = by_position[position]
        if id(message) not in shown:
            shown.add(id(message))
            timeline.append(message)
        timeline += caused.get(position, ())
    # Commands whose decision has not been read yet.
    timeline += [
        Message("command", c.type, c.at, c.id, c.origin, c.causation_id, "kantor")
        for c in sorted(sent.values())
    ]
    return timeline


def _of_entry(shard: int, entry: EntryFacts) -> Message:
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
            timer = journal.TimerEntry.load(entry.detail.encode())
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return message
        message.type, message.step, message.attempt, message.detail = (
            timer.timer,
            timer.step,
            timer.attempt,
            "",
        )
    return message


def _of_decision(shard: int, decided: Decided) -> Message:
    return Message(
        kind=decided.entry_kind,
        type=decided.message_type,
        at=decided.at,
        id=decided.message_id,
        origin=decided.origin,
        journal=f"{topics.JOURNAL}/{shard}/{decided.journal_offset}",
    )


def _of_command(move: Transition, command: SentCommand, found: CommandPlace | None) -> Message:
    return Message(
        kind="compensation" if command.kind == COMPENSATION else "command",
        type=command.type,
        # Never before what caused it, whatever the brokers' clocks say.
        at=max(found.at, move.at) if found else move.at,
        id=command.id,
        origin=found.origin if found else "",
        causation_id=command.causation_id,
        source="kantor",
        step=move.step,
        attempt=move.attempt,
    )
