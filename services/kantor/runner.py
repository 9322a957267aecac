"""A service's process: clients, the loop, the drain (kit-6). How batches are delivered: docs/design/kit.md, and why:
docs/decisions/0004-kit-delivery.md.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from kantor import logs, topics
from kantor.ages import Ages
from kantor.backlog import BATCH_SECONDS, Backlog, Keeper, done_of
from kantor.clients import Clients, Partition, Record
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec, SchemaStore
from kantor.delivery import (
    AtLeastOnceDelivery,
    Delivery,
    TransactionalDelivery,
    transactional_producer,
    waiting_producer,
)
from kantor.errors import (
    CodecError,
    ConfigError,
    FencedError,
    KantorError,
    RegistryUnavailableError,
)
from kantor.health import HealthServer, Readiness
from kantor.inbox import Inbox, StoreError
from kantor.instance import Instance
from kantor.metrics import Metrics
from kantor.processing import Processor
from kantor.schemas import schema_store
from kantor.watchdog import end_within
from kantor.writing import Outgoing, failure_topic

if TYPE_CHECKING:
    from kantor.service import Service

log = logging.getLogger("kantor.service")

#: Seconds after which an idle loop looks whether it shall stop.
_POLL = 0.2
#: Records at most in one batch: one Kafka or SQL transaction, and what a crash makes to be done again.
_BATCH = 500
#: Seconds to wait after something did not answer.
_PAUSE = 1.0
#: Seconds from a signal to the hard end: below the 30 s after which Kubernetes kills.
_DEADLINE = 25.0


def run(service: Service, settings: Callable[[], Clients]) -> None:
    """See ``Service.run``. ``settings`` may raise ``ConfigError``."""
    try:
        logs.configure(service.name)
        runner = Runner(service, settings())
        if threading.current_thread() is threading.main_thread():
            end_within(_DEADLINE, runner.stop)
        runner.run()
    except (ConfigError, CodecError, StoreError) as error:
        # Whoever starts it reads a line, not where in the kit it was raised.
        sys.stderr.write(f"{service.name}: {error}\n")
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from error


class Runner:
    """Runs one service until :meth:`stop`. The thread that calls :meth:`run` owns everything."""

    def __init__(self, service: Service, clients: Clients, *, http_port: int | None = None) -> None:
        self.metrics = Metrics()
        self._service = service
        self._clients = clients
        self._http_port = http_port
        self._port = 0
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._trouble = ""  # why it joins again
        self._now: Session | None = None

    def stop(self) -> None:
        """Finish the message in hand, commit what is answered, then return from :meth:`run`. Any thread may call it."""
        self._stop.set()

    def wait_ready(self, timeout: float) -> bool:
        """Whether the service was given its partitions within ``timeout`` seconds."""
        return self._ready.wait(timeout)

    def readiness(self) -> Readiness:
        """Ready: it has joined its group, waits for no registry and no store, and is not draining."""
        if self._stop.is_set() or not self._ready.is_set():
            return Readiness([self._trouble or "it has not begun yet, or is about to end"])
        waits = self._now.waits if self._now is not None else ""
        return Readiness([f"it waits: {waits}"] if waits else [])

    def run(self) -> None:
        """Raises ``ConfigError`` or ``CodecError`` (a schema is refused) if the service can't work as declared."""
        if not self._service.handlers:
            raise ConfigError(f"service {self._service.name} has no handlers, so there is nothing to run")
        with ExitStack() as opened:
            opened.callback(log.info, "stopped", extra={"action": "stopped"})
            server = HealthServer(self.metrics, self.readiness, self._http_port)
            opened.callback(server.close)
            self._port = server.port
            log.info("starting", extra={"action": "started", "port": server.port})
            instance = ""
            if self._service.transactional:
                slot = Instance(self._service.name)
                opened.callback(slot.close)
                instance = slot.name
            inbox = None if self._service.store is None else self._service.store.open()
            if inbox is not None:
                opened.callback(inbox.close)
            self._sessions(schema_store(self._clients), inbox, instance)

    def _sessions(self, schemas: SchemaStore, inbox: Inbox | None, instance: str) -> None:
        """One after the other until stopped: only a declaration or setting that can't work ends them."""
        suffix = ""
        while not self._stop.is_set():
            try:
                self._session(schemas, inbox, instance + suffix)
            except FencedError as error:
                # Someone else uses our transactional.id. It has ended what we had open: take an id of our own.
                suffix = f"-{uuid.uuid4().hex[:8]}"
                log.warning("fenced: %s", error, extra={"action": "fenced"})
            except (ConfigError, CodecError):
                raise
            except KantorError as error:
                # The broker is not there or did not take a batch, or a client hangs: join again, with new clients, from the
                # committed positions.
                self._ready.clear()
                self._trouble = f"it restarts: {error}"
                log.warning("waiting: %s", error, extra={"action": "unavailable"})
                self._stop.wait(_PAUSE)

    def _session(self, schemas: SchemaStore, inbox: Inbox | None, instance: str) -> None:
        """From joining the group to leaving it. Raises when everything has to be set up again."""
        session = Session(
            self._service, self._clients, schemas, self.metrics, inbox, instance=instance, stop=self._stop
        )
        self._now = session
        keeper = Keeper(session.keep)
        try:
            session.start(self._assigned, self._lost)
            while not self._stop.is_set():
                session.turn(keeper.handling)
        finally:
            keeper.close()
            session.close()

    def _lost(self, _partitions: list[Partition]) -> None:
        group = (
            f"the group {self._service.name} has lost it (its coordinator is away, or did not hear from it)"
        )
        self._trouble = f"{group}: it joins again by itself"
        self._ready.clear()

    def _assigned(self, partitions: list[Partition]) -> None:
        self._trouble = ""
        if not self._ready.is_set():
            self._ready.set()
            log.info("ready", extra={"action": "ready", "port": self._port})
        log.info("got partitions %s", partitions, extra={"action": "assigned", "partitions": len(partitions)})


