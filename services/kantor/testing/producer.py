"""Writing to the broker in memory; contracts as in ``kantor.kafka``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kantor.clients import Partition, java_partition
from kantor.errors import FencedError, KafkaUnavailableError, KantorError, TooLargeError
from kantor.testing.broker import MemoryClients, Owner, Refusal
from kantor.testing.log import Header

log = logging.getLogger("kantor.testing")

Delivered = Callable[[Any, Any], None]


class _Queued(NamedTuple):
    topic: str
    value: bytes | None
    key: bytes | None
    headers: list[Header] | None
    partition: int
    created: int
    on_delivery: Delivered | None


class MemoryProducer:
    """See ``kantor.kafka.Producer``. Idempotent: what is tried again is appended once."""

    def __init__(
        self,
        clients: MemoryClients,
        transactional_id: str | None,
        *,
        only_errors: bool,
        timeout: float,
        as_java: bool = False,
        largest: int,
    ) -> None:
        """``timeout``: seconds that a Kafka transaction may take. ``as_java``: see ``kantor.clients.AS_JAVA``. ``largest``:
        bytes of a record that the client takes, whatever its topic does."""
        self._largest = largest
        self._as_java = as_java
        self._clients = clients
        self._broker = clients.broker
        self._faults = clients.faults
        self._id = transactional_id
        self._only_errors = only_errors
        self._timeout = timeout
        self._epoch = 0
        self._in_transaction = False
        self._handed = 0
        self._queue: list[_Queued] = []
        self._broken: KantorError | None = None
        self._failure: Refusal | None = None

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
        partition: int = -1,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None:
        if self._id is not None and not self._in_transaction:
            raise KafkaUnavailableError("_STATE: no Kafka transaction has begun")
        size = len(value or b"") + len(key or b"") + sum(len(text or b"") for _, text in headers or ())
        if size > self._largest:
            raise TooLargeError(f"MSG_SIZE_TOO_LARGE: {size} bytes are more than this client takes")
        self._handed += 1
        self._queue.append(
            _Queued(
                topic,
                value,
                key,
                None if headers is None else list(headers),
                partition,
                self._broker.clock.now(),
                on_delivery,
            )
        )

    def poll(self, timeout: float = 0) -> None:
        self._check()
        if self._id is None and self._queue:
            self._deliver(self._faults.leaves(len(self._queue)))

    def flush(self, timeout: float = 30.0) -> None:
        self._check()
        if self._queue:
            self._faults.before("flush")
            self._deliver(len(self._queue))
            self._faults.after("flush")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise KantorError(f"a record was not delivered: {failure}")

    def done(self) -> int:
        return self._handed - len(self._queue)

    def _check(self) -> None:
        if self._broken is not None:
            raise type(self._broken)(str(self._broken))

    def _deliver(self, count: int) -> None:
        """Append the first that are queued, in order; a crash may come between any two."""
        broker, faults = self._broker, self._faults
        for _ in range(count):
            faults.before("send")
            transaction = None
            if self._id is not None:
                transaction = broker.transaction(self._owner())
            topic, value, key, headers, partition, created, on_delivery = self._queue.pop(0)
            refusal = None if transaction is not None else broker.refusal_of(topic)
            if refusal is not None:
                self._refused(refusal, on_delivery)
                continue
            if self._as_java and partition < 0 and key is not None and topic in broker.topics:
                partition = java_partition(key, len(broker.topics[topic].logs))
            entry = broker.append(topic, partition, key, value, headers, created, transaction)
            if on_delivery is not None and not self._only_errors:
                on_delivery(None, entry)

    def _refused(self, refusal: Refusal, on_delivery: Delivered | None) -> None:
        if on_delivery is not None:
            on_delivery(refusal, None)
        elif self._failure is None:
            self._failure = refusal

    # -- Kafka transactions

    def _owner(self) -> Owner:
        assert self._id is not None, "no transactional producer"
        try:
            return self._broker.owner(self._id, self._epoch)
        except FencedError as error:
            self._broken = error
            raise

    def init_transactions(self, timeout: float = 60.0) -> None:
        assert self._id is not None, "no transactional producer"
        self._faults.before("init")
        self._broker.tick()
        self._epoch = self._broker.init(self._id, self._timeout)
        self._faults.after("init")

    def begin(self) -> None:
        self._check()
        if self._epoch == 0 or self._in_transaction:
            raise KafkaUnavailableError("_STATE: init_transactions comes first, and one after the other")
        self._in_transaction = True

    def send_offsets(
        self, positions: Mapping[Partition, int], group_metadata: Any, timeout: float = 10.0
    ) -> None:
        self._check()
        self._faults.before("send offsets")
        self._broker.add_offsets(self._owner(), group_metadata, positions)
        self._faults.after("send offsets")

    def commit(self, timeout: float = 10.0) -> None:
        self._check()
        self._faults.before("commit")
        self._deliver(len(self._queue))
        owner = self._owner()
        self._broker.end(owner, aborted=False)
        self._in_transaction = False
        self._faults.after("commit")

    def abort(self, timeout: float = 10.0) -> None:
        self._check()
        self._faults.before("abort")
        self._queue.clear()
        self._broker.end(self._owner(), aborted=True)
        self._in_transaction = False
        self._faults.after("abort")

    def purge(self) -> None:
        self._queue.clear()
