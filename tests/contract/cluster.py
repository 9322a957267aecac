"""A cluster as the contract's tests see it: whichever it is, they say the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self
from uuid import uuid4

from kantor.clients import (
    BEGINNING,
    Admin,
    Clients,
    Consumer,
    Listener,
    Partition,
    Producer,
    Record,
    TopicSpec,
)
from kantor.testing import MemoryBroker

#: Seconds of waiting for what a loaded machine does slowly.
PATIENCE = 60.0
#: Empty fetches, which bring the end, come soon.
_PROMPT = {"fetch.wait.max.ms": 10}


class Cluster:
    """Clients that are closed in the end, and names that no other test uses."""

    def __init__(self, clients: Clients, memory: MemoryBroker | None = None) -> None:
        self.clients = clients
        self.memory = memory
        self.admin: Admin = clients.admin()
        self._name = uuid4().hex[:12]
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def name(self, text: str) -> str:
        return f"{text}-{self._name}"

    def topic(self, text: str = "evt.contract", partitions: int = 1, **config: str) -> str:
        """A new topic; ``_`` in settings stands for a dot."""
        settings = {name.replace("_", "."): value for name, value in config.items()}
        name = self.name(text)
        self.admin.create_topics([TopicSpec(name, partitions, settings)])
        return name

    def producer(self, transactional: str = "", **extra: Any) -> Producer:
        id_ = self.name(transactional) if transactional else None
        producer = self.clients.producer("contract", transactional_id=id_, extra=extra)
        self._exit.callback(producer.purge)
        if id_ is not None:
            producer.init_transactions()
        return producer

    def reader(self, topic: str, *, isolation: str = "read_committed", start: int = BEGINNING) -> Reader:
        consumer = self.clients.consumer("contract", ends=True, isolation=isolation, extra=_PROMPT)
        self._exit.callback(consumer.close)
        consumer.assign({(topic, 0): start})
        return Reader(self, consumer, (topic, 0))

    def member(self, group: str, *topics: str) -> Joined:
        consumer = self.clients.consumer("contract", group=self.name(group), ends=True, extra=_PROMPT)
        self._exit.callback(consumer.close)
        return Joined(self, consumer, topics)

    def write(self, topic: str, *values: str, key: str = "k", partition: int = 0) -> None:
        producer = self.clients.producer("contract", extra={"enable.idempotence": False})
        for value in values:
            producer.produce(topic, value.encode(), key.encode(), None, partition)
        producer.flush()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Until ``condition``, which polls, is true."""
        deadline = time.monotonic() + PATIENCE
        for turn in range(100_000):
            if condition():
                return
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
            assert self.memory is None or turn < 2_000, f"never: {what}"

    def pass_time(self, seconds: float) -> None:
        if self.memory is not None:
            self.memory.clock.sleep(seconds)
        else:
            time.sleep(seconds)


class Reader:
    """Reads one partition without a group."""

    def __init__(self, cluster: Cluster, consumer: Consumer, partition: Partition) -> None:
        self.consumer = consumer
        self._cluster = cluster
        self._partition = partition
        self.records: list[Record] = []
        self.ends: list[int] = []

    def poll(self) -> Self:
        batch = self.consumer.poll(0.1)
        self.records += batch.records
        self.ends += [batch.ends[self._partition]] if self._partition in batch.ends else []
        return self

    def to(self, end: int) -> list[str]:
        """The values that were read until the end was met there."""

        def met() -> bool:
            self.poll()
            return bool(self.ends) and self.ends[-1] >= end

        self._cluster.until(met, f"the end at {end}")
        return self.values

    def more(self, count: int) -> list[str]:
        """The values, once there are ``count`` more."""
        wanted = len(self.records) + count

        def met() -> bool:
            self.poll()
            return len(self.records) >= wanted

        self._cluster.until(met, f"{wanted} records")
        return self.values

    def rest(self) -> list[str]:
        """The values after some more polls, that may have brought nothing."""
        for _ in range(5):
            self.poll()
        return self.values

    @property
    def values(self) -> list[str]:
        return [(record.value() or b"").decode() for record in self.records]


class Joined:
    """A member of a group, and what its callbacks were told."""

    def __init__(self, cluster: Cluster, consumer: Consumer, topics: tuple[str, ...]) -> None:
        self.consumer = consumer
        self._cluster = cluster
        self.records: list[Record] = []
        self.assigned: list[Partition] = []
        self.revoked: list[Partition] = []
        self.start: dict[Partition, int] | None = None
        self.commit_on_revoke: dict[Partition, int] = {}
        assign: Listener = self._assign
        consumer.subscribe(topics, on_assign=assign, on_revoke=self._revoke, on_lost=self._revoke)

    def _assign(self, partitions: list[Partition]) -> dict[Partition, int] | None:
        self.assigned += partitions
        return self.start

    def _revoke(self, partitions: list[Partition]) -> None:
        self.revoked += partitions
        if self.commit_on_revoke:
            self.consumer.commit(self.commit_on_revoke, wait=True)

    def poll(self) -> Self:
        self.records += self.consumer.poll(0.1).records
        return self

    def joined(self, count: int = 1) -> Joined:
        """Once it has ``count`` partitions."""

        def met() -> bool:
            self.poll()
            return len(self.consumer.assignment()) == count

        self._cluster.until(met, f"{count} partitions are assigned")
        return self

    def more(self, count: int) -> list[str]:
        """All values, once there are ``count`` more."""
        wanted = len(self.records) + count

        def met() -> bool:
            self.poll()
            return len(self.records) >= wanted

        self._cluster.until(met, f"{wanted} records")
        return self.values

    @property
    def values(self) -> list[str]:
        return [(record.value() or b"").decode() for record in self.records]
