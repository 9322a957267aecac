"""Every state that a transaction of a small saga can reach, and every operator action in each of them.

A *place* is a transaction as far as it matters for what may come next: without times, ids, and counts beyond those that are
looked at. From one transaction in each place everything is tried that may happen there: every answer of every service, right
away, late, twice, under another name; every timer; Kafka's refusals; a hold, a release; what can't be read; and every operator action of
people on each step. What comes of it is a place, too, until no new one is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from unittest.mock import patch

from kantor.envelope import (
    COMPENSATE_TRANSACTION,
    STEP_FAILED,
    TRANSACTION_ENDED,
    choreographed_action,
    command_id,
    idempotency_key,
)
from kantor_orchestrator.core import acts, sending
from kantor_orchestrator.core.act_kinds import KINDS
from kantor_orchestrator.core.decide import consider
from kantor_orchestrator.core.decision import ACTION, QUESTION, Decision
from kantor_orchestrator.core.entry import Entry, timers_of
from kantor_orchestrator.core.parents import NEVER_BEGAN
from kantor_orchestrator.core.saga import ENFORCE, Saga, Step
from kantor_orchestrator.core.transaction import NOT_NEEDED, StepState, StepStatus, Transaction, Transition
from unit.core_kit import BEGIN
from unit.small_sagas import ONCE, Small

S = StepStatus
#: Who holds a saga that is held.
HOLD = "bob: the warehouse is on fire"
#: A step that no saga has.
NOWHERE = "nowhere"
#: What a message tells: of an effect that is known (or may be), of one that nobody can place, or nothing of the kind.
SAME, UNKNOWN = "same", "unknown"


@dataclass(slots=True)
class Edge:
    """What happened at a place: the entry, what was decided, and where that leads."""

    before: Transaction
    entry: Entry
    moves: list[Transition]
    start: Place
    end: Place
    tells: str = ""  # SAME, UNKNOWN
    hold: str = ""

    @property
    def act(self) -> str:
        return self.entry.type if self.entry.kind == "act" else ""

    @property
    def after(self) -> Transaction:
        """As far as a place tells one from another."""
        return self.end.txn


@dataclass(eq=False, slots=True)
class Place:
    number: int
    txn: Transaction
    is_held: bool  # its saga is held
    is_tried: bool = False  # everything that may happen there has been tried
    edges: list[Edge] = field(default_factory=list)


class Walk:
    """All places of one saga, found when it is made."""

    def __init__(self, name: str, small: Small, most: int) -> None:
        """``most``: places from which something is tried, the nearest first."""
        self.name = name
        self.small = small
        self.saga = small.saga
        self.places: dict[Any, Place] = {}
        self._ids = count(1)
        self._waiting: deque[Place] = deque()
        # Questions are asked once before a person is: that state shall be near.
        with patch.object(sending, "COMPENSATION_RETRY", ONCE):
            self._walk(most)

    def _walk(self, most: int) -> None:
        first = Transaction("t-1")
        if self.small.early or self.small.poison:
            self._place(first, is_held=False)
        else:
            start = self._event(first, self.saga.starts_on, payload={"amount": 1}, **self._parent())
            self._place(consider(self.saga, first, start, BEGIN)[1], is_held=False)
        for _ in range(most):
            if not self._waiting:
                break
            place = self._waiting.popleft()
            place.is_tried = True
            for entry, tells in self._entries(place):
                self._take(place, entry, tells)

    def _take(self, place: Place, entry: Entry, tells: str) -> None:
        txn = place.txn
        saga = self.saga if txn.saga or entry.type == self.saga.starts_on else None
        hold = HOLD if place.is_held and saga is not None else ""
        try:
            moves, after = consider(saga, txn, entry, entry.at, hold)
        except Exception as error:
            raise AssertionError(f"{entry} on {txn}") from error
        end = self._place(after, is_held=place.is_held)
        if moves or entry.kind == "act":  # what else changes nothing tells nothing
            place.edges.append(Edge(txn, entry, moves, place, end, tells, hold))

    def _place(self, txn: Transaction, *, is_held: bool) -> Place:
        key = (is_held, key_of(txn, self.saga))
        found = self.places.get(key)
        if found is None:
            found = self.places[key] = Place(len(self.places), txn, is_held)
            self._waiting.append(found)
            if self.small.holds:
                self._place(txn, is_held=not is_held)
        return found

    @property
    def edges(self) -> Iterator[Edge]:
        return (edge for place in self.places.values() for edge in place.edges)

    @property
    def tried(self) -> list[Place]:
        """Those from which everything was tried; of the others nothing is known but that they can be reached."""
        return [place for place in self.places.values() if place.is_tried]

    # -- what may happen

    def _entries(self, place: Place) -> Iterator[tuple[Entry, str]]:
        txn = place.txn
        if not txn.saga:
            yield self._event(txn, self.saga.starts_on, payload={"amount": 1}, **self._parent()), ""
        for path, step in instances(self.saga, txn):
            if not step.steps:
                yield from self._of_step(txn, path, step)
        for due, kind, path, round_, attempt in timers_of(txn):
            if kind == "release" and place.is_held:
                continue
            at = max(due, txn.updated_at)
            yield Entry("timer", at, timer=kind, step=path, round=round_, attempt=attempt), ""
            if self.small.refusals and path:
                error = "the engine failed on it"
                yield Entry("timer", at, timer=kind, step=path, error=error), ""
        if self.small.parent:
            yield self._event(txn, COMPENSATE_TRANSACTION, kind="command", **self._parent()), ""
        if self.saga.cancel_on is not None:
            yield self._event(txn, self.saga.cancel_on.event), ""
        if self.small.refusals:
            yield self._refused(txn, "somebody-elses"), ""
        if self.small.poison:
            yield from self._unreadable(txn)
        yield from ((entry, "") for entry in self._acts(txn))

    def _parent(self) -> dict[str, str]:
        return {"parent": "p-1", "parent_command": "c-1"} if self.small.parent else {}

    def _of_step(self, txn: Transaction, path: str, step: Step) -> Iterator[tuple[Entry, str]]:
        state = txn.steps.get(path) or StepState()
        if not txn.saga and step.command is not None:
            return  # nobody has asked for it
        if step.command is None or state.command_id:
            yield from self._of_action(txn, path, step, state)
        if state.compensation_id and step.compensation is not None:
            cause = state.compensation_id
            type_ = step.compensation.confirmed_on
            payload = {"status": "compensated"} if type_ == TRANSACTION_ENDED else {}
            yield self._event(txn, type_, cause, payload=payload), ""
            yield self._event(txn, type_, payload=payload), ""
            for retryable in (True, False):
                failed = {"code": "broken", "message": "it said so", "retryable": retryable}
                yield self._event(txn, STEP_FAILED, cause, payload=failed), ""
            if step.child:
                failed = {"code": NEVER_BEGAN, "message": "it never began", "retryable": False}
                yield self._event(txn, STEP_FAILED, cause, payload=failed), ""
                for status in ("completed", "closed"):
                    yield self._event(txn, TRANSACTION_ENDED, cause, payload={"status": status}), ""
            if self.small.refusals:
                yield self._refused(txn, cause), ""
        if state.questions:
            question = command_id(txn.id, path, QUESTION, state.round, state.questions)
            yield self._success(txn, step, question), ""
            failed = {"code": "broken", "message": "it can't say", "retryable": True}
            yield self._event(txn, STEP_FAILED, question, payload=failed), ""
            if self.small.refusals:
                yield self._refused(txn, question), ""

    def _of_action(
        self, txn: Transaction, path: str, step: Step, state: StepState
    ) -> Iterator[tuple[Entry, str]]:
        own = step.command is not None
        cause = state.command_id if own else "seen"
        if step.succeeds_on:
            yield self._success(txn, step, cause), SAME if state.effect else ""
            if (
                state.compensation_round and self.saga.mode == ENFORCE
            ):  # it is told late: before its reversal was confirmed, or under another name
                yield self._success(txn, step, cause, origin="x/0/1", sent_at=BEGIN), SAME
                yield self._success(txn, step, ""), UNKNOWN
                key = (
                    idempotency_key(txn.id, path, ACTION, state.round)
                    if own
                    else choreographed_action(txn.id, step.succeeds_on)
                )
                # Which member a message is about that names no command, only ``match`` can say.
                known = bool(state.effect) and "[" not in path
                yield self._success(txn, step, "", idempotency_key=key), SAME if known else ""
            if own and state.round > 1:
                first = command_id(txn.id, path, ACTION, 1, 1)
                yield self._success(txn, step, first), ""
        for type_ in (*step.fails_on[:1], *filter(None, [step.bare])):
            yield self._event(txn, type_, cause), ""
        for retryable in (True, False) if step.succeeds_on else ():
            failed = {"code": "broken", "message": "it said so", "retryable": retryable}
            yield self._event(txn, STEP_FAILED, cause, source="x", payload=failed), ""
        if self.small.refusals and own:
            yield self._refused(txn, cause), ""

    def _success(self, txn: Transaction, step: Step, cause: str, **facts: Any) -> Entry:
        payload = {"status": "completed"} if step.succeeds_on == TRANSACTION_ENDED else {}
        return self._event(txn, step.succeeds_on, cause, payload=payload, **facts)

    def _unreadable(self, txn: Transaction) -> Iterator[tuple[Entry, str]]:
        yield self._event(txn, "x.ADone", error="its bytes do not fit"), ""
        yield self._event(txn, "x.ADone", not_yet="no schema 7"), ""
        if txn.put_off:
            copy: dict[str, Any] = {"again": txn.put_off[0]}
            yield self._event(txn, "x.ADone", error="the journal has lost it", **copy), ""
            yield self._event(txn, "x.ADone", **copy), ""
            if not txn.saga:
                yield self._event(txn, self.saga.starts_on, payload={"amount": 1}, **copy), ""

    def _acts(self, txn: Transaction) -> Iterator[Entry]:
        paths = ["", NOWHERE, *(path for path, _ in instances(self.saga, txn))]
        paths += [path for path in txn.steps if path.endswith("]")]
        for what in KINDS:
            for path in paths if KINDS[what].step else [""]:
                for why in ("so", "") if what == acts.SKIP and path != NOWHERE else ("so",):
                    yield self._act(txn, what, path, why, {})
        yield self._act(txn, acts.START, "", "so", {"offset": 7})
        yield self._act(txn, "sing", "", "so", {})

    def _act(self, txn: Transaction, what: str, path: str, why: str, said: dict[str, Any]) -> Entry:
        payload = {"why": why, "fields": said}
        at = max(txn.updated_at, BEGIN) + 10
        return Entry(
            "act",
            at,
            what,
            f"a-{next(self._ids)}",
            "acts",
            payload=payload,
            step=path,
            actor="ann",
            journal_offset=1_000_000,
        )

    def _refused(self, txn: Transaction, cause: str) -> Entry:
        reason = {"reason": "cmd.x.v1: no such topic"}
        return Entry("refused", txn.updated_at + 10, causation_id=cause, payload=reason)

    def _event(self, txn: Transaction, type_: str, cause: str = "", **facts: Any) -> Entry:
        number = next(self._ids)
        at = max(txn.updated_at, BEGIN) + 10
        known: dict[str, Any] = {
            "kind": "event",
            "origin": f"x/0/{1000 + number}",
            "sent_at": at,
            "payload": {},
            "source": "y",
        }
        known |= {"journal_offset": number} | facts
        return Entry(at=at, type=type_, id=f"e-{number}", causation_id=cause, **known)


def instances(saga: Saga, txn: Transaction) -> Iterator[tuple[str, Step]]:
    """The paths of all steps that the transaction has or may have, with their definitions."""
    d = Decision(saga, txn, Entry("act", 0), 0)
    for step in saga.steps.values():
        for path in d.instances(step):
            yield path, step


def key_of(txn: Transaction, saga: Saga) -> Any:
    """What of a transaction decides what may come next. Counts are told apart up to where nothing looks at them."""
    steps = tuple([(path, *_key_of_step(txn.steps[path])) for path in sorted(txn.steps)])
    incidents = sorted([(one.kind, one.step) for one in txn.incidents])
    early = sorted({one.type for one in txn.early})
    waits = (min(len(txn.put_off), 2), bool(txn.put_off_since), bool(txn.again_at), bool(txn.asked))
    rest = (txn.status, bool(txn.saga), bool(txn.failing), bool(txn.held), bool(txn.deadline))
    return rest, steps, tuple(incidents), tuple(early), waits


def _key_of_step(s: StepState) -> tuple[Any, ...]:
    status = s.status
    counts: tuple[Any, ...]
    if status is S.ACTIVE or status is S.IN_DOUBT:
        counts = (min(s.round, 2), min(s.attempt, 2), min(s.questions, 2), s.doubtful, s.is_reversed)
    elif status is S.COMPENSATING or status is S.INCIDENT:
        counts = (
            min(s.round, 2),
            min(s.compensation_attempt, 2),
            bool(s.compensation_id),
            s.doubtful,
            s.again,
        )
    else:
        counts = (min(s.round, 2), s.is_reversed, bool(s.compensation_round), s.code == NOT_NEEDED)
    return status, s.timer, s.final, bool(s.effect), bool(s.reversal), *counts
