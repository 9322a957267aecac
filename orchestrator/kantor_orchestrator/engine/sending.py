"""What leaves an engine once it is in the log (log-2): commands, answers, announcements.

A plain idempotent producer: consumers need not know of Kafka transactions. Each message is followed until the broker has it,
because the checkpoint must not pass what has not left. One that the broker refuses for good (log-8, shard-26: its topic is gone, may
not be written, takes no message so large) becomes an entry of the journal, and there an incident of its own transaction:
nobody else waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kantor.clients import AS_JAVA, Clients, is_refusal
from kantor.errors import KantorError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import Outgoing

log = logging.getLogger("kantor.engine")

#: Puts a refusal into the journal: (transaction, message, why, what to call when it is there).
Refuse = Callable[[str, Outgoing, str, Callable[[], None]], None]


class Sender:
    """Sends for one shard. :meth:`send` by one thread at a time; callbacks come in whichever thread polls."""

    def __init__(self, clients: Clients, number: int, refuse: Refuse) -> None:
        self._refuse = refuse
        self._open: dict[int, str] = {}  # what has not left: its topic by number, the oldest first
        self._sent = 0
        self._is_closed = False
        self._lost: Any = None
        self._producer = clients.producer(
            f"kantor-engine-sender-{number}",
            linger_ms=0,
            extra={
                "message.timeout.ms": 0,
                "delivery.report.only.error": False,
                "message.max.bytes": topics.LARGEST,
                # A topic that does not exist is one after this long; a new one is known by then.
                "topic.metadata.propagation.max.ms": 5_000,
                **AS_JAVA,
            },
        )

    def send(self, transaction: str, messages: Sequence[Outgoing]) -> None:
        """Hand these to the client, in order. Raises ``KantorError`` if it is of no use any more."""
        for message in messages:
            self._sent += 1
            number = self._sent
            self._open[number] = message.topic
            delivered = partial(self._delivered, number, transaction, message)
            try:
                self._producer.produce(
                    message.topic, message.value, message.key or None, message.headers, on_delivery=delivered
                )
            except KantorError as error:
                if not is_refusal(error):
                    raise
                self._refused(number, transaction, message, str(error))

    def poll(self) -> None:
        """Serve the client. Raises ``KantorError`` if it is of no use any more: retake the shard."""
        self._producer.poll()
        if self._lost is not None:
            raise KantorError(f"messages were lost with their producer: {self._lost}")

    def flush(self, seconds: float) -> None:
        """Wait until everything has left. Raises ``KantorError`` as :meth:`poll`, ``KafkaUnavailableError`` if it has not."""
        self._producer.flush(seconds)
        self.poll()

    @property
    def sent(self) -> int:
        """The number of the last message."""
        return self._sent

    @property
    def waiting(self) -> int:
        """Messages that have not left yet."""
        return len(self._open)

    @property
    def oldest(self) -> tuple[int, str] | None:
        """Number and topic of the first message that has not left yet."""
        first = min(self._open, default=None)  # in one step, as below
        topic = self._open.get(first) if first is not None else None
        return None if first is None or topic is None else (first, topic)

    def has_left(self, number: int) -> bool:
        """Whether every message up to this one has left, or its refusal is in the journal."""
        # In one step for the interpreter: other threads put in and take out meanwhile, which would break off a walk through it.
        first = min(self._open, default=None)
        return first is None or first > number

    def close(self) -> None:
        """Abandon it; whoever takes the shard sends again what is in the log."""
        self._is_closed = True
        self._producer.purge()

    def _delivered(self, number: int, transaction: str, message: Outgoing, error: Any, _record: Any) -> None:
        if error is None:
            self._open.pop(number, None)
        elif self._is_closed:
            return
        elif is_refusal(error):
            self._refused(number, transaction, message, str(error))
        else:
            self._lost = error

    def _settled(self, number: int) -> None:
        self._open.pop(number, None)

    def _refused(self, number: int, transaction: str, message: Outgoing, why: str) -> None:
        facts = {"action": "message_refused", "transaction": transaction, "topic": message.topic}
        log.error("Kafka refused a message for %s: %s", message.topic, why, extra=facts)
        self._refuse(transaction, message, why, partial(self._settled, number))
