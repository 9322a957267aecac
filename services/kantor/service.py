"""A service as its author writes it: declarations first, then ``run()``."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from kantor import handlers
from kantor.errors import ConfigError
from kantor.handlers import Handler, MessageType
from kantor.inbox import SqliteStore
from kantor.kafka import KafkaSettings
from kantor.messages import Message
from kantor.publisher import Publisher

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Service:
    """One service: its handlers, and how they run.

    >>> payment = Service("payment", store=SqliteStore("payment.db"))
    >>> @payment.on(StockReserved, declines=[PaymentDeclined])
    ... def charge(event: StockReserved) -> PaymentCaptured | PaymentDeclined: ...

    A handler takes the message, or the message and a :class:`Context`; it returns None, a message, or a list of them.
    It may raise ``Retryable``. Its return annotation names every type that it can answer with.

    Delivery is at least once, and repeated answers have the same ids. With a store, a message that comes again gets the
    stored answer, and its effect happens once. Without a store it is handled again, so handlers must be idempotent.
    Readers of the answers recognise repeated ones by their ids (the orchestrator and services with a store do).
    """

    def __init__(
        self,
        name: str,
        *,
        store: SqliteStore | None = None,
        publishes: Sequence[MessageType] = (),
        retry_events_for: float = 5.0,
        transactional: bool = False,
    ) -> None:
        """``publishes``: the types that it sends besides answers (such as those that start transactions).
        ``retry_events_for``: how many seconds to retry an event whose handler raises ``Retryable``, before it is reported
        as failed. ``transactional``: a batch's answers and positions are one Kafka transaction, so that ``read_committed``
        readers see no answer twice. Use it for readers that can't recognise duplicates by their ids. It costs 3 to 6 ms
        per hop, and can't be combined with a store, because an SQL commit is not part of it.

        Raises ``ConfigError`` if that can't work.
        """
        if _NAME.fullmatch(name) is None or name == "kantor":
            raise ConfigError(
                f"{name!r} is not a service name: lower-case letters, digits, '.', '_', '-', at most 64"
            )
        if transactional and store is not None:
            raise ConfigError(
                f"service {name}: with a store, answers go out after its SQL commit and can't be transactional as well;"
                " drop transactional=True (the inbox repeats answers with the same ids) or the store"
            )
        self.name = name
        self.store = store
        self.transactional = transactional
        self.publishes = tuple(publishes)
        self.retry_events_for = retry_events_for
        self.handlers: list[Handler] = []
        self._publisher: Publisher | None = None
        self._lock = threading.Lock()
        self._settings: KafkaSettings | None = None

    def on(
        self,
        event: MessageType,
        *,
        declines: Sequence[MessageType] = (),
        outside: bool = False,
        item: str = "",
        topic: str | None = None,
    ) -> Callable[[Function], Function]:
        """React to an event (choreography).

        ``declines`` names the answers that mean "nothing was done": a later compensation is then confirmed without
        calling its handler. ``outside``: the handler acts on another system, where no rollback of the store can undo it;
        an attempt that failed or crashed then counts as one that may have taken effect. ``item``: if the handler acts
        several times in one transaction (a saga's ``each``), the field of the event that identifies the item; the
        compensation has that field, too. ``topic``: read the event from this topic instead of the type's own.
        Raises ``ConfigError`` if the declaration can't work.
        """

        def declare(function: Function) -> Function:
            self._add(
                handlers.read(
                    function,
                    event,
                    is_command=False,
                    topic=topic,
                    declines=declines,
                    outside=outside,
                    item=item,
                )
            )
            return function

        return declare

    def handles(
        self,
        command: MessageType,
        *,
        reverses: Callable[..., Any] | None = None,
        declines: Sequence[MessageType] = (),
        confirm: Callable[[Any], Message] | None = None,
        outside: bool = False,
        item: str = "",
        topic: str | None = None,
    ) -> Callable[[Function], Function]:
        """Carry out a command from the orchestrator.

        ``reverses`` names the handler whose effect this compensation reverses (needs a store). If that handler never took
        effect, the compensation is confirmed without being called, and the action is refused should it come later.
        ``confirm`` builds that confirmation if it can't be filled from the command's fields by name. ``item``: the field of
        this compensation that identifies the item, if it has another name than in the event. ``declines``,
        ``outside`` and ``topic``: as for :meth:`on`.
        Raises ``ConfigError`` if the declaration can't work.
        """

        def declare(function: Function) -> Function:
            handler = handlers.read(
                function, command, is_command=True, topic=topic, declines=declines, outside=outside
            )
            if reverses is not None:
                self._reverse(handler, reverses, confirm, item)
            elif item:
                raise ConfigError(
                    f"{handler.name}: item= is for a compensation; say which handler it reverses="
                )
            self._add(handler)
            return function

        return declare

    def _reverse(
        self,
        handler: Handler,
        reverses: Callable[..., Any],
        confirm: Callable[[Any], Message] | None,
        item: str,
    ) -> None:
        if self.store is None:
            raise ConfigError(
                f"{handler.name} reverses {reverses.__name__}, but service {self.name} has no store to remember what "
                f"took effect: Service({self.name!r}, store=SqliteStore('{self.name}.db'))"
            )
        action = next((known for known in self.handlers if known.function is reverses), None)
        if action is None:
            raise ConfigError(
                f"{handler.name} reverses {reverses.__name__}, which is not a handler declared above it"
            )
        if item and not action.item:
            raise ConfigError(
                f"{handler.name} has item={item!r}; {action.name}, which it reverses, needs one too"
            )
        handler.item = item or action.item
        handlers.check_item(handler.name, handler.message, handler.item)
        handler.reverses = action
        handler.confirm = handlers.confirmation(handler, confirm)
        action.reversed_by.append(handler)

    def _add(self, handler: Handler) -> None:
        if handler.outside and self.store is None:
            raise ConfigError(f"{handler.name}: outside=True needs a store that remembers attempts")
        for known in self.handlers:
            if known.message.TYPE == handler.message.TYPE:
                raise ConfigError(
                    f"{known.name} and {handler.name} both take {handler.message.TYPE}; a message has one handler, "
                    f"call both from it"
                )
        self.handlers.append(handler)

    @contextmanager
    def publisher(self, settings: KafkaSettings | None = None) -> Iterator[Publisher]:
        """For scripts: ``with service.publisher() as publish: publish(OrderPlaced(...))``.

        Publishing does not wait. Leaving the block waits until everything is delivered, and raises ``KantorError`` if
        something was not.
        """
        publisher = Publisher(
            self.name, settings or self._settings or KafkaSettings.from_env(), self.publishes
        )
        try:
            yield publisher
            publisher.flush()
        finally:
            publisher.close()

    def publish(self, message: Message, *, transaction_id: str | None = None, index: int = 0) -> str:
        """Start a transaction: send ``message`` and wait until the broker has it. Any thread may call it.

        Returns the transaction id (a new one unless given). The same id, type and ``index`` give the same event id, so
        sending again is a harmless duplicate. Raises ``KafkaUnavailableError``: it is unknown whether the message was
        sent, so call again with the same id.
        """
        if self._publisher is None:
            with self._lock:
                if self._publisher is None:
                    settings = self._settings or KafkaSettings.from_env()
                    self._publisher = Publisher(self.name, settings, self.publishes, wait=True)
        return self._publisher(message, transaction_id=transaction_id, index=index)

    def serve(self) -> None:
        """Let the client of :meth:`publish` do its housekeeping; the runner calls it."""
        if self._publisher is not None:
            self._publisher.poll()

    def run(self, settings: KafkaSettings | None = None) -> None:
        """Run until SIGTERM or SIGINT; then finish the current message and return. Settings come from the environment
        (``KANTOR_BOOTSTRAP_SERVERS``, ``KANTOR_HTTP_PORT``, ``KANTOR_LOG``, ...) unless given.

        Exits with a message if the service can't start as declared (code 1) or set (code 2); waits while the broker is down.
        """
        from kantor.runner import run

        def found() -> KafkaSettings:
            self._settings = settings or KafkaSettings.from_env()
            return self._settings

        run(self, found)
