"""Writing: an idempotent producer, or a transactional one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import confluent_kafka as ck

from kantor.clients import Partition
from kantor.errors import FencedError, KafkaUnavailableError, KantorError, TooLargeError
from kantor.kafka import edge
from kantor.watchdog import Guard

log = logging.getLogger("kantor.kafka")


class Producer:
    """An idempotent producer; with ``transactional_id`` a transactional one.

    A delivery that fails for good is remembered and raised by the next :meth:`flush` (or makes the Kafka transaction
    fail); there are no callbacks per record unless asked for.
    """

    def __init__(self, client_id: str, config: dict[str, Any]) -> None:
        """``config``: librdkafka's settings, see :meth:`KafkaSettings.producer`. Raises ``ConfigError`` for unknown ones."""
        self._guard = Guard(f"the producer {client_id}")
        self._handed = 0
        self._failure: Any = None
        self._broken: KantorError | None = None
        if (
            "transactional.id" not in config
        ):  # there, a lost record fails the Kafka transaction: no reports are needed
            config = config | {"on_delivery": self._failed}
        self._producer = edge.made(ck.Producer, config)

    def _failed(self, error: Any, record: Any) -> None:
        if error is not None and self._failure is None:
            self._failure = error
            log.error("not delivered to %s: %s", record.topic(), error, extra={"action": "delivery_failed"})

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
        partition: int = -1,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None:
        """Hand one record to the client; waits while its queue is full. Raises ``KantorError`` if it is refused at
        once (too large for this client, for example). ``on_delivery`` gets the broker's word on this
        record; a plain producer calls it for failures only, unless ``delivery.report.only.error=False``."""
        options: dict[str, Any] = {"headers": headers}
        if on_delivery is not None:
            options["on_delivery"] = on_delivery
        while True:
            try:
                self._producer.produce(topic, value, key, partition, **options)
                self._handed += 1
                return
            except BufferError:
                self.poll(0.05)
            except ck.KafkaException as error:
                edge.translate(error)

    def poll(self, timeout: float = 0) -> None:
        """Serve the client. Raises ``FencedError`` or ``KantorError`` if it is of no use any more: what it had queued is
        lost."""
        self._guard.check()
        self._serve(self._producer.poll, timeout)

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until everything handed over is delivered. Raises ``KafkaUnavailableError`` if that takes longer than
        ``timeout`` (it stays queued: call again), ``KantorError`` if a record was refused for good."""
        left = self._serve(self._flush, timeout)
        failure = self._failure
        if failure is not None:
            self._failure = None  # only then: another thread may hear of one just now
            refused = TooLargeError if failure.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE else KantorError
            raise refused(f"a record was not delivered: {failure}")
        if left:
            raise KafkaUnavailableError(f"{left} records not delivered within {timeout:.0f} s")

    def _flush(self, timeout: float) -> int:
        return self._guard(lambda: self._producer.flush(timeout), timeout + edge.GRACE, "flush")

    def done(self) -> int:
        """How many records are done with: the broker has them, or has refused them for good."""
        return self._handed - len(self._producer)

    def _serve(self, function: Callable[[float], Any], timeout: float) -> Any:
        """Run the client's callbacks. Its fatal error is raised to one call only, the first; the next ones would find an
        empty queue and take that for success. So it is kept."""
        if self._broken is None:
            try:
                return function(timeout)
            except (ck.KafkaException, SystemError) as error:
                # SystemError: the binding had the fatal error to raise, and called on_delivery nevertheless.
                cause = error.args[0] if isinstance(error, ck.KafkaException) else error.__cause__
                fenced = isinstance(cause, ck.KafkaError) and cause.code() in edge.FENCED
                text = f"the producer is broken, what it had queued is lost: {cause or error}"
                self._broken = FencedError(text) if fenced else KantorError(text)
        raise type(self._broken)(str(self._broken))

    def init_transactions(self, timeout: float = 60.0) -> None:
        """Fence whoever used this ``transactional_id`` before and end its open Kafka transaction (KIP-98)."""
        self._call("init_transactions", timeout)

    def begin(self) -> None:
        self._failure = None
        self._guard.check()
        try:
            self._producer.begin_transaction()
        except ck.KafkaException as error:
            edge.translate(error)

    def send_offsets(
        self, positions: Mapping[Partition, int], group_metadata: Any, timeout: float = 10.0
    ) -> None:
        """Put the group's positions into the Kafka transaction (KIP-447: a fenced member is refused)."""
        offsets = [ck.TopicPartition(t, p, offset) for (t, p), offset in positions.items()]
        self._call("send_offsets_to_transaction", timeout, offsets, group_metadata)

    def commit(self, timeout: float = 10.0) -> None:
        """Commit. Any error means: unknown or aborted. The caller abandons this producer and restores."""
        self._call("commit_transaction", timeout)

    def abort(self, timeout: float = 10.0) -> None:
        self._call("abort_transaction", timeout)

    def purge(self) -> None:
        """Forget what is queued: before abandoning this producer, so that its destruction does not wait. One that is stuck
        is left alone: the thread that hangs in it keeps it."""
        if self._guard.is_stuck:
            return
        with suppress(ck.KafkaException, SystemError):  # it is abandoned because it failed
            # blocking=True makes it not wait: the binding has mixed it up (see ``kantor.kafka``).
            self._producer.purge(in_queue=True, in_flight=True, blocking=True)
            self._producer.poll(0)

    def _call(self, name: str, timeout: float, *arguments: Any) -> None:
        function = getattr(self._producer, name)
        try:
            self._guard(lambda: function(*arguments, timeout), timeout + edge.GRACE, name)
        except ck.KafkaException as error:
            edge.translate(error)
