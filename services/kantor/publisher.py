"""Starting transactions: messages that nothing caused."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable
from typing import Any

from kantor import topics
from kantor.clients import STUCK, Clients, Producer, deliver
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ID
from kantor.errors import EnvelopeError, KafkaUnavailableError, KantorError
from kantor.handlers import MessageType
from kantor.messages import Message
from kantor.schemas import schema_store
from kantor.writing import Outgoing, Writer

log = logging.getLogger("kantor.service")

#: Seconds that a waiting publisher waits for the broker.
_TIMEOUT = 30.0


class Publisher:
    """Sends messages with a plain idempotent producer. Thread-safe.

    Before a type's first message, its topic is created if missing, and its schema is published. A producer that delivers
    nothing for ``STUCK`` seconds, or is broken, is replaced, because it may never recover.
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
        self._name = f"kantor-kit-{service}-publisher"
        self._lock = threading.Lock()
        self._producer = self._new_producer()
        self._learn(set(types))

    def __call__(self, message: Message, *, transaction_id: str | None = None, index: int = 0) -> str:
        """Send, and return the transaction id (a new one unless given).

        The same id, type and ``index`` give the same event id, so sending again is a harmless duplicate (wire-13).
        Raises ``EnvelopeError`` for a malformed id and ``EncodingError`` for a message that doesn't fit its schema. If it
        waits, it also raises ``KafkaUnavailableError``, or ``KantorError`` for a broken producer: it is then unknown
        whether the message was sent, so call again with the same id.
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
        """Wait until everything is delivered. Raises ``KantorError`` for a refused record, ``KafkaUnavailableError`` if
        nothing is delivered for ``STUCK`` seconds: messages published since the last flush may be lost. Publish them again
        with the same ids; those that are not lost are harmless duplicates."""
        producer = self._producer
        try:
            deliver(producer, self._clock)
        except KafkaUnavailableError:
            self._replace(producer)
            raise
        except KantorError:
            self._serve(producer, 0)  # broken, or as good as before
            raise

    def poll(self) -> None:
        """Let the client do its housekeeping: call it now and then while nothing is published. Raises ``KantorError`` if
        the producer was broken; as with :meth:`flush`, published messages may be lost."""
        self._serve(self._producer, 0)

    def close(self) -> None:
        """Drop undelivered messages."""
        self._producer.purge()

    def _deliver(self, record: Outgoing) -> None:
        """Send until the broker says that it has it; again, if the producer is replaced meanwhile."""
        now = self._clock.monotonic()
        deadline, patience = now + _TIMEOUT, now + STUCK
        producer = self._producer
        verdict = _send(producer, record)
        while verdict != [None]:
            if producer is not self._producer:  # it is stuck or broken, as this thread or another one found
                producer, patience = self._producer, now + STUCK
                verdict = _send(producer, record)
            elif verdict:
                break
            # Short, because another thread's poll may have served our verdict.
            self._serve(producer, 0.005)
            now = self._clock.monotonic()
            if now > deadline and not verdict:
                raise KafkaUnavailableError(f"not delivered within {_TIMEOUT:.0f} s")
            if now > patience and not verdict:
                self._replace(producer)
        if verdict[0] is not None:
            raise KantorError(f"not delivered: {verdict[0]}")

    def _serve(self, producer: Producer, timeout: float) -> None:
        """Raises ``KantorError`` if it is broken; the next call has another one."""
        try:
            producer.poll(timeout)
        except KantorError:
            self._replace(producer)
            raise

    def _replace(self, producer: Producer) -> None:
        """Give it up, unless somebody else has done so."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = self._new_producer()
        log.warning("a producer delivers nothing: it is replaced", extra={"action": "producer_replaced"})
        producer.purge()

    def _new_producer(self) -> Producer:
        return self._clients.producer(
            self._name,
            linger_ms=0 if self._wait else 5,
            extra={"delivery.report.only.error": False} if self._wait else None,
        )

    def _learn(self, types: set[MessageType]) -> None:
        if not types:
            return
        topics.ensure(self._clients.admin(), [type_.TOPIC for type_ in types])
        for type_ in types:
            self._writer.learn(type_)
        self._known |= types


def _send(producer: Producer, record: Outgoing) -> list[Any]:
    """What the broker says of it will be in the list."""
    verdict: list[Any] = []
    topic, value, key, headers = record
    producer.produce(topic, value, key, headers, on_delivery=lambda error, _: verdict.append(error))
    return verdict
