"""Where intake begins, and what was gone before it came (journal-12): Kafka deletes records of a source before they are read, and
an operator sets the group's positions.

The client goes on where the partition begins now, and says nothing. So where intake is given a partition, its committed position
is compared with the partition's beginning; and while it reads, what was passed over is asked for: mostly it is a mark that ends
a Kafka transaction, or what compaction took.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future

from kantor.clients import Admin, Partition
from kantor.clock import Clock
from kantor.errors import KantorError

log = logging.getLogger("kantor.intake")

#: Seconds between questions where partitions begin.
_INTERVAL = 1.0


class Overtaken:
    """Of one member of intake; owned by its thread."""

    def __init__(
        self, admin: Admin, asking: Executor, say: Callable[[Partition, int, int], None], clock: Clock
    ) -> None:
        """``say`` hears of a partition from where to where its records are gone. ``asking`` asks the broker while records are
        read."""
        self._admin = admin
        self._asking = asking
        self._say = say
        self._clock = clock
        self._jumps: dict[Partition, tuple[int, int]] = {}
        self._asked: dict[Partition, tuple[int, int]] = {}
        self._answer: Future[dict[Partition, int]] | None = None
        self._not_before = 0.0

    def begin(self, committed: Mapping[Partition, tuple[int, bool]]) -> dict[Partition, int]:
        """Where to begin instead of these positions: at the partition's beginning, if that is behind the position, or if no
        member has committed that. Raises ``KafkaUnavailableError``."""
        starts = self._admin.starts(list(committed)) if committed else {}
        found = {}
        for place, start in starts.items():
            position, is_ours = committed[place]
            if not is_ours:
                log.warning(
                    "the position %d of %s/%d in the group of intake was set by somebody else: it is read from its beginning, so that no "
                    "record is skipped; what was journaled before is recognised",
                    position, *place, extra={"action": "position_foreign"},
                )  # fmt: skip
                found[place] = start
            elif start > position:
                self._say(place, position, start)
                found[place] = start
        return found

    def jumped(self, place: Partition, expected: int, offset: int) -> None:
        """The record after ``expected - 1`` is at ``offset``: what lay between is no record, or is gone."""
        self._jumps.setdefault(place, (expected, offset))

    def turn(self) -> None:
        """Ask for what was passed over, and say what is gone."""
        if self._answer is not None:
            if self._answer.done():
                self._hear(self._answer)
                self._answer = None
        elif self._jumps and self._clock.monotonic() >= self._not_before:
            self._not_before = self._clock.monotonic() + _INTERVAL
            self._asked, self._jumps = self._jumps, {}
            places = list(self._asked)
            self._answer = self._asking.submit(lambda: self._admin.starts(places))

    def forget(self, place: Partition) -> None:
        """It is read again, or by another."""
        self._jumps.pop(place, None)
        self._asked.pop(place, None)

    def _hear(self, answer: Future[dict[Partition, int]]) -> None:
        try:
            starts = answer.result()
        except KantorError as error:
            log.info(
                "where partitions begin is unknown this time: %s", error, extra={"action": "starts_unknown"}
            )
            self._jumps = self._asked | self._jumps
            return
        for place, (expected, offset) in self._asked.items():
            if (start := min(starts.get(place, 0), offset)) > expected:
                self._say(place, expected, start)
