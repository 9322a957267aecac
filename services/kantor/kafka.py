"""Kafka clients: the only module of the kit that imports confluent_kafka.

Facts that shape this file, each measured on a real broker (docs/decisions/0003-kafka-clients.md):

* ``consume(n, t)`` waits the whole ``t`` unless ``n`` messages came; so: ``poll(t)``, then ``consume(n - 1, 0)``.
* A Kafka transaction begun right after the last one's commit meets CONCURRENT_TRANSACTIONS, and librdkafka waits
  ``retry.backoff.ms`` before it asks again; the default of 100 ms would rule the throughput.
* ``flush`` and ``commit_transaction`` ignore ``linger.ms``: callers that flush get full batches and no delay.
* A pattern subscription finds a new topic only when metadata is refreshed; the default is 5 minutes.
* Clients do not survive ``fork``; a consumer has one owner thread; every client must be polled, idle producers too.
* Blocking calls do not always keep their timeouts, some have none: each has a limit of ours (``kantor.watchdog``), past
  which it raises ``StuckError``, as does every later call of that client. Callbacks of such a call run in another thread.
* ``purge(blocking=...)`` means the opposite of what it says (confluent-kafka 2.16), and keeps the interpreter's lock.

Records are handed on as librdkafka's own message objects: they satisfy :class:`Record`, and a copy would cost more
than the rest of the intake.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, NoReturn, TypeVar

import confluent_kafka as ck
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, though its type hints don't export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from kantor.clients import BEGINNING, END, Batch, Listener, Partition, Record, TopicSpec
from kantor.envelope import unreadable
from kantor.errors import (
    ConfigError,
    FencedError,
    KafkaUnavailableError,
    KantorError,
    StuckError,
    TooLargeError,
)
from kantor.positions import Positions
from kantor.watchdog import Guard

__all__ = [
    "BEGINNING",
    "END",
    "ENV_BOOTSTRAP",
    "ENV_PREFIX",
    "Admin",
    "Batch",
    "Consumer",
    "KafkaSettings",
    "Listener",
    "Partition",
    "Producer",
    "Record",
    "TopicSpec",
]

log = logging.getLogger("kantor.kafka")

ENV_BOOTSTRAP = "KANTOR_BOOTSTRAP_SERVERS"
ENV_PREFIX = "KANTOR_KAFKA_"

#: What Kubernetes puts into every pod of a namespace with a Service called ``kantor-kafka``.
_OF_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
#: What the order of things depends on: positions, groups, Kafka transactions.
_OURS = frozenset(
    {
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.protocol",
        "isolation.level",
        "partition.assignment.strategy",
        "transactional.id",
    }
)

T = TypeVar("T")

_EOF = ck.KafkaError._PARTITION_EOF
#: ``message.headers()``, called so that the interpreter looks for an exception: for a name that is no UTF-8 the binding sets
#: one and returns a result nevertheless. Called in the usual way, it comes out at some later statement.
_headers = methodcaller("headers")

#: Seconds beyond its own timeout after which a call is taken for stuck: far more than librdkafka is late when it keeps it.
_GRACE = 5.0
#: Seconds for a call that takes no timeout: leaving a group, committing positions.
_PATIENCE = 15.0

#: Until a request that nobody answers is asked again, on another connection (ms). A connection may go mute: a firewall forgot it,
#: and only a time limit tells. librdkafka's default is 60 s; a transactional producer takes its Kafka transaction's limit.
_MUTE = 10_000
#: Until a member that does not poll is none any more (ms); and a request to join the group gets this long: while its connection is
#: mute nothing else ends it. The default is five minutes. The kit polls while a handler works (``backlog.py``).
_POLL_INTERVAL = 30_000

#: Topics whose settings are asked for in one request: each answers with some 3 KB.
_CONFIGS = 500


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the cluster is, and what else librdkafka shall know (SASL, TLS)."""

    bootstrap_servers: str
    #: Not shown: there are passwords in it.
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_env(cls, bootstrap_servers: str | None = None) -> KafkaSettings:
        """Settings from ``KANTOR_BOOTSTRAP_SERVERS`` and every ``KANTOR_KAFKA_*`` (KANTOR_KAFKA_SASL_USERNAME is
        librdkafka's ``sasl.username``). They win over what Kantor would set; those that would break it are refused.

        Raises ``ConfigError`` if no address is known, or for such a setting."""
        servers = bootstrap_servers or os.environ.get(ENV_BOOTSTRAP)
        if not servers:
            raise ConfigError(f"no Kafka address: set {ENV_BOOTSTRAP}, or start one with `kantor dev start`")
        extra: dict[str, str] = {}
        for name, value in os.environ.items():
            if not name.startswith(ENV_PREFIX):
                continue
            setting = name.removeprefix(ENV_PREFIX).lower().replace("_", ".")
            if _OF_KUBERNETES.fullmatch(name.removeprefix(ENV_PREFIX)):
                log.info(
                    "%s is ignored: Kubernetes sets it for a Service called kantor-kafka",
                    name,
                    extra={"action": "setting_ignored"},
                )
            elif setting in _OURS:
                raise ConfigError(f"{name}: {setting} is set by Kantor, which relies on it; unset it")
            else:
                extra[setting] = value
        return cls(servers, extra)

    def _all(self, *configs: Mapping[str, Any]) -> dict[str, Any]:
        """These, the later ones first, and above all what the user has set."""
        found: dict[str, Any] = {}
        for config in configs:
            found |= config
        found |= self.extra
        return found

    def _common(self, client_id: str) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": client_id,
            "topic.metadata.refresh.interval.ms": 2_000,
            "retry.backoff.ms": 5,
            "socket.timeout.ms": _MUTE,
            "socket.connection.setup.timeout.ms": _MUTE,
            "reconnect.backoff.max.ms": 1_000,
            # The default is 5 minutes. A broker that is on its way down names no brokers at all; librdkafka then
            # forgets them all, and sometimes the bootstrap ones, too (its issue 5301).
            "metadata.recovery.rebootstrap.trigger.ms": 5_000,
            "log.connection.close": False,
            "logger": log,
            **self.extra,
        }

    # -- Clients

    def consumer(
        self,
        client_id: str,
        *,
        group: str | None = None,
        ends: bool = False,
        isolation: str = "read_committed",
        extra: Mapping[str, Any] | None = None,
    ) -> Consumer:
        return Consumer(self, client_id, group=group, ends=ends, isolation=isolation, extra=extra)

    def producer(
        self,
        client_id: str,
        *,
        transactional_id: str | None = None,
        linger_ms: float = 5,
        extra: Mapping[str, Any] | None = None,
    ) -> Producer:
        return Producer(self, client_id, transactional_id=transactional_id, linger_ms=linger_ms, extra=extra)

    def admin(self, client_id: str = "kantor-admin") -> Admin:
        return Admin(self, client_id)


