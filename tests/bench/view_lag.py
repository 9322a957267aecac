"""How far the view is behind while everything runs at full load: the age of the oldest end that it does not show yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from kantor.errors import KantorError
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.queries import View

#: Seconds between looks.
_EVERY = 0.1

#: When somebody looked (``time.monotonic_ns``), and how many transactions the view showed as ended.
Look = tuple[int, int]


@contextmanager
def looking(place: Location, status: str) -> Iterator[list[Look]]:
    """Looks at the view until the end of the block; the list grows."""
    looks: list[Look] = []
    stop = threading.Event()

    def look() -> None:
        with View(place) as view:
            while True:
                done = stop.is_set()
                at = time.monotonic_ns()
                shown = sum(count for (_, found), count in view.counts().items() if found == status)
                looks.append((at, shown))
                if done:
                    return
                stop.wait(_EVERY)

    thread = threading.Thread(target=look, name="view-lag")
    thread.start()
    try:
        yield looks
    finally:
        stop.set()
        thread.join()
    if not looks:
        raise KantorError(f"the view at {place} could not be read")


def worst_lag(looks: Sequence[Look], ends: Iterable[int]) -> float:
    """Seconds. ``ends``: when transactions ended (``time.monotonic_ns``), as the history tells; the first look was before
    the first of them."""
    moments = sorted(ends)
    (_, before), *others = looks
    return max(
        (
            max(0.0, (at - moments[shown - before]) / 1e9)
            for at, shown in others
            if shown - before < len(moments)
        ),
        default=0.0,
    )
