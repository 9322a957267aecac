"""What was read and is not handled yet, while its service stays a member of its group (kit-5).

Who does not poll for ``max.poll.interval.ms`` loses its partitions, and what it has done then counts for nothing: it is done
again, and again too late. So a batch ends after ``BATCH_SECONDS``, what is left of it waits here, and the consumer is polled
in between, with its partitions paused. A handler that takes longer than that is kept a member by a thread that polls meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from kantor.clients import Consumer, Partition, Record

#: Seconds after which a batch takes nothing more in hand: what a signal to stop, a rebalance or a crash waits for, or makes to
#: be done again, and how late positions are committed.
BATCH_SECONDS = 0.5
#: Seconds between polls while one handler runs: far below any ``max.poll.interval.ms``, which is 6 s at least.
_KEEP_EVERY = 2.0


class Backlog:
    """One consumer's. Used by one thread, except that another calls :meth:`keep` while the first handles a batch."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._records: list[Record] = []
        self._paused: set[Partition] = set()

    def __bool__(self) -> bool:
        return bool(self._records)

    def put_back(self, records: Sequence[Record]) -> None:
        """These come next, before everything else."""
        self._records[:0] = records

    def take(self) -> list[Record]:
        """All that waits."""
        found, self._records = self._records, []
        return found

    def drop(self, partitions: Collection[Partition]) -> None:
        """These belong to another member now, or will be read again."""
        if self._records:
            self._records = [r for r in self._records if (r.topic(), r.partition()) not in partitions]

    def forget(self, partitions: Collection[Partition]) -> None:
        """These were taken away."""
        self.drop(partitions)
        self._paused.difference_update(partitions)

    def keep(self, poll: Callable[[], Sequence[Record]]) -> None:
        """Stay a member, and read nothing: ``poll`` may bring what was just assigned."""
        assigned = set(self._consumer.assignment())
        self._consumer.pause(sorted(assigned - self._paused))
        self._paused |= assigned
        self._records += poll()

    def go_on(self) -> None:
        """Read again, if nothing waits any more."""
        if self._paused and not self._records:
            mine = self._paused & set(self._consumer.assignment())
            self._paused.clear()
            self._consumer.resume(sorted(mine))


class Keeper:
    """A thread that calls ``keep`` every two seconds while a batch is handled."""

    def __init__(self, keep: Callable[[], None], every: float = _KEEP_EVERY) -> None:
        self._keep = keep
        self._every = every
        self._changed = threading.Condition()
        self._handling = 0  # grows with each batch; odd while one is handled
        self._is_closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kantor-keeper", daemon=True)
        self._thread.start()

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Around a batch. Raises what keeping raised meanwhile."""
        with self._changed:
            self._handling += 1
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:  # waits for a poll that is under way
                self._handling += 1
                self._changed.notify()
                failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._is_closed:
                seen = self._handling
                is_handling = seen % 2 == 1 and self._failure is None
                if self._is_new(seen, self._every if is_handling else None) or not is_handling:
                    continue
                try:
                    self._keep()
                except BaseException as error:  # noqa: BLE001 - it is raised to whoever handles the batch
                    self._failure = error

    def _is_new(self, seen: int, timeout: float | None) -> bool:
        """Whether a batch has begun or ended within ``timeout``, or all is over."""
        return self._changed.wait_for(lambda: self._is_closed or self._handling != seen, timeout)


def done_of(records: Sequence[Record], left: Sequence[Record]) -> list[Record]:
    """Of a batch: what is done with, in each partition up to the first record that was left. What was handled behind that one
    is handled again, and answered with the same ids."""
    first: dict[Partition, int] = {}
    for record in left:
        place = record.topic(), record.partition()
        first[place] = min(first.get(place, record.offset()), record.offset())
    if not first:
        return list(records)
    return [r for r in records if r.offset() < first.get((r.topic(), r.partition()), r.offset() + 1)]
