"""A cluster as the contract's tests see it: whichever it is, they say the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, Self
from uuid import uuid4

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its type hints don't export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from contract import raw
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
from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings
from kantor.testing import Calm, MemoryBroker, MemoryClients
from waiting import PATIENCE

#: Empty fetches, which bring the end, come soon.
_PROMPT = {"fetch.wait.max.ms": 10}


#: How often the cleaner looks for work; the default is 15 s.
_OFTEN = ConfigEntry("log.cleaner.backoff.ms", "200", incremental_operation=AlterConfigOpType.SET)


class Network(Calm):
    """Between clients and the broker in memory."""

    is_silent = False

    def after(self, call: str) -> None:
        if self.is_silent:
            raise KafkaUnavailableError(f"_TIMED_OUT: no answer to {call}")


class Cluster:
    """Clients that are closed in the end, and names that no other test uses."""

    def __init__(
        self,
        clients: Clients,
        memory: MemoryBroker | None = None,
        network: Network | None = None,
        *,
        pid: int | None = None,
    ) -> None:
        """Of ``memory`` behind ``network``, or of a process of this ``pid``."""
        self.clients = clients
        self.memory = memory
        self._network = network
        self._pid = pid
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

    def member(self, group: str, *topics: str, **extra: Any) -> Joined:
        """A member in a process of its own; ``_`` in settings stands for a dot."""
        clients = self.memory.clients() if self.memory is not None else self.clients
        settings = _PROMPT | {name.replace("_", "."): value for name, value in extra.items()}
        consumer = clients.consumer("contract", group=self.name(group), ends=True, extra=settings)
        self._exit.callback(consumer.close)
        return Joined(self, clients, consumer, topics)

    def write(self, topic: str, *values: str, key: str = "k", partition: int = 0) -> None:
        producer = self.clients.producer("contract", extra={"enable.idempotence": False})
        for value in values:
            producer.produce(topic, value.encode(), key.encode(), None, partition)
        producer.flush()

    def write_with_header(self, topic: str, name: bytes, value: str) -> None:
        """A record with a header of any name, as a client in another language writes it."""
        if self.memory is not None:
            producer = self.clients.producer("contract")
            named = name.decode("utf-8", "surrogateescape")
            producer.produce(topic, value.encode(), b"k", [("ce_id", b"1"), (named, b"x")], 0)
            producer.flush()
            return
        assert isinstance(self.clients, KafkaSettings)
        raw.produce(self.clients.bootstrap_servers, topic, [(b"ce_id", b"1"), (name, b"x")], value.encode())

    @contextmanager
    def silence(self) -> Iterator[None]:
        """The broker carries out what it gets, and answers nothing meanwhile."""
        if self._network is not None:
            self._network.is_silent = True
            try:
                yield
            finally:
                self._network.is_silent = False
            return
        assert self._pid is not None
        os.kill(self._pid, signal.SIGSTOP)  # what is sent waits in its sockets: it is carried out after all
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    def clean(self, topic: str) -> None:
        """Have a compacted topic compacted: at once, or as soon as the broker's cleaner comes by."""
        if self.memory is not None:
            self.memory.compact(topic)
            return
        assert isinstance(self.clients, KafkaSettings)
        broker = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[_OFTEN])
        admin = AdminClient({"bootstrap.servers": self.clients.bootstrap_servers})
        admin.incremental_alter_configs([broker])[broker].result(PATIENCE)
        self.write(topic, "rolls the segment: the last one is not compacted", key="roller")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Until ``condition``, which polls, is true."""
        deadline = time.monotonic() + PATIENCE
        for turn in count():
            if condition():
                return
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
            assert self.memory is None or turn < 2_000, f"never: {what}"

    def now(self) -> float:
        """Seconds, of a clock that only goes forward."""
        return self.memory.clock.monotonic() if self.memory is not None else time.monotonic()

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

    def __init__(
        self, cluster: Cluster, clients: Clients, consumer: Consumer, topics: tuple[str, ...]
    ) -> None:
        self.consumer = consumer
        self._cluster = cluster
        self._clients = clients
        self.records: list[Record] = []
        self.assigned: list[Partition] = []
        self.revoked: list[Partition] = []
        self.lost: list[Partition] = []
        self.refused = ""
        self.start: dict[Partition, int] | None = None
        self.commit_on_revoke: dict[Partition, int] = {}
        self.fails_on_revoke = False
        assign: Listener = self._assign
        consumer.subscribe(topics, on_assign=assign, on_revoke=self._revoke, on_lost=self._lose)

    def _assign(self, partitions: list[Partition]) -> dict[Partition, int] | None:
        self.assigned += partitions
        return self.start

    def _revoke(self, partitions: list[Partition]) -> None:
        self.revoked += partitions
        self._commit()
        if self.fails_on_revoke:
            raise KafkaUnavailableError("it can't be committed")

    def _lose(self, partitions: list[Partition]) -> None:
        self.lost += partitions
        self._commit()

    def _commit(self) -> None:
        try:
            self.consumer.commit(self.commit_on_revoke, wait=True)
        except KafkaUnavailableError as error:
            self.refused = str(error)

    def freeze(self) -> None:
        """Its process stands still: it polls no more, and its group has to do without it."""
        if isinstance(self._clients, MemoryClients):
            self._clients.silent_since = self._clients.broker.clock.monotonic()

    def thaw(self) -> None:
        """It goes on as if nothing had happened."""
        if isinstance(self._clients, MemoryClients):
            self._clients.silent_since = None

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
