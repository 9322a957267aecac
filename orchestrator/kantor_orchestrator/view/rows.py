"""One transaction, folded from its history with the engine's own ``evolve`` (view-1); and what one batch of records changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kantor.clients import Partition
from kantor_orchestrator.core.transaction import (
    TRANSITIONS,
    IllegalTransition,
    Incident,
    Kind,
    Status,
    StepState,
    Transaction,
    Transition,
    evolve,
)
from kantor_orchestrator.formats.history import Epoch
from kantor_orchestrator.view.columns import Beside, FoundBy
from kantor_orchestrator.view.reading import Said
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_orchestrator.view.shown import Trouble
from kantor_schemas import Schema

log = logging.getLogger("kantor.view")

_RETRY_SCHEDULED, _COMPENSATION_RETRY = Kind.RETRY_SCHEDULED, Kind.COMPENSATION_RETRY_SCHEDULED
_COMMAND_SENT, _COMPENSATION_SENT = Kind.COMMAND_SENT, Kind.COMPENSATION_SENT
_STARTED = Kind.STARTED
#: Transitions of a step that make no end of its trouble.
_NOTHING_NEW = frozenset((Kind.PROGRESSED, Kind.ASKED, Kind.IGNORED))


class Folded:
    """Where a transaction stands. What can't be read off the engine's own ``Transaction`` is what happened on the way:
    ``troubles`` by step, and which incidents are open, by their number among all that it had."""

    __slots__ = ("has_gap", "incident_count", "open", "troubles", "txn")

    def __init__(self, id_: str) -> None:
        self.txn = Transaction(id_)
        self.troubles: dict[str, Trouble] = {}
        self.open: dict[int, Incident] = {}
        self.incident_count = 0
        self.has_gap = False

    def fold(self, said: Said) -> bool:
        """Apply one decision. Whether incidents were opened or closed by it."""
        before, count = self.txn.incidents, len(self.txn.incidents)
        for move in said.moves:
            self.move(move)
        self.settle(said.saga, said.version, said.status)
        txn = self.txn
        incidents = txn.incidents
        if incidents is before and len(incidents) == count:
            return False
        kept = {id(incident): number for number, incident in self.open.items()}
        self.open = {}
        for incident in incidents:
            number = kept.get(id(incident), -1)
            if number < 0:
                number = self.incident_count
                self.incident_count += 1
            self.open[number] = incident
        return True

    def settle(self, saga: str, version: int, status: Status) -> None:
        """After a decision's transitions: a transaction whose beginning is not in the history any more stands where the decision
        says."""
        txn = self.txn
        if txn.status is not status:
            txn.status = status
        if saga and not txn.saga:
            txn.saga, txn.version = saga, version

    def move(self, move: Transition) -> None:
        """Apply one transition."""
        kind = move.kind
        if kind is _STARTED and (self.txn.saga or self.txn.ended_at):
            # The engine had forgotten it, long after its end: this is another life.
            self.txn = Transaction(self.txn.id)
            self.troubles = {}
        try:
            evolve(self.txn, move)
        except IllegalTransition as error:
            if not self._mend(move, error):
                return
        if kind is _RETRY_SCHEDULED or kind is _COMPENSATION_RETRY:
            if move.step:
                self.troubles[move.step] = Trouble(move.at, move.code, move.reason)
        elif self.troubles and move.step in self.troubles:
            is_sent = kind is _COMMAND_SENT or kind is _COMPENSATION_SENT
            if not (is_sent and move.attempt > 1) and kind not in _NOTHING_NEW:
                del self.troubles[move.step]

    def _mend(self, move: Transition, error: IllegalTransition) -> bool:
        """Apply a transition whose past is missing (view-12). Whether it could be."""
        self._has_gap(error)
        if not move.step:  # of what was deferred before the history begins: there is nothing to take out
            return False
        state = self.txn.steps.setdefault(move.step, StepState())
        state.status = next(iter(TRANSITIONS[move.kind]))  # what must have been there
        evolve(self.txn, move)
        return True

    def _has_gap(self, error: IllegalTransition) -> None:
        if not self.has_gap:
            self.has_gap = True
            log.warning(
                "%s: its history lacks what came before: %s",
                self.txn.id,
                error,
                extra={"action": "history_gap", "transaction": self.txn.id},
            )


class Shown(NamedTuple):
    """What lists show of a transaction."""

    found_by: FoundBy
    beside: Beside


class TransactionRow:
    """One transaction, as far as the view knows. ``stored``: what it is found by in the database, saga and status first; None
    if it is not there. ``shown``: None if it has to be made (again)."""

    __slots__ = (
        "entry", "facts", "folded", "id", "is_known", "keys", "messages", "moves", "no", "parts", "seen_at", "shard", "shown", "stored",
        "touched", "unread", "updated_at",
    )  # fmt: skip

    def __init__(self, no: int, id_: str, shard: int, at: int) -> None:
        self.no = no
        self.id = id_
        self.shard = shard
        self.seen_at = at  # first
        self.updated_at = at
        self.entry = -1  # its last one in the journal
        self.is_known = False  # something else than operator actions has named it (view-19)
        self.folded: Folded | None = None  # once the history reports it
        self.facts: SagaFacts | None = None  # of its saga, if its definition is known
        self.keys: dict[str, str] = {}  # those that were seen: the first value of each
        self.parts = 0
        self.unread = ""  # the first of its decisions that could not be read: where, and why
        self.stored: tuple[Any, ...] | None = None
        self.shown: Shown | None = None
        # Of the current batch:
        self.touched = False
        self.messages: list[tuple[Any, ...]] = []
        self.moves: list[bytes] = []

    @property
    def txn(self) -> Transaction | None:
        return self.folded.txn if self.folded else None


@dataclass(slots=True)
class RowChanges:
    """What one batch of records changes. Tuples are rows of the tables of the same names."""

    transactions: list[TransactionRow] = field(default_factory=list)
    keys: list[tuple[str, str, int]] = field(default_factory=list)
    incidents_opened: list[tuple[Any, ...]] = field(default_factory=list)
    incidents_closed: list[tuple[Any, ...]] = field(default_factory=list)
    uncorrelated: list[tuple[Any, ...]] = field(default_factory=list)
    refused: list[tuple[Any, ...]] = field(default_factory=list)
    unread: list[tuple[Any, ...]] = field(default_factory=list)
    holds: list[tuple[Any, ...]] = field(default_factory=list)
    sagas: list[SagaFacts] = field(default_factory=list)
    schemas: list[tuple[int, Schema]] = field(default_factory=list)
    positions: dict[Partition, int] = field(default_factory=dict)
    epochs: dict[int, Epoch] = field(default_factory=dict)  # by shard
    looked_at: dict[int, int] = field(
        default_factory=dict
    )  # by shard: the last entry decided on in an epoch that is over
    seen_intake: int = 0
    records: int = 0
    unreadable: int = 0

    @property
    def is_news(self) -> bool:
        """Whether there is anything to store: watermarks, which never end, may as well be read again."""
        return bool(
            self.transactions or self.uncorrelated or self.refused or self.unreadable or self.holds
            or self.epochs or self.schemas or self.sagas
        )  # fmt: skip