def _made(client: Callable[[dict[str, Any]], T], config: dict[str, Any]) -> T:
    """Raises ``ConfigError`` for settings that librdkafka does not take."""
    try:
        return client(config)
    except ck.KafkaException as error:
        reason = error.args[0].str() if isinstance(error.args[0], ck.KafkaError) else str(error)
        raise ConfigError(f"{reason}; settings come from {ENV_PREFIX}*, and from Kantor itself") from error


class Consumer:
    """A group member, or a plain reader (``group=None``). One owner thread.

    ``read_committed`` always. Offsets are never committed by themselves: callers commit the positions of what they
    have finished.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        *,
        group: str | None = None,
        ends: bool = False,
        isolation: str = "read_committed",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """``ends``: report the end of each partition when it is met (``Batch.ends``)."""
        config = settings._common(client_id) | {
            "group.id": group or f"{client_id}-reader",
            "group.protocol": "classic",
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_500,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.partition.eof": ends,
            "fetch.queue.backoff.ms": 5,
            "allow.auto.create.topics": False,
            "on_commit": self._committed,
        }
        self._positions = Positions()
        self._guard = Guard(f"the consumer {client_id}")
        config = settings._all(config, {"max.poll.interval.ms": _POLL_INTERVAL}, extra or {})
        session = str(config["session.timeout.ms"])
        if (
            "max.poll.interval.ms" not in settings.extra and session.isdecimal()
        ):  # it can't be the shorter one
            config["max.poll.interval.ms"] = max(config["max.poll.interval.ms"], int(session))
        self._consumer = _made(ck.Consumer, config)
        self._on_error = _raise_if_fatal
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
            consumer.incremental_unassign(partitions)

        self._consumer.subscribe(list(topics), on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Read exactly these, without a group, from these positions (or ``BEGINNING``, ``END``)."""
        self._consumer.assign([ck.TopicPartition(t, p, offset) for (t, p), offset in positions.items()])

    def poll(self, timeout: float, limit: int = 1000) -> Batch:
        """Wait up to ``timeout`` seconds for a first record, then take what is there, at most ``limit``.

        Raises ``FencedError`` or ``KafkaUnavailableError`` for errors that don't pass; passing ones are logged. The headers of
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
            else:
                self._on_error(error)
        return Batch(records, ends, refused)  # type: ignore[arg-type]

    def commit(self, positions: Mapping[Partition, int], *, wait: bool = False) -> None:
        """Commit these positions (next offset to read). Without ``wait``, what fails is tried again by :meth:`poll`, as long as
        the partition is ours. With it, raises ``KafkaUnavailableError``."""
        offsets = [ck.TopicPartition(t, p, offset) for (t, p), offset in positions.items()]
        if not offsets:
            return
        try:
            if wait:
                self._limited(
                    lambda: self._consumer.commit(offsets=offsets, asynchronous=False), _PATIENCE, "commit"
                )
            else:
                self._positions.asked(positions)
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except ck.KafkaException as error:
            if wait:
                _translate(error)
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
        places = [ck.TopicPartition(t, p) for t, p in partitions]

        def ask() -> Any:
            return self._consumer.committed(places, timeout)

        found = _led(lambda: self._limited(ask, timeout + _GRACE, "committed"), timeout)
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def assignment(self) -> list[Partition]:
        return [(p.topic, p.partition) for p in self._consumer.assignment()]

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``. Raises ``KafkaUnavailableError`` if the partition is not (any more) ours."""
        try:
            self._consumer.seek(ck.TopicPartition(*partition, offset))
        except ck.KafkaException as error:
            _translate(error)

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._consumer.pause([ck.TopicPartition(t, p) for t, p in partitions])

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._consumer.resume([ck.TopicPartition(t, p) for t, p in partitions])

    def end(self, partition: Partition, timeout: float = 10.0) -> int:
        """The partition's end now, asked of the broker: of what this consumer's isolation level lets it see."""
        place = ck.TopicPartition(*partition)

        def ask() -> Any:
            return self._consumer.get_watermark_offsets(place, timeout=timeout)

        return int(_led(lambda: self._limited(ask, timeout + _GRACE, "get_watermark_offsets")[1], timeout))

    def group_metadata(self) -> Any:
        """What :meth:`Producer.send_offsets` wants: take it at a batch's begin (KIP-447)."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Leave the group (``on_revoke`` runs) and close. Raises ``StuckError`` if leaving hangs. A consumer that was stuck
        before is left alone: nobody polls it any more, so that after ``max.poll.interval.ms`` it is no member."""
        if not self._guard.is_stuck:
            self._guard(self._consumer.close, _PATIENCE, "close")


