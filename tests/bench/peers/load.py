"""Load for a peer: a closed loop for throughput, an open one for latency; and what its processes use. Pure of any peer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

#: The steps that a saga must have carried out, in order. A: all succeed. B: ``ship`` fails for good.
TRAILS = {"A": ["reserve", "charge", "ship"], "B": ["reserve", "charge", "refund", "release"]}

#: Runs one saga with this order to its end; the steps that it carried out.
Start = Callable[[dict[str, Any]], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Loaded:
    seconds: float
    #: Of each saga, seconds.
    latencies: list[float]

    @property
    def per_s(self) -> float:
        return len(self.latencies) / self.seconds


async def closed(start: Start, case: str, count: int, concurrency: int, limit: float = 300.0) -> Loaded:
    """``count`` sagas, ``concurrency`` of them at a time, as fast as they will go."""
    left, latencies = iter(range(count)), list[float]()

    async def slot() -> None:
        for _ in left:
            began = time.perf_counter()
            await _one(start, case)
            latencies.append(time.perf_counter() - began)

    first = time.perf_counter()
    async with asyncio.timeout(limit):
        await asyncio.gather(*(slot() for _ in range(concurrency)))
    return Loaded(time.perf_counter() - first, latencies)


async def at_rate(start: Start, case: str, rate: float, seconds: float, limit: float = 300.0) -> Loaded:
    """``rate`` sagas a second; each counts from the moment when it was due, so that a stall is not hidden."""
    latencies: list[float] = []

    async def one(due: float) -> None:
        await _one(start, case)
        latencies.append(time.perf_counter() - due)

    first = time.perf_counter() + 0.1
    async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = first + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    return Loaded(time.perf_counter() - first, latencies)


async def _one(start: Start, case: str) -> None:
    trail = await start(
        {"id": uuid.uuid4().hex, "sku": "chair", "cents": 1999, "fail": case == "B"},
    )
    if trail != TRAILS[case]:
        raise RuntimeError(f"case {case}: expected {TRAILS[case]}, got {trail}")


def family(pids: Iterable[int]) -> Iterator[psutil.Process]:
    """These processes and all that they have started."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            yield process
            yield from process.children(recursive=True)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system, of the whole families; children that have ended are included."""
    spent = 0.0
    for process in family(pids):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent
