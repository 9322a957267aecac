"""One service on a broker in memory: what it answers to a message. For service authors' tests."""

from __future__ import annotations

import itertools
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kantor.clients import Partition
from kantor.codec import Codec, MemorySchemas
from kantor.envelope import Envelope, choreographed_action, header_map, read
from kantor.errors import ConfigError, KantorError
from kantor.handlers import Handler, MessageType
from kantor.inbox import Inbox, SqliteStore
from kantor.messages import Message
from kantor.metrics import Metrics
from kantor.records import StepFailed
from kantor.runner import Session
from kantor.testing.broker import MemoryBroker
from kantor.testing.clock import VirtualClock
from kantor.writing import failure_topic

if TYPE_CHECKING:
    import sqlite3

    from kantor.service import Service

#: Turns of its loop in which a service has answered a message, whatever its handler does.
_TURNS = 1_000


class Trial:
    """A service and a broker in memory, in this thread.

    >>> with Trial(payment) as trial:
    ...     assert trial.send(StockReserved(...)) == [PaymentCaptured(...)]

    Its store is a new one in memory, with the schema of its own; nothing is written to its file. Time passes only when a handler
    is tried again, or when the test says so: ``trial.clock.sleep(60)``.
    """

    def __init__(self, service: Service) -> None:
        """Raises ``ConfigError`` or ``CodecError`` if the service can't work as declared."""
        self.clock = VirtualClock()
        self._service = service
        self._handlers: dict[str, Handler] = {handler.message.TYPE: handler for handler in service.handlers}
        self._types: dict[str, MessageType] = {StepFailed.TYPE: StepFailed}
        self._types |= {type_.TYPE: type_ for handler in service.handlers for type_ in handler.answers}
        self._broker = MemoryBroker(self.clock)
        schemas = MemorySchemas()
        self._codec = Codec(schemas)
        clients = self._broker.clients()
        self._producer = clients.producer("trial")
        self._inbox: Inbox | None = None
        if service.store is not None:
            self._inbox = SqliteStore(":memory:", schema=service.store.schema, durable=False).open()
        self._session = Session(
            service,
            clients,
            schemas,
            Metrics(),
            self._inbox,
            instance="trial",
            stop=threading.Event(),
            clock=self.clock,
        )
        self._session.start(lambda _: None)
        self._numbers = itertools.count(1)
        self._last: tuple[str, bytes, str, list[tuple[str, bytes]]] | None = None
        self._told: dict[Partition, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()
        if self._inbox is not None:
            self._inbox.close()

    @property
    def db(self) -> sqlite3.Connection:
        """The store, to put data into it or to look at it between two messages. Raises ``ConfigError`` without a store."""
        if self._inbox is None:
            raise ConfigError(f"service {self._service.name} has no store")
        return self._inbox.db

    def send(
        self, message: Message, *, transaction: str = "t1", key: str = "", expires_in: float | None = None
    ) -> list[Message]:
        """What the service answers: messages of one topic in their order; a failure is a ``StepFailed``.

        A command that is sent twice in a transaction is a second attempt of the same command, as the orchestrator sends it, unless
        it has another idempotency ``key``; an event that is sent twice is two events. A compensation (``reverses=``) is that of the
        action in its transaction. ``expires_in``: the command's seconds to live.

        Raises ``ConfigError`` if the service has no handler for the message, ``EncodingError`` if it does not fit its schema.
        """
        handler = self._handlers.get(message.TYPE)
        if handler is None:
            known = ", ".join(self._handlers)
            raise ConfigError(
                f"service {self._service.name} has no handler for {message.TYPE}; it has: {known}"
            )
        now = self.clock.now()
        envelope = Envelope(
            id=f"m{next(self._numbers)}",
            source="kantor" if handler.is_command else f"{self._service.name}-trial",
            type=message.TYPE,
            correlation_id=transaction,
            time=now,
            idempotency_key=(key or _key(transaction, handler)) if handler.is_command else None,
            expiry_time=None if expires_in is None else now + int(expires_in * 1000),
            reverses=_action(transaction, handler.reverses) if handler.reverses else None,
        )
        value = self._codec.encoder(message.SCHEMA, handler.topic)(message.to_avro())
        self._last = (handler.topic, value, transaction, envelope.headers())
        return self.again()

    def again(self) -> list[Message]:
        """What the service answers when the last message is delivered once more, as Kafka may do. Raises ``ConfigError`` if there
        is none."""
        if self._last is None:
            raise ConfigError("nothing was sent yet: call send() first")
        topic, value, transaction, headers = self._last
        self._producer.produce(topic, value, transaction.encode(), headers)
        self._producer.flush()
        for _ in range(_TURNS):
            if self._is_done():
                return self._answers()
            self._session.turn()
        raise KantorError(f"service {self._service.name} has not finished the message after {_TURNS} turns")

    def _is_done(self) -> bool:
        """Whether all that was sent is answered and committed."""
        committed = self._broker.group(self._service.name).offsets
        topics = {handler.topic for handler in self._service.handlers}
        places = [place for topic in topics for place in self._places(topic)]
        return all(committed.get(place, 0) == self._broker.log(place).end for place in places)

    def _places(self, topic: str) -> list[Partition]:
        return [(topic, number) for number in range(self._broker.counts()[topic])]

    def _answers(self) -> list[Message]:
        """What was not told yet."""
        found: list[Message] = []
        topics = [failure_topic(self._service.name)]
        topics += [type_.TOPIC for type_ in self._types.values() if type_ is not StepFailed]
        for topic in dict.fromkeys(topics):
            for place in self._places(topic):
                records, self._told[place], _ = self._broker.log(place).read(
                    self._told.get(place, 0), 10_000, self.clock.monotonic(), committed=True
                )
                for record in records:
                    headers = record.headers() or []
                    envelope = read(headers)
                    if envelope.source == self._service.name:
                        value = self._codec.decode(record.value(), header_map(headers))
                        found.append(self._types[envelope.type].from_avro(value))
        return found


def _key(transaction: str, handler: Handler) -> str:
    return f"{transaction}/{handler.message.TYPE}"


def _action(transaction: str, action: Handler) -> str:
    """What a compensation calls the action that it reverses."""
    if action.is_command:
        return _key(transaction, action)
    success = next(type_.TYPE for type_ in action.answers if type_ not in action.declines)
    return choreographed_action(transaction, success)