class Producer:
    """An idempotent producer; with ``transactional_id`` a transactional one.

    A delivery that fails for good is remembered and raised by the next :meth:`flush` (or makes the Kafka transaction
    fail); there are no callbacks per record unless asked for.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        *,
        transactional_id: str | None = None,
        linger_ms: float = 5,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        config = settings._common(client_id) | {
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 500_000,
        }
        if transactional_id is not None:  # a lost record fails the Kafka transaction: no reports are needed
            del config["socket.timeout.ms"]
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": 10_000}
        else:
            config |= {"delivery.report.only.error": True, "on_delivery": self._failed}
        self._guard = Guard(f"the producer {client_id}")
        self._handed = 0
        self._failure: Any = None
        self._broken: KantorError | None = None
        self._producer = _made(ck.Producer, settings._all(config, extra or {}))

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
                _translate(error)

    def poll(self, timeout: float = 0) -> None:
        """Serve the client. Raises ``FencedError`` or ``KantorError`` if it is of no use any more: what it had queued is
        lost."""
        self._guard.check()
        self._serve(self._producer.poll, timeout)

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until everything handed over is delivered. Raises ``KafkaUnavailableError`` if that takes longer than
        ``timeout`` (it stays queued: call again), ``KantorError`` if a record was refused for good."""
        left = self._serve(self._flush, timeout)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            refused = TooLargeError if failure.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE else KantorError
            raise refused(f"a record was not delivered: {failure}")
        if left:
            raise KafkaUnavailableError(f"{left} records not delivered within {timeout:.0f} s")

    def _flush(self, timeout: float) -> int:
        return self._guard(lambda: self._producer.flush(timeout), timeout + _GRACE, "flush")

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
                fenced = isinstance(cause, ck.KafkaError) and cause.code() in _FENCED
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
            _translate(error)

    def send_offsets(
        self, positions: Mapping[Partition, int], group_metadata: Any, timeout: float = 10.0
    ) -> None:
        """Put the group's positions into the Kafka transaction (KIP-447: a fenced member is refused)."""
        offsets = [ck.TopicPartition(t, p, offset) for (t, p), offset in positions.items()]
        self._call("send_offsets_to_transaction", timeout, offsets, group_metadata)

    def commit(self, timeout: float = 10.0) -> None:
        """Commit. Any error means: unknown or aborted. The caller abandons this producer and restores (rule 7a.5)."""
        self._call("commit_transaction", timeout)

    def abort(self, timeout: float = 10.0) -> None:
        self._call("abort_transaction", timeout)

    def purge(self) -> None:
        """Forget what is queued: before abandoning this producer, so that its destruction does not wait. One that is stuck
        is left alone: the thread that hangs in it keeps it."""
        if self._guard.is_stuck:
            return
        with suppress(ck.KafkaException, SystemError):  # it is abandoned because it failed
            # blocking=True makes it not wait: the binding has mixed it up (see above).
            self._producer.purge(in_queue=True, in_flight=True, blocking=True)
            self._producer.poll(0)

    def _call(self, name: str, timeout: float, *arguments: Any) -> None:
        function = getattr(self._producer, name)
        try:
            self._guard(lambda: function(*arguments, timeout), timeout + _GRACE, name)
        except ck.KafkaException as error:
            _translate(error)


