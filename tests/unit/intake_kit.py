"""An intake in memory, for tests: topics, records, what is in the journal, what was refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from kantor.clients import TopicSpec
from kantor.testing import MemoryBroker
from kantor.testing.log import Log
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.intake.loop import Intake
from kantor_orchestrator.metrics import IntakeMetrics
from kantor_orchestrator.process.wellness import Wellness
from simulation.instead import Step

EVENT, OTHER = "evt.shop.order.v1", "evt.shop.parcel.v1"
GOOD = {"ce_id": b"1", "ce_source": b"shop", "ce_type": b"shop.Ordered", "ce_correlationid": b"t-1"}


class AtOnce(Executor):
    """Does what it is asked for before it answers; but while the broker is ``slow``, what waits for it is done by
    :meth:`confirm`, or when somebody waits for that."""

    def __init__(self) -> None:
        self.slow = False
        self.waiting: list[Step] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        step = Step(lambda: fn(*args, **kwargs))
        if self.slow and fn.__name__ == "flush":
            self.waiting.append(step)
        else:
            step.run()
        return step

    def confirm(self) -> None:
        """The broker answers."""
        waiting, self.waiting = self.waiting, []
        for step in waiting:
            step.run()


class Running:
    """An intake whose broker has the platform's topics and ``sources`` (partitions by name)."""

    def __init__(self, sources: dict[str, int] | None = None) -> None:
        self.broker = MemoryBroker()
        self.admin = self.broker.clients().admin()
        sources = {EVENT: 1, OTHER: 1} if sources is None else sources
        self.admin.create_topics([*topics.specs(1, 1 << 21), *(TopicSpec(n, p) for n, p in sources.items())])
        self.producer = self.broker.clients().producer("test", extra={"message.max.bytes": 1 << 30})
        self.start()

    def start(self) -> None:
        """It runs (again), as another process."""
        self.registry = CollectorRegistry()
        clients, clock = self.broker.clients(), self.broker.clock
        self.aside = AtOnce()
        self.wellness = Wellness(clock.monotonic)
        self.intake = Intake(
            clients,
            1,
            IntakeMetrics(self.registry),
            clock=clock,
            aside=self.aside,
            wellness=self.wellness,
        )
        self.intake.start(lambda: None)

    def send(
        self, topic: str = EVENT, value: bytes | None = b"x", partition: int = 0, **headers: bytes
    ) -> None:
        """A record with the headers ``GOOD``, and these."""
        self.send_as([*(GOOD | headers).items()], topic, value, partition)

    def send_as(
        self,
        headers: list[tuple[str, bytes | None]],
        topic: str = EVENT,
        value: bytes | None = b"x",
        partition: int = 0,
    ) -> None:
        self.producer.produce(topic, value, b"key", headers, partition)
        self.producer.flush()

    def turn(self, turns: int = 50) -> None:
        for _ in range(turns):
            self.intake.turn()

    def journaled(self) -> list[str]:
        """Origins of what is in the journal, in its order."""
        found = [dict(entry.headers() or ()) for entry in self._journal()]
        return [(headers.get(journal.ORIGIN) or b"").decode() for headers in found if headers.get("ce_id")]

    def topic_ids(self) -> list[str]:
        """The topics' ids, as the journal has them."""
        found = [dict(entry.headers() or ()) for entry in self._journal()]
        return [(headers.get(journal.TOPIC_ID) or b"").decode() for headers in found if headers.get("ce_id")]

    def _journal(self) -> list[Any]:
        return self.broker.topics[topics.JOURNAL].logs[0].entries

    def make_again(self, topic: str, id_: int, *, reader: bool = True) -> None:
        """The topic is deleted and recreated, before anybody's metadata show it; ``reader``: intake's starts over, because
        there is nothing where it was (auto.offset.reset)."""
        made = self.broker.topics[topic]
        made.id, made.logs = str(UUID(int=id_)), [Log(log.place) for log in made.logs]
        consumer: Any = self.intake._consumer
        consumer._logs.clear()
        consumer._nothing_at = -1
        for place in [p for p in consumer._positions if p[0] == topic and reader]:
            consumer._positions[place] = 0
            consumer._told.pop(place, None)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"kantor_intake_{name}", labels)
