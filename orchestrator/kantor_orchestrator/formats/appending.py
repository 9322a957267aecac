"""Appending to the journal: in order whatever happens, and one record that does not fit never holds up the others
(journal-13).

A topic's ``max.message.bytes`` counts a batch as it was sent, compressed; the journal's copy is written as it is. So a
record that its topic took with ease may be larger than the journal takes, and what its producer said about sizes tells
nothing. Large records therefore go alone, between two flushes, by a producer that survives a refusal; the journal is made to
take them, up to ``topics.LARGEST_ENTRY``.
"""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future

from kantor.clients import STUCK, Admin, Clients, Producer
from kantor.clock import Clock
from kantor.envelope import Headers
from kantor.errors import KantorError, TooLargeError
from kantor_orchestrator.formats import topics

log = logging.getLogger("kantor.intake")

#: Bytes from which on a record goes alone. Far below what any journal takes, so that no other is ever refused for its size.
LARGE = 256 * 1024
#: Bytes of a batch: Kafka refuses what it does not take as a whole.
BATCH_BYTES = 2 * LARGE
#: Whoever appends flushes, and until then records wait (ms): librdkafka's thread spins, without a pause, while records that need not wait
#: any more can't be sent because those before them are under way. It cost as much as all the rest of intake.
_LINGER = 1_000
#: Flushes at a time. A broker gets one request at a time (``kantor.kafka.settings``): more groups than brokers would wait, and spin as above.
_IN_FLIGHT = 5
#: What a record takes beside its key, value and headers: the batch's frame, lengths; for each header a few bytes more.
_FRAME, _HEADER = 4_096, 16
#: Seconds until a raised limit is in force at the brokers: they hear of it within moments.
_IN_FORCE = 10.0

_LIMIT = "max.message.bytes"


class Alone:
    """Appends large records to the journal one by one, and lets the journal take them. One thread at a time."""

    def __init__(self, clients: Clients, admin: Admin, clock: Clock, client_id: str) -> None:
        self._clients = clients
        self._admin = admin
        self._clock = clock
        self._client_id = client_id
        self._producer: Producer | None = None

    def append(self, value: bytes | None, key: bytes, headers: Headers, shard: int, size: int) -> str:
        """Append one record; when this returns the broker has it. Or why it does not take it, with the remedy. ``size``: of
        key, value and headers. Raises ``KantorError``: nobody knows whether it has it."""
        patience = raised = 0.0
        while True:
            try:
                self._send(value, key, headers, shard)
                return ""
            except TooLargeError as error:
                now = self._clock.monotonic()
                if not raised:
                    if why := self._raise_limit(needed(headers, size)):
                        return why
                    raised, patience = now, now + _IN_FORCE
                elif now > patience:
                    return _by_hand(str(error))
            self._clock.sleep(0.05)  # the brokers hear of the new limit one by one, and nothing tells when

    def _send(self, value: bytes | None, key: bytes, headers: Headers, shard: int) -> None:
        producer = self._producer
        if producer is None:
            extra = {"message.timeout.ms": 0, "message.max.bytes": 2 * topics.LARGEST_ENTRY}
            producer = self._producer = self._clients.producer(self._client_id, linger_ms=0, extra=extra)
        producer.produce(topics.JOURNAL, value, key, headers, shard)
        producer.flush(STUCK)

    def _raise_limit(self, size: int) -> str:
        """Let the journal take so many bytes; why that can't be, or nothing."""
        limit = 1 << (size - 1).bit_length()  # seldom more than a few times in a journal's life
        try:
            self._admin.set_config(topics.JOURNAL, _LIMIT, str(limit))
        except KantorError as error:
            return _by_hand(str(error))
        log.info(
            "the journal now accepts records of %d bytes", limit, extra={"action": "journal_limit_raised"}
        )
        return ""

    def purge(self) -> None:
        """Forget what was not delivered: before it is given up. It makes itself a new producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()


class JournalAppender:
    """What intake writes to the journal. Owned by its thread. Any error means: make a new one, and read again from what is
    committed."""

    def __init__(self, clients: Clients, admin: Admin, clock: Clock, aside: Executor) -> None:
        """``aside`` waits for the broker while more is read."""
        self._aside = aside
        self._flushes: list[Future[None]] = []  # under way, the oldest first
        self._is_more = False  # produced since the last of them began
        self._producer = clients.producer(
            "kantor-intake",
            linger_ms=_LINGER,
            # Order survives whatever happens: never give up on a record, never let a later one overtake it.
            extra={"message.timeout.ms": 0, "enable.gapless.guarantee": True, "batch.size": BATCH_BYTES},
        )
        self._alone = Alone(clients, admin, clock, "kantor-intake-large")
        #: The hot path: topic, value, key, headers, partition. Of records below ``LARGE``.
        self.produce = self._producer.produce

    def send(self) -> None:
        """Let what was produced go out, without waiting for the broker. Each flush wakes librdkafka's threads: what is produced
        during one, for another broker, would lie until the first has answered."""
        self._is_more = True
        self._begin()

    def is_done(self) -> bool:
        """Whether the broker has all of it. Raises as :meth:`flush`."""
        while self._flushes and self._flushes[0].done():
            self._flushes.pop(0).result()
        self._begin()
        return not self._flushes

    def flush(self) -> None:
        """Wait for the broker. Raises ``KafkaUnavailableError`` if nothing is delivered for long, ``KantorError`` if a
        record was refused."""
        while self._flushes:
            self._flushes.pop(0).result()
        self._is_more = False
        self._producer.flush(STUCK)

    def _begin(self) -> None:
        if self._is_more and len(self._flushes) < _IN_FLIGHT:
            self._is_more = False
            self._flushes.append(self._aside.submit(self._producer.flush, STUCK))

    def append_large(self, value: bytes | None, key: bytes, headers: Headers, shard: int, size: int) -> str:
        """Append one record, behind all that came before; when this returns the broker has it. Or why it does not take it,
        with the remedy. ``size``: of key, value and headers."""
        self.flush()
        if needed(headers, size) > topics.LARGEST_ENTRY:
            return (
                f"uncompressed it is larger than what the journal is made to take ({topics.LARGEST_ENTRY:,} bytes)"
                "; let the producer send less, or a reference to it"
            )
        return self._alone.append(value, key, headers, shard, size)

    def purge(self) -> None:
        """Forget what was not delivered: before this one is given up."""
        self._producer.purge()
        self._alone.purge()


def needed(headers: Headers, size: int) -> int:
    """Bytes that a record takes in the journal, whose key, value and headers have ``size``."""
    return size + _FRAME + _HEADER * len(headers)


def _by_hand(why: str) -> str:
    return (
        f"uncompressed it is larger than the journal takes, and its limit can't be raised ({why})"
        f"; raise {_LIMIT} of {topics.JOURNAL}, or let the producer send less"
    )
