"""Starting transactions: messages that nothing caused."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from typing import Any

from kantor import topics
from kantor.clients import Clients
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ID
from kantor.errors import EnvelopeError, KafkaUnavailableError, KantorError
from kantor.handlers import MessageType
from kantor.messages import Message
from kantor.schemas import schema_store
from kantor.writing import Outgoing, Writer

#: Seconds that a waiting publisher waits for the broker.
_TIMEOUT = 30.0


class Publisher:
    """Sends messages by a plain idempotent producer. Thread-safe.

    A type's topic is made if missing, and its schema made known, before its first message.
    """

    def __init__(
        self,
        service: str,
        clients: Clients,
        types: Iterable[MessageType] = (),
        *,
        wait: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """``wait``: each call returns only when the broker has the message."""
        self._clients = clients
        self._clock = clock
        self._wait = wait
        self._writer = Writer(service, Codec(schema_store(clients)))
        self._known: set[MessageType] = set()
        self._producer = clients.producer(
            f"kantor-kit-{service}-publisher",
            linger_ms=0 if wait else 5,
            extra={"delivery.report.only.error": False} if wait else None,
        )
        self._lock = threading.Lock()
        self._learn(set(types))

    def __call__(self, message: Message, *, transaction_id: str | None = None, index: int = 0) -> str:
        """Send; the transaction id (a new one unless given).

        The same id, type and ``index`` give the same event id: sending again is a duplicate and harmless.
        Raises ``EnvelopeError`` for a malformed id, ``EncodingError`` for a message that doesn't fit its schema, and, if
        it waits, ``KafkaUnavailableError`` (unknown whether sent: call again with the same id).
        """
        id_ = transaction_id if transaction_id is not None else str(uuid.uuid4())
        if TRANSACTION_ID.fullmatch(id_) is None:
            raise EnvelopeError(
                f"malformed transaction id {id_[:140]!r}: allowed is [A-Za-z0-9._:-]{{1,128}}"
            )
        with self._lock:
            if type(message) not in self._known:
                self._learn({type(message)})
            record = self._writer.start(self._writer.encode(message, self._clock.now()), id_, index)
        if self._wait:
            self._deliver(record)
        else:
            self._producer.produce(*record)
        return id_

    def flush(self) -> None:
        """Wait until all is delivered. Raises ``KafkaUnavailableError``, or ``KantorError`` for a refused record."""
        self._producer.flush(_TIMEOUT)

    def poll(self) -> None:
        """Serve the client: to be called now and then while nothing is published."""
        self._producer.poll(0)

    def close(self) -> None:
        """Drop what was not delivered."""
        self._producer.purge()

    def _deliver(self, record: Outgoing) -> None:
        verdict: list[Any] = []
        self._producer.produce(
            record.topic,
            record.value,
            record.key,
            record.headers,
            on_delivery=lambda error, _: verdict.append(error),
        )
        deadline = self._clock.monotonic() + _TIMEOUT
        while not verdict:
            if self._clock.monotonic() > deadline:
                raise KafkaUnavailableError(f"not delivered within {_TIMEOUT:.0f} s")
            # Short, because another thread's poll may have served our verdict.
            self._producer.poll(0.005)
        if verdict[0] is not None:
            raise KantorError(f"not delivered: {verdict[0]}")

    def _learn(self, types: set[MessageType]) -> None:
        if not types:
            return
        topics.ensure(self._clients.admin(), [type_.TOPIC for type_ in types])
        for type_ in types:
            self._writer.learn(type_)
        self._known |= types
