"""Reading: a member of a group, or a plain reader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any, TypeVar

import confluent_kafka as ck

from kantor.clients import Batch, Listener, Partition
from kantor.envelope import unreadable
from kantor.errors import ConfigError, FencedError, KafkaUnavailableError
from kantor.kafka import edge
from kantor.positions import Positions
from kantor.watchdog import Guard

log = logging.getLogger("kantor.kafka")

T = TypeVar("T")

#: Goes with each position that a member commits: tools that set positions from outside write none.
_OURS = "kantor"

_EOF = ck.KafkaError._PARTITION_EOF
#: The client can't unpack a batch, and asks for it again and again: its bytes are damaged, or unpacked it is larger than the
#: client takes (one of 6 KB may have 100 MB).
_PACKED = {ck.KafkaError._BAD_COMPRESSION, ck.KafkaError._BAD_MSG}
_UNPACK = (
    "let its producer make smaller batches; to go on, raise receive.message.max.bytes (KANTOR_KAFKA_RECEIVE_MESSAGE_MAX_BYTES) and "
    "start again, or delete the partition's records up to behind that batch (kafka-delete-records.sh)"
)
#: The broker keeps this member out of its group until a person acts; librdkafka would ask for ever, and nothing would be read.
_KEPT_OUT = {
    ck.KafkaError.INCONSISTENT_GROUP_PROTOCOL: "a member is in it that divides partitions in another way, so it is not one of ours: "
    "find it (kafka-consumer-groups.sh --describe --members --group {group}) and end it",
    ck.KafkaError.GROUP_AUTHORIZATION_FAILED: "allow it by ACL: READ on the group {group}",
    ck.KafkaError.GROUP_MAX_SIZE_REACHED: "it has as many members as the broker allows: end some, or raise the broker's group.max.size",
}
#: ``message.headers()``, called so that the interpreter looks for an exception: for a name that is not UTF-8 the binding sets
#: one and returns a result nevertheless. Called in the usual way, it comes out at some later statement.
_headers = methodcaller("headers")


class Consumer:
    """A group member, or a plain reader (``group=None``). One owner thread.

    It reads ``read_committed`` unless it is asked for otherwise. Offsets are never committed by themselves: callers commit the positions of what they
    have finished.
    """

    def __init__(self, client_id: str, config: dict[str, Any]) -> None:
        """``config``: librdkafka's settings, see :meth:`KafkaSettings.consumer`. Raises ``ConfigError`` for unknown ones."""
        self._positions = Positions()
        self._guard = Guard(f"the consumer {client_id}")
        self._consumer = edge.made(ck.Consumer, config | {"on_commit": self._committed})
        self._session = config.get("session.timeout.ms")
        self._group = str(config.get("group.id", ""))
        #: By partition: what it can't unpack, as it was said.
        self._packed: dict[Partition, str] = {}
        #: A callback of this client runs.
        self._is_serving = False

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        on_assign: Listener | None = None,
        on_revoke: Listener | None = None,
        on_lost: Listener | None = None,
    ) -> None:
        """Join the group. A topic that starts with ``^`` is a pattern.

        ``on_assign`` gets the added partitions and may answer with positions to start from (else: the committed
        ones); ``on_revoke`` must finish and commit, or abandon, before it returns; ``on_lost`` (another member may own
        them by now) must abandon. They run inside :meth:`poll`.
        """

        def tell(listener: Listener | None, partitions: list[Any]) -> Mapping[Partition, int] | None:
            self._is_serving = True
            try:
                return listener([(p.topic, p.partition) for p in partitions]) if listener else None
            finally:
                self._is_serving = False

        def assigned(consumer: Any, partitions: list[Any]) -> None:
            start = tell(on_assign, partitions)
            if start is not None:
                for p in partitions:
                    p.offset = start.get((p.topic, p.partition), p.offset)
            consumer.incremental_assign(partitions)

        def revoked(consumer: Any, partitions: list[Any]) -> None:
            tell(on_revoke, partitions)
            taken(consumer, partitions)

        def lost(consumer: Any, partitions: list[Any]) -> None:
            tell(on_lost, partitions)
            taken(consumer, partitions)

        def taken(consumer: Any, partitions: list[Any]) -> None:
            self._positions.forget((p.topic, p.partition) for p in partitions)
            # librdkafka would keep a paused one paused, for ever, when it comes back: who lost it has forgotten that.
            consumer.resume(partitions)
            consumer.incremental_unassign(partitions)

        self._consumer.subscribe(list(topics), on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Read exactly these, without a group, from these positions (or ``BEGINNING``, ``END``)."""
        self._consumer.assign([ck.TopicPartition(t, p, offset) for (t, p), offset in positions.items()])

    def poll(self, timeout: float, limit: int = 1000) -> Batch:
        """Wait up to ``timeout`` seconds for a first record, then take what is there, at most ``limit``.

        Raises ``FencedError``, ``KafkaUnavailableError`` or ``ConfigError`` for errors that don't pass; passing ones are logged. The headers of
        a record that librdkafka can't give are ``envelope.unreadable``: no record's ``headers()`` raises.
        """
        if again := self._positions.due():
            self.commit(again)
        first = self._consumer.poll(timeout)
        if first is None:
            return Batch([], {})
        messages = self._consumer.consume(limit - 1, 0) if limit > 1 else []
        messages.insert(0, first)
        ends: dict[Partition, int] = {}
        is_special = False
        for message in messages:
            if message.error() is not None:
                is_special = True
                continue
            try:
                _headers(message)  # makes the list that the caller will want; it is kept
            except (SystemError, UnicodeDecodeError) as trouble:
                # Asked again, the binding would give a list with a hole in it, which crashes whoever looks into it.
                message.set_headers(_unreadable(trouble))  # type: ignore[arg-type]  # lists are invariant
        if not is_special:
            return Batch(messages, ends)  # type: ignore[arg-type]
        records = []
        refused: dict[Partition, str] = {}
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == _EOF:
                ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
            elif error.code() == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED:
                refused[message.topic() or "", message.partition() or 0] = error.str()
                self._on_error(error)
            elif error.code() in _PACKED:
                place = message.topic() or "", message.partition() or 0
                refused[place] = self._say_packed(place, error.str())
            else:
                self._on_error(error)
        return Batch(records, ends, refused)  # type: ignore[arg-type]

    def _on_error(self, error: Any) -> None:
        """Raises what does not pass; the rest is logged."""
        if error.code() in (ck.KafkaError._FENCED, ck.KafkaError.FENCED_INSTANCE_ID):
            raise FencedError(str(error))
        if error.code() == ck.KafkaError.INVALID_SESSION_TIMEOUT:  # librdkafka would ask for ever
            raise ConfigError(
                f"KANTOR_KAFKA_SESSION_TIMEOUT_MS: the broker refuses a group session of {self._session} ms; set it within the broker's "
                "group.min.session.timeout.ms and group.max.session.timeout.ms (if these are Kafka's own: 6000 to 1800000)"
            )
        if (remedy := _KEPT_OUT.get(error.code())) is not None:
            raise KafkaUnavailableError(
                f"the broker keeps this process out of the group {self._group}: {error.str()}; {remedy.format(group=self._group)}"
            )
        if error.fatal():
            raise KafkaUnavailableError(str(error))
        log.info("temporary problem: %s", error, extra={"action": "consumer_error"})

    def _say_packed(self, place: Partition, what: str) -> str:
        """Nothing behind it is read: said by name, once, and why."""
        reason = f"a batch can't be unpacked: {what}; {_UNPACK}"
        if self._packed.get(place) != what:
            self._packed[place] = what
            log.error("%s/%d stands still: %s", *place, reason, extra={"action": "batch_unreadable"})
        return reason

    def commit(self, positions: Mapping[Partition, int], *, wait: bool = False) -> None:
        """Commit these positions (next offset to read). Without ``wait``, what fails is tried again by :meth:`poll`, as long as
        the partition is ours. With it, raises ``KafkaUnavailableError``."""
        offsets = [ck.TopicPartition(t, p, offset, _OURS) for (t, p), offset in positions.items()]
        if not offsets:
            return
        try:
            if wait:
                self._limited(
                    lambda: self._consumer.commit(offsets=offsets, asynchronous=False),
                    edge.PATIENCE,
                    "commit",
                )
            else:
                self._positions.asked(positions)
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except ck.KafkaException as error:
            if wait:
                edge.translate(error)
            self._committed(error.args[0], offsets)

    def _committed(self, error: Any, offsets: list[Any]) -> None:
        """What became of a commit: of all of it, and of each position."""
        if error is not None:
            log.info("positions not committed: %s", error, extra={"action": "commit_failed"})
        for p in offsets:
            done = error is None and p.error is None
            self._positions.told((p.topic, p.partition), p.offset, is_committed=done)

    def _limited(self, call: Callable[[], T], seconds: float, what: str) -> T:
        """Within a callback of this client the call is made as it is: from another thread, librdkafka answers it only when the
        callback is over, which would wait for it. The limit is then that of what made the callback (:meth:`close`)."""
        if self._is_serving:
            self._guard.check()
            return call()
        return self._guard(call, seconds, what)

    def committed(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        """The group's committed positions; partitions without one are left out."""
        return {place: position for place, (position, _) in self.whose(partitions, timeout).items()}

    def whose(
        self, partitions: Sequence[Partition], timeout: float = 10.0
    ) -> dict[Partition, tuple[int, bool]]:
        """As :meth:`committed`, each with whether a member has committed it: else somebody has set it from outside."""
        places = [ck.TopicPartition(t, p) for t, p in partitions]

        def ask() -> Any:
            return self._consumer.committed(places, timeout)

        found = edge.led(lambda: self._limited(ask, timeout + edge.GRACE, "committed"), timeout)
        return {(p.topic, p.partition): (p.offset, p.metadata == _OURS) for p in found if p.offset >= 0}

    def assignment(self) -> list[Partition]:
        return [(p.topic, p.partition) for p in self._consumer.assignment()]

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``. Raises ``KafkaUnavailableError`` if the partition is not (any more) ours."""
        try:
            self._consumer.seek(ck.TopicPartition(*partition, offset))
        except ck.KafkaException as error:
            edge.translate(error)

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._consumer.pause([ck.TopicPartition(t, p) for t, p in partitions])

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._consumer.resume([ck.TopicPartition(t, p) for t, p in partitions])

    def end(self, partition: Partition, timeout: float = 10.0) -> int:
        """The partition's end now, asked of the broker: of what this consumer's isolation level lets it see."""
        place = ck.TopicPartition(*partition)

        def ask() -> Any:
            return self._consumer.get_watermark_offsets(place, timeout=timeout)

        return int(
            edge.led(lambda: self._limited(ask, timeout + edge.GRACE, "get_watermark_offsets")[1], timeout)
        )

    def group_metadata(self) -> Any:
        """What :meth:`Producer.send_offsets` wants: take it at a batch's begin (KIP-447)."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Leave the group (``on_revoke`` runs) and close. Raises ``StuckError`` if leaving hangs. A consumer that was stuck
        before is left alone: nobody polls it any more, so that after ``max.poll.interval.ms`` it is no member."""
        if not self._guard.is_stuck:
            self._guard(self._consumer.close, edge.PATIENCE, "close")


def _unreadable(error: SystemError | UnicodeDecodeError) -> list[tuple[str, bytes | None]]:
    cause: BaseException | None = error if isinstance(error, UnicodeDecodeError) else error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return unreadable(f"a header's name is not UTF-8: {bytes(cause.object)[:100]!r}")
    return unreadable(error)
