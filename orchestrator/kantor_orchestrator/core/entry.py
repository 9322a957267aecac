"""What reaches a transaction: one entry of the journal, as the shell hands it over; and the kinds of its timers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kantor_orchestrator.core.transaction import StepState, Transaction

#: Kinds of timers: what a step or transaction waits for.
TIMEOUT, RETRY, SLEEP, QUESTION, CONFIRMATION, COMPENSATION_RETRY, DEADLINE, EXPIRY, RELEASE = (
    "timeout",
    "retry",
    "sleep",
    "question",
    "confirmation",
    "compensation_retry",
    "deadline",
    "expiry",
    "release",
)


@dataclass(slots=True)
class Entry:
    """One entry of the journal. Empty text: none.

    ``at`` is the broker's time (ms). ``payload`` has the fields that some saga captures, or None if nothing is needed of
    it; an act's are what the person said (``core.acts``). ``error`` says why it could not be decoded. ``timer`` and
    ``step``, ``round``, ``attempt`` are a timer's; an act's ``step`` is the one that it is about, ``actor`` who did it.
    """

    kind: str  # event | command | timer | act
    at: int
    type: str = ""  # of an act: which
    id: str = ""
    source: str = ""
    causation_id: str = ""
    origin: str = ""
    sent_at: int = 0  # the source record's own time
    payload: Mapping[str, Any] | None = None
    error: str = ""
    timer: str = ""
    step: str = ""
    round: int = 0
    attempt: int = 0
    actor: str = ""
    parent: str = ""  # the transaction that this one shall be a child of
    parent_command: str = ""


def timers_of(transaction: Transaction) -> list[tuple[int, str, str, int, int]]:
    """Every timer that is set: (due, kind, step, round, attempt). The shell keeps them in a heap.

    While a transaction is held, none but its release, which is due once nobody holds it any more: the others are set
    again then.
    """
    if transaction.held:
        return [(0, RELEASE, "", 0, 0)]
    found = []
    if transaction.deadline:
        found.append((transaction.deadline, DEADLINE, "", 0, 0))
    if transaction.early and not transaction.saga and transaction.expires_at:
        found.append((transaction.expires_at, EXPIRY, "", 0, 0))
    for path, state in transaction.steps.items():
        if state.timer:
            found.append((state.due, state.timer, path, *_count_of(state)))
    return found


def _count_of(state: StepState) -> tuple[int, int]:
    if state.timer in (CONFIRMATION, COMPENSATION_RETRY):
        return state.compensation_round, state.compensation_attempt
    if state.timer == QUESTION:
        return state.round, state.questions
    return state.round, state.attempt