class Admin:
    """Topics and offsets, without a group."""

    def __init__(self, settings: KafkaSettings, client_id: str = "kantor-admin") -> None:
        self._guard = Guard(f"the admin client {client_id}")
        self._settings = settings
        self._readers: dict[str, Consumer] = {}
        self._admin = _made(AdminClient, settings._common(client_id))

    def create_topics(self, specs: Sequence[TopicSpec], timeout: float = 30.0) -> list[str]:
        """Create those that do not exist; the created names. Returns when all brokers' metadata shows them."""
        existing = self.topics()
        missing = [spec for spec in specs if spec.name not in existing]
        if not missing:
            return []
        new = [NewTopic(s.name, s.partitions, s.replication, config=dict(s.config)) for s in missing]
        created = []
        for name, future in self._admin.create_topics(
            new, operation_timeout=timeout, request_timeout=timeout
        ).items():
            try:
                _answer(future, timeout)
                created.append(name)
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:
                    _translate(error)
        deadline = time.monotonic() + timeout
        waiting = {spec.name for spec in missing}
        while waiting - set(self.topics()):
            if time.monotonic() > deadline:
                raise KafkaUnavailableError(f"topics {sorted(waiting)} were created but do not show up")
            self._admin.poll(0.02)
        return created

    def topics(self, timeout: float = 10.0) -> dict[str, int]:
        """Partition counts by topic."""
        try:
            found = self._guard(
                lambda: self._admin.list_topics(timeout=timeout), timeout + _GRACE, "list_topics"
            ).topics
        except ck.KafkaException as error:
            _translate(error)
        return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}

    def replicas(self, timeout: float = 10.0) -> dict[str, int]:
        """By topic, how many brokers have each of its records: of its partition that has the fewest."""
        try:
            found = self._guard(
                lambda: self._admin.list_topics(timeout=timeout), timeout + _GRACE, "list_topics"
            ).topics
        except ck.KafkaException as error:
            _translate(error)
        return {
            name: min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
            for name, topic in found.items()
            if topic.error is None
        }

    def topic_ids(self, names: Sequence[str], timeout: float = 10.0) -> dict[str, str]:
        """Topic ids (KIP-516): a topic that is deleted and made again gets another one."""
        if not names:
            return {}
        found = self._admin.describe_topics(ck.TopicCollection(list(names)), request_timeout=timeout)
        result = {}
        for name, future in found.items():
            try:
                result[name] = str(_answer(future, timeout).topic_id)
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                    _translate(error)
        return result

    def ends(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        """The *read_uncommitted* end of each partition, asked of the brokers now: also what an open Kafka
        transaction has written counts. Partitions of deleted topics are left out."""
        return self._offsets(partitions, OffsetSpec.latest(), timeout)  # type: ignore[no-untyped-call]

    def starts(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        """The first offset that each partition still has. Partitions of deleted topics are left out."""
        return self._offsets(partitions, OffsetSpec.earliest(), timeout)  # type: ignore[no-untyped-call]

    def _offsets(
        self, partitions: Sequence[Partition], spec: OffsetSpec, timeout: float
    ) -> dict[Partition, int]:
        request = {ck.TopicPartition(t, p): spec for t, p in partitions}

        def ask() -> dict[Partition, int]:
            found = self._admin.list_offsets(
                request, isolation_level=ck.IsolationLevel.READ_UNCOMMITTED, request_timeout=timeout
            )
            result = {}
            for partition, future in found.items():
                try:
                    result[partition.topic, partition.partition] = int(_answer(future, timeout).offset)
                except ck.KafkaException as error:
                    if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
            return result

        return _led(ask, timeout) if partitions else {}

    def configs(
        self, topics: Sequence[str], timeout: float = 10.0
    ) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        """Settings in force, by topic; and of those that don't tell (they are gone, or an ACL forbids it), why. Asked in few
        requests."""
        found: dict[str, dict[str, str]] = {}
        silent: dict[str, str] = {}
        for start in range(0, len(topics), _CONFIGS):
            wanted = [ConfigResource(ResourceType.TOPIC, name) for name in topics[start : start + _CONFIGS]]
            for resource, future in self._admin.describe_configs(wanted, request_timeout=timeout).items():
                try:
                    entries = future.result(timeout + 5)
                except ck.KafkaException as error:
                    silent[resource.name] = str(error.args[0])
                else:
                    found[resource.name] = {n: e.value for n, e in entries.items() if e.value is not None}
        return found, silent

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]:
        """A topic's settings in force."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            future = self._admin.describe_configs([resource], request_timeout=timeout)[resource]
            entries = _answer(future, timeout)
        except ck.KafkaException as error:
            _translate(error)
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    def set_config(self, topic: str, name: str, value: str, timeout: float = 10.0) -> None:
        """Change one setting of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        try:
            future = self._admin.incremental_alter_configs([resource], request_timeout=timeout)[resource]
            _answer(future, timeout)
        except ck.KafkaException as error:
            _translate(error)

    def group_offsets(self, group: str, timeout: float = 10.0) -> dict[Partition, int]:
        """A group's committed positions.

        A consumer that never joins the group asks for them: where a coordinator is not there (yet), librdkafka's admin request
        for them reads a null pointer, and the process is gone (2.16, rd_kafka_handle_OffsetFetch).
        """
        places = [(topic, number) for topic, count in self.topics(timeout).items() for number in range(count)]
        reader = self._readers.get(group)
        if reader is None:
            reader = self._readers[group] = Consumer(
                self._settings, "kantor-offsets", group=group, isolation="read_uncommitted"
            )
        try:
            return reader.committed(places, timeout)
        except StuckError:
            del self._readers[group]
            raise

    def group_members(self, group: str, timeout: float = 10.0) -> dict[str, list[Partition]]:
        """Partitions by member (its client id and host) of a group; empty if there is no such group."""
        future = self._admin.describe_consumer_groups([group], request_timeout=timeout)[group]
        try:
            members = _answer(future, timeout).members
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            _translate(error)
        return {
            f"{m.client_id}@{m.host}#{m.member_id[-6:]}": [
                (p.topic, p.partition) for p in m.assignment.topic_partitions
            ]
            for m in members
        }


def _unreadable(error: SystemError | UnicodeDecodeError) -> list[tuple[str, bytes | None]]:
    cause: BaseException | None = error if isinstance(error, UnicodeDecodeError) else error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return unreadable(f"a header's name is no UTF-8: {bytes(cause.object)[:100]!r}")
    return unreadable(error)


def _answer(future: Any, timeout: float) -> Any:
    """What the broker answered to an admin request, which has this timeout of its own."""
    try:
        return future.result(timeout + _GRACE)
    except TimeoutError:
        raise StuckError(f"an admin request did not return within {timeout + _GRACE:g} s") from None


def _raise_if_fatal(error: Any) -> None:
    if error.code() in (ck.KafkaError._FENCED, ck.KafkaError.FENCED_INSTANCE_ID):
        raise FencedError(str(error))
    if error.fatal():
        raise KafkaUnavailableError(str(error))
    log.info("passing trouble: %s", error, extra={"action": "consumer_error"})


#: What a partition answers while it has no leader, or one that moved or came back just now (KIP-207, KIP-320); and for a group,
#: while it has no coordinator.
_LEADERLESS = {
    ck.KafkaError.NOT_LEADER_FOR_PARTITION,
    ck.KafkaError.LEADER_NOT_AVAILABLE,
    ck.KafkaError.FENCED_LEADER_EPOCH,
    ck.KafkaError.UNKNOWN_LEADER_EPOCH,
    ck.KafkaError.OFFSET_NOT_AVAILABLE,
    ck.KafkaError.NOT_COORDINATOR,
    ck.KafkaError.COORDINATOR_NOT_AVAILABLE,
    ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
_FENCED = {ck.KafkaError._FENCED, ck.KafkaError.PRODUCER_FENCED, ck.KafkaError.INVALID_PRODUCER_EPOCH}


def _led(ask: Callable[[], T], timeout: float) -> T:
    """What the leader of a partition answers; asked again while there is none: the topic was just made, or it moves."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except ck.KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                _translate(error)
        time.sleep(0.05)


def _translate(error: ck.KafkaException) -> NoReturn:
    """librdkafka's error as one of ours (once, here, at the edge)."""
    cause = error.args[0]
    if cause.code() in _FENCED:
        raise FencedError(str(cause)) from error
    if cause.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE:
        raise TooLargeError(f"record too large: {cause.str()}") from error
    raise KafkaUnavailableError(f"{cause.name()}: {cause.str()}") from error
