"""What people should be shown of a transaction, put together from the broker's records alone.

Journal, decision log and the commands' topics are read here once more, beside the view: what lies where, what it says, and in
which order. Of the view's code nothing is used but the classes of what it shows, so that a field that it gets is one that must
be told here, too. Where a transaction and its steps stand is folded with ``evolve``: there is one state machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kantor.envelope import TRANSACTION_ID
from kantor.testing.log import Entry, Log
from kantor_orchestrator.core.transaction import (
    NOT_NEEDED,
    Incident,
    Kind,
    Status,
    StepStatus,
    Transaction,
    Transition,
    evolve,
)
from kantor_orchestrator.engine.memory import is_gone
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Decided
from kantor_orchestrator.view import trace as view

if TYPE_CHECKING:
    from simulation.world import World

#: Characters of what a timer or a person said.
_DETAIL = 2_000
_MESSAGES = (journal.EVENT, journal.COMMAND)
_FAILED, _DOUBTFUL = StepStatus.FAILED, StepStatus.IN_DOUBT
_TRIED_AGAIN = (Kind.RETRY_SCHEDULED, Kind.COMPENSATION_RETRY_SCHEDULED)
_SENT = (Kind.COMMAND_SENT, Kind.COMPENSATION_SENT)


#: Where a message lies, as it is shown, and since when (ms).
Shown = tuple[str, int]


class Place(NamedTuple):
    """Where a command of the engine lies, and since when. ``is_gone``: its topic was deleted, perhaps before the view read it."""

    at: int
    origin: str
    id: str
    type: str
    causation_id: str
    is_gone: bool


@dataclass(slots=True)
class Told:
    """All that the broker has of one transaction, in order."""

    id: str
    shard: int
    entries: list[Entry] = field(default_factory=list)
    decisions: list[Decided] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    @property
    def is_one(self) -> bool:
        """Whether there is a transaction: more than operator actions on what nobody knows."""
        if self.places or any(_headers(entry)[journal.ENTRY] != journal.ACT for entry in self.entries):
            return True
        moves = [move for decided in self.decisions for move in decided.transitions]
        return any(move.kind is not Kind.IGNORED or not move.actor for move in moves)

    @property
    def times(self) -> list[int]:
        """Of everything but what may have been deleted unread."""
        at = [entry.timestamp()[1] for entry in self.entries] + [decided.at for decided in self.decisions]
        return at + [place.at for place in self.places if not place.is_gone]


def told(world: World) -> dict[str, Told]:
    """By transaction, as far as the ledger has been read."""
    found: dict[str, Told] = {}

    def of(id_: str, shard: int) -> Told:
        return found.setdefault(id_, Told(id_, shard))

    for log in world.broker.topics[topics.JOURNAL].logs:
        for entry in _records(log):
            id_ = _text(entry.key())
            if TRANSACTION_ID.fullmatch(id_) and _headers(entry).get(journal.ENTRY) is not None:
                of(id_, log.place[1]).entries.append(entry)
    for shard, decisions in world.ledger.decisions.items():
        for decided in decisions:
            if decided.transaction_id:
                of(decided.transaction_id, shard).decisions.append(decided)
    living = [(topic, False) for topic in world.broker.topics.values()]
    for topic, is_deleted in [*((topic, True) for topic in world.ledger.gone), *living]:
        for log in topic.logs:
            name, partition = log.place
            if not name.startswith("cmd.") or name == topics.OWN_COMMANDS:
                continue
            for entry in _records(log):
                headers = _headers(entry)
                if (
                    headers.get("ce_source") == b"kantor"
                    and (id_ := _text(headers.get("ce_correlationid"))) in found
                ):
                    message, type_, cause = (
                        _text(headers.get(f"ce_{one}")) for one in ("id", "type", "causationid")
                    )
                    origin = f"{name}/{partition}/{entry.offset()}"
                    found[id_].places.append(
                        Place(entry.timestamp()[1], origin, message, type_, cause, is_deleted)
                    )
    return {id_: one for id_, one in found.items() if one.is_one}


def _records(log: Log) -> list[Entry]:
    return log.read(0, 1_000_000, 1e12, committed=True)[0]


def _headers(entry: Entry) -> dict[str, bytes | None]:
    return dict(entry.headers() or ())


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


# -- the timeline


class Story:
    """A transaction as its decisions tell it: where it stands, and what happened on the way."""

    def __init__(self, of: Told) -> None:
        self.txn = Transaction(of.id)
        self.incidents: list[view.Incident] = []
        self.children: list[view.Child] = []
        self.sent: Counter[str] = Counter()
        self.reversed: Counter[str] = Counter()
        #: By step: when its compensation began, and was confirmed; when its action ended, if that was reversed.
        self.reversal_began: dict[str, int] = {}
        self.reversal_ended: dict[str, int] = {}
        self.action_ended: dict[str, int] = {}
        #: By step: what went wrong and was not overcome: when, code, reason.
        self.errors: dict[str, tuple[int, str, str]] = {}
        self.captured: dict[str, str] = {}  # the first of each name
        #: By journal offset: the transitions, as they are shown.
        self.moves: dict[int, list[view.Move]] = {}
        self._open: list[tuple[Incident, int]] = []  # with its place among all
        for decided in of.decisions:
            self._take(decided, f"{topics.HISTORY}/{of.shard}/{decided.offset}")

    def _take(self, decided: Decided, place: str) -> None:
        if is_gone(self.txn):  # the engine has forgotten it
            self.txn = Transaction(self.txn.id)
        shown = self.moves.setdefault(decided.journal_offset, [])
        for move in decided.transitions:
            self._note(move)
            evolve(self.txn, move)
            state = self.txn.steps.get(move.step)
            shown.append(
                view.Move(
                    str(move.kind), move.at, move.step, str(self.txn.status), str(state.status) if state else "",
                    move.round, move.attempt, move.timer, move.due, move.code, move.reason, place,
                )
            )  # fmt: skip
        self._compare_incidents(decided.at)

    def _note(self, move: Transition) -> None:
        """Before it is applied."""
        kind, path = move.kind, move.step
        for name, value in (move.captured or {}).items():
            if value is not None:
                self.captured.setdefault(name, str(value))
        if (command := move.command) is not None and command.kind == "child" and command.about:
            self.children.append(view.Child(path, command.about))
        if kind is Kind.COMMAND_SENT:
            self.sent[path] += 1
        elif kind is Kind.COMPENSATION_SENT:
            self.reversed[path] += 1
            self.reversal_began.setdefault(path, move.at)
            self.reversal_ended.pop(path, None)
        elif kind is Kind.COMPENSATION_CONFIRMED:
            self.reversal_ended[path] = move.at
            state = self.txn.steps.get(path)
            self.action_ended[path] = state.ended_at if state else 0
        self._note_error(move)

    def _note_error(self, move: Transition) -> None:
        kind, path = move.kind, move.step
        if not path or kind in (Kind.IGNORED, Kind.PROGRESSED, Kind.ASKED):
            return
        state = self.txn.steps.get(path)
        stays = state is not None and state.status in (_FAILED, _DOUBTFUL)
        if kind in (Kind.FAILED, Kind.DOUBTED):
            self.errors[path] = move.at, move.code, move.reason
            if move.code == NOT_NEEDED or not (move.code or move.reason):
                del self.errors[path]
        elif kind in _TRIED_AGAIN:
            if not stays:
                self.errors[path] = move.at, move.code, move.reason
        elif not (kind in _SENT and move.attempt > 1) and not (kind is Kind.INCIDENT_OPENED and stays):
            self.errors.pop(path, None)

    def _compare_incidents(self, at: int) -> None:
        """Which are open after a decision, and were not before; and the other way round."""
        before, self._open = self._open, []
        for incident in self.txn.incidents:
            place = next((place for one, place in before if one is incident), len(self.incidents))
            if place == len(self.incidents):
                facts = incident.kind, incident.step, incident.reason, incident.opened_at
                self.incidents.append(view.Incident(*facts, 0))
            self._open.append((incident, place))
        still = {place for _, place in self._open}
        for _, place in before:
            if place not in still:
                one = self.incidents[place]
                self.incidents[place] = view.Incident(one.kind, one.step, one.reason, one.opened_at, at)

    @property
    def last_error(self) -> str:
        if self.txn.status is Status.COMPLETED:
            return ""
        found = [(at, 0, path, code, reason) for path, (at, code, reason) in self.errors.items()]
        for number, one in enumerate(self.txn.incidents):
            state = self.txn.steps.get(one.step)
            says = one.kind, one.reason
            if (
                state
                and state.status in (_FAILED, _DOUBTFUL, StepStatus.INCIDENT)
                and (state.code or state.reason)
            ):
                says = state.code, state.reason
            found.append((one.opened_at, 1 + number, one.step, *says))
        order = {path: number for number, path in enumerate(self.txn.steps)}
        if not found:
            return ""
        _, _, path, code, reason = max(found, key=lambda one: (one[0], one[1], order.get(one[2], -1)))
        words = list(dict.fromkeys(word for word in (code, reason) if word))
        return ": ".join([path, *words] if path else words)


def timeline(of: Told, story: Story, chosen: dict[str, Shown]) -> list[view.Message]:
    """Every message of the journal once, in its order, with the transitions that it caused, and behind it the commands that left
    because of it. ``chosen``: of what lies in several places, which one is shown, by id."""
    found: list[view.Message] = []
    by_identity: dict[object, view.Message] = {}
    said: set[tuple[str, str]] = set()
    decisions = {decided.journal_offset: decided for decided in of.decisions}
    places = _chosen(of.places, chosen)
    for entry in of.entries:
        headers = _headers(entry)
        origin = headers.get(journal.ORIGIN)
        identity = (headers.get(journal.TOPIC_ID), origin) if origin else entry.offset()
        message = by_identity.get(identity)
        if message is None:
            message = by_identity[identity] = _message(of.shard, entry)
            if message.id and (message.source, message.id) in said:
                message.is_repeat = True
            said.add((message.source, message.id))
            found.append(message)
        elif journal.AGAIN not in headers:  # else the engine has copied it, to read it again
            message.seen += 1
        decided = decisions.get(entry.offset())
        if decided is not None:
            message.moves += story.moves[entry.offset()]
            found += _commands(decided, places)
    return found + [
        view.Message("command", place.type, place.at, place.id, place.origin, place.causation_id, "kantor")
        for place in sorted(places.values())
    ]


def _chosen(places: list[Place], chosen: dict[str, Shown]) -> dict[str, Place]:
    """By id: where it lies first. What lay in a topic that was deleted, the view may have read or not; sent again, it may lie
    at the same place of the new one."""
    living = {(place.id, (place.origin, place.at)) for place in places if not place.is_gone}
    found: dict[str, Place] = {}
    for place in places:
        shown = chosen.get(place.id, ("", 0))
        if not place.is_gone or (place.origin == shown[0] and (place.id, shown) not in living):
            found.setdefault(place.id, place)
    return found


def _commands(decided: Decided, places: dict[str, Place]) -> Iterator[view.Message]:
    for move in decided.transitions:
        if (command := move.command) is not None:
            place = places.pop(command.id, None)
            yield view.Message(
                "compensation" if move.kind is Kind.COMPENSATION_SENT else "command",
                command.type,
                max(move.at, place.at if place else 0),
                command.id,
                place.origin if place else "",
                command.causation_id,
                "kantor",
                step=move.step,
                attempt=move.attempt,
            )


def _message(shard: int, entry: Entry) -> view.Message:
    headers = _headers(entry)
    kind = _text(headers[journal.ENTRY])
    found = view.Message(
        kind=kind,
        type=_text(headers.get("ce_type")),
        at=entry.timestamp()[1],
        id=_text(headers.get("ce_id")),
        origin=_text(headers.get(journal.ORIGIN)),
        causation_id=_text(headers.get("ce_causationid")),
        source=_text(headers.get("ce_source")),
        journal=f"{topics.JOURNAL}/{shard}/{entry.offset()}",
        sent_at=int(headers.get(journal.TIMESTAMP) or 0),
    )
    if kind == "timer":
        found.type, found.step, _, found.attempt, _ = json.loads(entry.value() or b"")
    elif headers[journal.ENTRY] not in _MESSAGES:
        found.detail = _text((entry.value() or b"")[:_DETAIL])
    return found
