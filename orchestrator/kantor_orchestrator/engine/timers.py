"""A shard's timers in memory: those that are due soon; the others sleep in the store.

A timer lives in its transaction's state until its entry is applied (shard-16). Here it is either waiting in a heap, or fired:
its entry is on its way through the journal. It is written once for each time it fires (shard-17).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kantor_orchestrator.core.entry import (
    AGAIN,
    COMPENSATION_RETRY,
    DEADLINE,
    EXPIRY,
    RELEASE,
    RETRY,
    timers_of,
)
from kantor_orchestrator.core.transaction import Kind, Transaction, Transition

#: Timers due later than this (ms) are left in the store until then: waiting costs disk, not memory.
HORIZON = 60_000
#: Timers that only pause between two attempts; the others end in a verdict, which lag must not hasten (shard-18): the start that early
#: messages wait for may be in a topic that intake has not read.
PAUSES = frozenset({RETRY, COMPENSATION_RETRY, RELEASE, AGAIN})

#: (due, transaction id, kind, step, round, attempt)
PlannedTimer = tuple[int, str, str, str, int, int]
#: A timer without its time.
Identity = tuple[str, str, str, int, int]


#: Transitions after which other timers count than before.
_ALL_ANEW = frozenset({Kind.RELEASED, Kind.PUT_OFF, Kind.AGAIN_ASKED, Kind.TAKEN_BACK, Kind.DROPPED})


class Timers:
    """Timers by due time. One that was set again or is obsolete is found out when it is due, not before. ``get``: a transaction whose timers count."""

    def __init__(self) -> None:
        self._heap: list[PlannedTimer] = []

    def add(self, timer: PlannedTimer) -> None:
        heapq.heappush(self._heap, timer)

    def first(self) -> int:
        """When the first one is due (ms), a release that is due at once at 1; 0 if there is none."""
        return max(1, self._heap[0][0]) if self._heap else 0

    def first_set(self, now: int, get: Callable[[str], Transaction | None]) -> int:
        """As :meth:`first`; what is due by ``now`` (ms) and obsolete does not count, and is taken out: nobody is to be asked about it."""
        heap = self._heap
        while heap and heap[0][0] <= now and not _still_set(heap[0], now, get):
            heapq.heappop(heap)
        return self.first()

    def due(self, until: int, get: Callable[[str], Transaction | None]) -> list[PlannedTimer]:
        """Take out what is due up to ``until`` (ms) and still set."""
        heap, found = self._heap, []
        while heap and heap[0][0] <= until:
            found += _still_set(heapq.heappop(heap), until, get)
        return found


def _still_set(
    timer: PlannedTimer, until: int, get: Callable[[str], Transaction | None]
) -> list[PlannedTimer]:
    """The timer, with the time that it is due by now, if that is up to ``until`` (ms)."""
    txn = get(timer[1])
    return [one for one in (of(txn) if txn else ()) if one[0] <= until and one[1:] == timer[1:]]


@dataclass(slots=True)
class ShardTimers:
    """All timers of one shard that are due soon."""

    verdicts: Timers = field(default_factory=Timers)
    pauses: Timers = field(default_factory=Timers)
    #: Fired, and not applied yet.
    fired: set[Identity] = field(default_factory=set)
    #: What is due later than this (ms) is left in the store.
    horizon: int = 0

    def set(self, timer: PlannedTimer) -> None:
        """Keep a timer in memory if it is due soon; else the store has it."""
        if timer[0] < self.horizon:
            (self.pauses if timer[2] in PAUSES else self.verdicts).add(timer)

    def set_by(self, txn: Transaction, transitions: Iterable[Transition]) -> None:
        """Set what these transitions of ``txn`` set."""
        for t in transitions:
            if t.kind in _ALL_ANEW:
                self.set_all(txn)
            elif t.timer:
                # An activation starts the step's first round; its (choreographed) action has no attempts to count.
                round_, attempt = (1, 0) if t.kind is Kind.ACTIVATED else (t.round, t.attempt)
                self.set((t.due, txn.id, t.timer, t.step, round_, attempt))
            elif t.kind is Kind.STARTED and t.due:
                self.set((t.due, txn.id, DEADLINE, "", 0, 0))
            elif t.kind is Kind.KEPT:
                self.set((t.due, txn.id, EXPIRY, "", 0, 0))

    def set_all(self, txn: Transaction) -> None:
        """Set every timer that a transaction has."""
        for timer in of(txn):
            self.set(timer)

    def applied(self, identity: Identity, txn: Transaction | None) -> None:
        """Its entry was looked at. If it came too early, it waits again."""
        self.fired.discard(identity)
        for timer in of(txn) if txn is not None else ():
            if timer[1:] == identity:
                self.set(timer)


def of(txn: Transaction) -> list[PlannedTimer]:
    """Every timer that a transaction has."""
    return [(due, txn.id, kind, step, round_, attempt) for due, kind, step, round_, attempt in timers_of(txn)]
