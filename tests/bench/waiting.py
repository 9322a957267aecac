"""A million transactions that wait for a person: what they cost while they wait, and how long it takes to take them over.

One engine, in turns idle, fed with a journal as intake would have written it, and started again on an empty disk. All is
seen from outside: the process's CPU and memory, the group's positions, what it writes.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from bench import processes
from bench.ends import BenchError
from bench.recorded import Entry, Journaled
from bench.services import GOOD, order
from bench.stack import Ground
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.schemas import schema_store
from kantor.writing import Writer
from kantor_examples.checkout.messages import OrderPlaced, PaymentCaptured
from kantor_orchestrator.config import ENGINE_GROUP
from kantor_orchestrator.formats import topics

SAGA = Path(__file__).with_suffix(".yaml")

#: With how few open transactions the cost is compared.
_FEW = 1_000
#: Seconds of waiting that are measured.
_DORMANT = 20.0
#: Seconds for the engine to process whatever it was given, or to come to rest.
_PATIENCE = 3_600.0
#: The engine is at rest when it uses less than this (cores).
_IDLE = 0.1
_SPACE = uuid.UUID("6f1c4a3e-8a53-4a55-9c64-3f8c0a5f7a11")


class Traffic:
    """Orders that begin, and wait; and the answers that end the oldest of them."""

    def __init__(self, ground: Ground) -> None:
        self._shards = ground.admin.topics()[topics.JOURNAL]
        self._producer = ground.settings.producer("bench-waiting")
        codec = Codec(schema_store(ground.settings))
        self._shop = Writer("shop", codec, [OrderPlaced])
        self._payment = Writer("payment", codec, [PaymentCaptured])
        ids = ground.admin.topic_ids([OrderPlaced.TOPIC, PaymentCaptured.TOPIC])
        self._journaled = Journaled(ids, self._shards)
        #: How many have begun, and how many of these have ended.
        self.begun = self.ended = 0
        #: Entries written.
        self.entries = 0

    def begin(self, count: int) -> None:
        self._write(self._start() for _ in range(count))

    def turn_over(self, count: int) -> None:
        """``count`` times one begins and the oldest ends: as many wait as before."""
        self._write(entry for _ in range(count) for entry in (self._start(), self._end()))

    def begin_in_each_shard(self) -> set[bytes]:
        """Transactions that begin, at least one in each shard."""
        ids: set[bytes] = set()
        shards: set[int] = set()
        while len(shards) < self._shards:
            id_ = _id(self.begun)
            ids.add(id_.encode())
            shards.add(shard_of(id_, self._shards))
            self.begin(1)
        return ids

    def _start(self) -> Entry:
        number, self.begun = self.begun, self.begun + 1
        now = self._journaled.now
        return self._journaled(
            self._shop.start(self._shop.encode(order("waiting", number, GOOD), now), _id(number), 0)
        )

    def _end(self) -> Entry:
        number, self.ended = self.ended, self.ended + 1
        answer = PaymentCaptured(order_id=f"waiting-{number}", amount_cents=1999)
        cause = {"ce_id": b"a-person", "ce_correlationid": _id(number).encode()}
        return self._journaled(
            self._payment.answers([self._payment.encode(answer, self._journaled.now)], cause)[0]
        )

    def _write(self, entries: Iterable[Entry]) -> None:
        for value, key, headers, partition in entries:
            self._producer.produce(topics.JOURNAL, value, key, headers, partition)
            self.entries += 1
            if self.entries % 1_000 == 0:
                self._producer.poll()
        self._producer.flush(120.0)


def _id(number: int) -> str:
    """In no order that a database would like."""
    return str(uuid.uuid5(_SPACE, str(number)))


class Watched:
    """An engine's process."""

    def __init__(self, ground: Ground, process: subprocess.Popen[bytes]) -> None:
        self._ground = ground
        self._process = process
        self._accounts = processes.Accounts({"engine": process.pid})
        self._psutil = psutil.Process(process.pid)

    def cpu(self) -> float:
        if self._process.poll() is not None:
            raise BenchError(f"the engine ended with {self._process.returncode}")
        return sum(self._accounts.sample().values())

    def rss(self) -> int:
        return int(self._psutil.memory_info().rss)

    def await_processed(self, entries: int) -> None:
        """Until it has processed the journal's first ``entries`` entries."""
        for _ in _while_waiting(f"the engine has processed {entries} entries"):
            done = sum(self._ground.admin.group_offsets(ENGINE_GROUP).values())
            self.cpu()
            if done >= entries:
                return

    def await_rest(self) -> None:
        used, at = self.cpu(), time.monotonic()
        for _ in _while_waiting("the engine is at rest", pause=1.0):
            before, began = used, at
            used, at = self.cpu(), time.monotonic()
            if used - before < _IDLE * (at - began):
                return

    def cost(self, traffic: Traffic, count: int) -> float:
        """CPU seconds for each of ``count`` transactions that begin, while as many end."""
        before = self.cpu()
        traffic.turn_over(count)
        self.await_processed(traffic.entries)
        self.await_rest()
        return (self.cpu() - before) / count

    def dormant(self) -> tuple[float, float]:
        """The most memory (MB) and the CPU (cores) while nothing happens."""
        before, began, most = self.cpu(), time.monotonic(), self.rss()
        while time.monotonic() - began < _DORMANT:
            time.sleep(0.5)
            most = max(most, self.rss())
        return most / 1e6, (self.cpu() - before) / (time.monotonic() - began)


