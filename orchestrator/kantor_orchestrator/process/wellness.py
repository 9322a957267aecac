"""Why a process is not ready: what its role reports about itself, so that ``/readyz`` says the truth while something hangs.

A role feeds three things, all cheap, from any thread:

* ``wellness.beat("engine")`` with each turn of a loop. One that has been stuck for ``PATIENCE`` is told. Before something
  that may take long, ``beat(name, seconds)`` asks for more patience, once: until the next beat.
* ``wellness.position("shard 3", 17, end=90)`` as often as it likes, or ``position("shard 3", 17, place=(topic, 3))`` and
  the role's :class:`~kantor_orchestrator.process.pulse.Pulse` asks Kafka for the end. One that stands still for ``PATIENCE`` though
  its end is ahead of it is told. It must move only when the work is done for good: a commit that hangs is to be seen.

* ``wellness.missing({"shard 3": (since, why)})``: what this process should have and has not. Told once it has lasted
  ``PATIENCE``, by ``waits()``: no new process would mend it.

``wellness.forget(name)`` when a loop ends, or a shard is given back. ``reasons()`` is empty while all is well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from kantor.clients import Partition

#: Seconds that a loop may stand, and a position with something before it. No turn takes that long; and with the pause until Kafka is
#: asked for the ends (``pulse.py``) it is said within ten seconds.
PATIENCE = 7.0


def out_of(group: str, since: float) -> dict[str, tuple[float, str]]:
    """As :meth:`Wellness.missing`: this process has lost its partitions, and nobody knows yet whether another one has them. The group's next
    answer, though it may give it none, ends that."""
    why = "has lost this process (its coordinator is away, or did not hear from it), so it works on nothing until it is in the group again"
    return {f"the group {group}": (since, why)}


@dataclass(slots=True)
class _Loop:
    turned: float
    patience: float


@dataclass(slots=True)
class _Position:
    position: int
    end: int
    place: Partition | None
    since: float  # it moved, or was at its end


class Wellness:
    """Of one process. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._loops: dict[str, _Loop] = {}
        self._positions: dict[str, _Position] = {}
        self._missing: Mapping[str, tuple[float, str]] = {}

    def beat(self, loop: str, patience: float = PATIENCE) -> None:
        """The loop turns; it will again within ``patience`` seconds."""
        known = self._loops.get(loop)
        if known is None:
            with self._lock:
                self._loops[loop] = _Loop(self._clock(), patience)
        else:
            known.turned, known.patience = self._clock(), patience

    def position(self, name: str, position: int, end: int = -1, place: Partition | None = None) -> None:
        """``name`` has come to ``position`` (of the next record). ``end``: as far as it is known, what it has to reach."""
        with self._lock:
            known = self._positions.get(name)
            if known is None:
                self._positions[name] = _Position(position, max(position, end), place, self._clock())
                return
            if position != known.position:
                known.position, known.since = position, self._clock()
            known.place = place
            self._reach(known, max(known.end, end))

    def _reach(self, known: _Position, end: int) -> None:
        if known.end <= known.position:
            known.since = self._clock()  # until now there was nothing to do
        known.end = max(known.position, end)

    def forget(self, name: str) -> None:
        """Nothing more is expected of this loop, or position."""
        with self._lock:
            self._loops.pop(name, None)
            self._positions.pop(name, None)

    def begin_anew(self) -> None:
        """The role begins anew, in the same process: its positions do, too, and what was missing is missed again if it still is."""
        with self._lock:
            self._positions.clear()
            self._missing = {}

    def places(self) -> list[Partition]:
        """Whose ends somebody may ask Kafka for; tell :meth:`ends`."""
        with self._lock:
            return [one.place for one in self._positions.values() if one.place is not None]

    def ends(self, ends: Mapping[Partition, int]) -> None:
        """Where these partitions end now."""
        with self._lock:
            for one in self._positions.values():
                if one.place is not None and (end := ends.get(one.place)) is not None:
                    self._reach(one, end)

    def excuse(self) -> None:
        """Nobody can do anything just now (Kafka is away): patience begins again."""
        with self._lock:
            now = self._clock()
            for loop in self._loops.values():
                loop.turned = now
            for one in self._positions.values():
                one.since = now

    def reasons(self) -> list[str]:
        """Why this process does not do its work, a sentence each, with how long; empty: all is well."""
        return [sentence for _, sentence in self._standing()]

    def missing(self, found: Mapping[str, tuple[float, str]]) -> None:
        """All that is missing: since when (s, of this object's clock), and what is the matter."""
        self._missing = found

    def waits(self) -> list[str]:
        """What this process waits for, a sentence each, with how long."""
        now = self._clock()
        return [
            f"{name} {why}, for {now - since:.0f} s"
            for name, (since, why) in self._missing.items()
            if now - since > PATIENCE
        ]

    def longest(self) -> float:
        """Seconds for which what has stood still for longest has stood still; 0: all is well."""
        return max((seconds for seconds, _ in self._standing()), default=0.0)

    def _standing(self) -> list[tuple[float, str]]:
        with self._lock:
            now, found = self._clock(), []
            for name, loop in self._loops.items():
                if (seconds := now - loop.turned) > loop.patience:
                    found.append((seconds, f"the loop of {name} has been stuck for {seconds:.0f} s"))
            for name, one in self._positions.items():
                if one.position < one.end and (seconds := now - one.since) > PATIENCE:
                    text = f"{name} has been at {one.position} for {seconds:.0f} s; the end is {one.end}"
                    found.append((seconds, text))
        return found