class Session:
    """A service's membership in its group, from joining to leaving. One thread: :meth:`start`, :meth:`turn` as often as it
    likes, :meth:`close`. Whatever raises ``KantorError`` ends it: close it, and set up another one."""

    def __init__(
        self,
        service: Service,
        clients: Clients,
        schemas: SchemaStore,
        metrics: Metrics,
        inbox: Inbox | None,
        *,
        instance: str,
        stop: threading.Event,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Makes missing topics and publishes schemas (kit-24). ``instance``: see ``Instance``, for a transactional service.
        ``stop`` ends waiting. Raises as ``topics.ensure`` and ``SchemaStore.id_of``."""
        #: What handling waits for; empty: nothing. Any thread may read it.
        self.waits = ""
        self._service = service
        self._metrics = metrics
        self._stop = stop
        self._topics = sorted({handler.topic for handler in service.handlers})
        written = {type_.TOPIC for handler in service.handlers for type_ in handler.answers}
        written |= {failure_topic(service.name), topics.dead_letters(service.name)}
        written |= {type_.TOPIC for type_ in service.publishes}
        admin = clients.admin(f"kantor-kit-{service.name}")
        topics.ensure(admin, [*self._topics, *written])
        self._processor = Processor(
            service,
            Codec(schemas),
            metrics,
            inbox,
            clock=clock.now,
            sleep=clock.sleep,
            timer=clock.monotonic,
            limits=topics.limits(admin, sorted(written)),
        )
        client_id = f"kantor-kit-{service.name}"
        self._consumer = clients.consumer(client_id, group=service.name)
        self._backlog = Backlog(self._consumer)
        self._clock = clock
        self._ages = Ages(clock, metrics)
        self._delivery: Delivery
        if service.transactional:
            id_ = f"{client_id}-{instance}"
            log.info("joining", extra={"action": "join", "transactional_id": id_})
            producer = transactional_producer(clients, id_)
            aside = topics.dead_letters(service.name), 0
            self._delivery = TransactionalDelivery(self._consumer, producer, metrics, aside, clock)
        else:
            producer = waiting_producer(clients, client_id)
            self._delivery = AtLeastOnceDelivery(self._consumer, producer, stop, clock)

    def start(
        self,
        on_assign: Callable[[list[Partition]], None],
        on_lost: Callable[[list[Partition]], None] = lambda _: None,
    ) -> None:
        """Join the group. ``on_assign`` hears each answer of it, also one that gives nothing. Raises ``KafkaUnavailableError``."""

        def assigned(partitions: list[Partition]) -> None:
            self._delivery.assigned(partitions)
            on_assign(partitions)

        def revoked(partitions: list[Partition]) -> None:
            self._backlog.forget(partitions)
            self._delivery.revoked(partitions)

        def lost(partitions: list[Partition]) -> None:
            self._backlog.forget(partitions)
            self._delivery.lost(partitions)
            on_lost(partitions)

        self._delivery.start()
        self._consumer.subscribe(self._topics, on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def turn(self, handling: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Read a batch, handle it and deliver the answers; if there is nothing to read, serve the clients. ``handling`` is entered
        while handlers run: meanwhile, :meth:`keep` may be called by another thread."""
        if self._backlog:
            self._backlog.keep(lambda: self._delivery.poll(0, 1))
            records: Sequence[Record] = self._backlog.take()
        else:
            self._backlog.go_on()
            records = self._delivery.poll(_POLL, _BATCH)
            self._ages.polled(records)
        if not records:
            self._delivery.idle()
            self._service.serve()
            return
        self._metrics.in_flight.set(len(records))
        with handling():
            answers = self._answers(records)
        if answers is None:
            return
        left = self._processor.left
        started = time.perf_counter()
        set_back = self._delivery.finish(done_of(records, left), answers)
        self._backlog.put_back(left)
        self._backlog.drop(set_back)
        self._metrics.commits.observe(time.perf_counter() - started)
        self._metrics.in_flight.set(len(left))

    def keep(self) -> None:
        """Stay a member of the group while a handler runs."""
        self._backlog.keep(lambda: self._consumer.poll(0, 1).records)

    def close(self) -> None:
        """Leave the group."""
        try:
            self._consumer.close()
        finally:
            self._delivery.close()

    def _answers(self, records: Sequence[Record]) -> list[Outgoing] | None:
        """The batch's answers; waits while store or registry are not there (kit-8). None: stopped meanwhile, nothing is done."""
        while True:
            until = self._clock.monotonic() + BATCH_SECONDS
            try:
                answers = self._processor.batch(records, partial(self._is_enough, until), self._stop.is_set)
                self.waits = ""
                return answers
            except (RegistryUnavailableError, StoreError) as error:
                self.waits = str(error)
                log.warning("waiting: %s", error, extra={"action": "unavailable"})
                if self._stop.wait(_PAUSE):
                    return None

    def _is_enough(self, until: float) -> bool:
        return self._stop.is_set() or self._clock.monotonic() > until