def _while_waiting(what: str, pause: float = 0.2) -> Iterator[None]:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
    raise BenchError(f"not within {_PATIENCE:.0f} s: {what}")


def measure(ground: Ground, count: int) -> dict[str, Any]:
    traffic = Traffic(ground)
    turns = max(1_000, count // 50)
    ground.say(f"{_FEW} transactions wait, {turns} come and go")
    process = ground.run("engine")
    try:
        engine = Watched(ground, process)
        traffic.begin(_FEW)
        engine.await_processed(traffic.entries)
        engine.cost(traffic, turns // 4)  # warms it up
        few = engine.cost(traffic, turns)
        ground.say(f"{count} transactions wait, {turns} come and go")
        traffic.begin(count - _FEW)
        engine.await_processed(traffic.entries)
        engine.await_rest()
        many = engine.cost(traffic, turns)
        held_mb, held_cpu = engine.dormant()
    finally:
        processes.stop([process])
    ground.say("another engine takes them, from Kafka alone")
    seconds, restored_mb, restored_cpu = _restored(ground, traffic)
    return {
        "dormant_1m_rss_mb": round(max(held_mb, restored_mb), 1),
        "restore_1m_s": round(seconds, 1),
        "open_1m_cost_ratio": round(many / few, 3),
        "dormant_1m": {
            "transactions": count,
            "shards": ground.admin.topics()[topics.JOURNAL],
            "cpu_share": round(max(held_cpu, restored_cpu), 3),
            "rss_mb": {"held": round(held_mb, 1), "restored": round(restored_mb, 1)},
            #: CPU milliseconds of the engine for a transaction that begins and one that ends.
            "cost_ms": {"few": round(few * 1000, 3), "all": round(many * 1000, 3)},
        },
    }


def _restored(ground: Ground, traffic: Traffic) -> tuple[float, float, float]:
    """Seconds from the start of an engine on an empty disk until each shard has gone on; then memory and CPU."""
    shards = ground.admin.topics()[topics.HISTORY]
    consumer = ground.settings.consumer("bench-waiting")
    consumer.assign(ground.admin.ends([(topics.HISTORY, shard) for shard in range(shards)]))
    waiting_on = traffic.begin_in_each_shard()
    began = time.monotonic()
    process = ground.run("engine", home=ground.folder / "empty")
    try:
        engine = Watched(ground, process)
        for _ in _while_waiting("every shard is taken", pause=0.0):
            waiting_on -= {record.key() or b"" for record in consumer.poll(0.5, 10_000).records}
            if not waiting_on:
                break
            engine.cpu()
        seconds = time.monotonic() - began
        engine.await_rest()
        return seconds, *engine.dormant()
    finally:
        processes.stop([process])
        consumer.close()
