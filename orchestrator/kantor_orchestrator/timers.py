"""A shard's timers in memory: those that are due soon; the others sleep in the store."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.transaction import Transaction

#: A firing that was not applied after this long (ms) is fired again.
REFIRE = 2_000

#: (due, transaction id, kind, step, round, attempt)
Timer = tuple[int, str, str, str, int, int]


class Timers:
    """Timers by due time. One that was set anew or is obsolete is found out when it is due, not before."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []

    def add(self, timer: Timer) -> None:
        heapq.heappush(self._heap, timer)

    def first(self) -> int:
        """When the first one is due (ms); 0 if there is none."""
        return self._heap[0][0] if self._heap else 0

    def due(self, until: int, now: int, get: Callable[[str], Transaction | None]) -> list[Timer]:
        """Timers due up to ``until`` (ms) that are still set. They stay set until their entry is applied: each comes
        again ``REFIRE`` after ``now``, in case its entry was lost."""
        heap, found = self._heap, []
        while heap and heap[0][0] <= until:
            _, id_, *identity = heapq.heappop(heap)
            txn = get(id_)
            for due, kind, step, round_, attempt in timers_of(txn) if txn else ():
                if [kind, step, round_, attempt] == identity and due <= until:
                    found.append((due, id_, kind, step, round_, attempt))
        for _, id_, kind, step, round_, attempt in found:
            heapq.heappush(heap, (now + REFIRE, id_, kind, step, round_, attempt))
        return found
