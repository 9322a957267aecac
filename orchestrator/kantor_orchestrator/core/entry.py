"""What reaches a transaction (journal-1): one entry of the journal, as the shell hands it over; and the kinds of its timers.

What can't be read (``core.quarantine`` has the rules) is an agreement between core and shell:

* The shell decodes a message before ``decide``. ``Entry.error``: it can't be read for good (its bytes, its envelope, or it
  is more than the limits allow, ``core.limits``). ``Entry.not_yet``: not now (its schema is unknown, the registry is away).
  Either way the shell calls ``decide``, whose ``PUT_OFF`` keeps the entry's ``journal_offset`` in the transaction
  (``Transaction.put_off``). So is every later message of that transaction, whether it can be read or not.
* For each ``AGAIN_ASKED`` the shell appends a copy of the entry at ``Transition.put_off`` to the journal: same key, value and
  headers, and a header with that offset, which it hands over as ``Entry.again``. ``journal_offset`` and ``at`` are the
  copy's own, all else is the original's. A copy is told by no mark of a source partition. Copies may come twice, late or
  never (then the timer ``AGAIN`` asks again): those of anything but ``put_off[0]`` do nothing. If the journal has lost the
  original, the shell appends a copy without a value, and sets ``error`` to say so.
* ``TAKEN_BACK`` comes before the transitions that the message then makes; ``DROPPED`` says that a person did without it.
* The operator action ``start`` (``core.acts``) on a transaction that no saga has started defers the start at the journal offset that
  it names and asks for it: the shell hands over a new ``Transaction`` for it where it knows none. The saga of a copy of a
  start is the version in force now. A copy is not judged by its age.
* While anything is deferred, no timer but ``AGAIN`` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from kantor_orchestrator.core.transaction import StepState, Transaction

#: Kinds of timers: what a step or transaction waits for.
TIMEOUT, RETRY, SLEEP, QUESTION, CONFIRMATION, COMPENSATION_RETRY, DEADLINE, EXPIRY, RELEASE, AGAIN = (
    "timeout",
    "retry",
    "sleep",
    "question",
    "confirmation",
    "compensation_retry",
    "deadline",
    "expiry",
    "release",
    "again",
)


class Entry(Struct):
    """One entry of the journal. Empty text: none.

    ``at`` is the broker's time (ms). ``payload`` has the fields that some saga captures, or None if nothing is needed of
    it; an operator action's are what the person said (``core.acts``). ``error`` says why it can't be decoded, ``not_yet`` why not now.
    ``timer`` and ``step``, ``round``, ``attempt`` are a timer's; an operator action's ``step`` is the one that it is about, ``actor``
    who did it. ``journal_offset``: its own, of every entry; ``again``: of what was deferred and this is a copy of; -1: it is
    none.
    """

    kind: str  # event | command | timer | act
    at: int
    type: str = ""  # of an operator action: which
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
    journal_offset: int = -1
    again: int = -1
    not_yet: str = ""
    idempotency_key: str = ""  # of the action that a message reports, if its sender says


def timers_of(transaction: Transaction) -> list[tuple[int, str, str, int, int]]:
    """Every timer that is set: (due, kind, step, round, attempt). The shell keeps them in a heap.

    While a transaction is held, none but its release, which is due once nobody holds it any more: the others are set
    again then. While anything is deferred, none but that which asks for it again.
    """
    if transaction.put_off:
        return [(transaction.again_at, AGAIN, "", 0, 0)] if transaction.again_at else []
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
