"""What a service declared: its handlers, read from their annotations and checked before anything runs (kit-23)."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kantor import envelope
from kantor.errors import ConfigError, KantorError
from kantor.messages import Message

if typing.TYPE_CHECKING:
    import sqlite3

MessageType = type[Message]

_COMPOUND: tuple[Any, ...] = (types.UnionType, typing.Union, list, tuple, Sequence)


class UndeclaredAnswerError(KantorError):
    """A handler returned what its annotation does not name (kit-22). A bug: nothing was sent."""


class ContradictoryAnswerError(KantorError):
    """A handler returned a decline and an answer that is none (kit-22). A bug: nothing was sent."""


class Context:
    """What is known about the message being handled, besides its payload."""

    __slots__ = ("_db", "_headers", "message_id", "service", "transaction_id")

    def __init__(
        self,
        service: str,
        transaction_id: str,
        message_id: str,
        headers: Mapping[str, bytes | None],
        db: sqlite3.Connection | None = None,
    ) -> None:
        self.service = service
        self.transaction_id = transaction_id
        #: The ``ce_id`` of the message: another one for every attempt of a command.
        self.message_id = message_id
        self._headers = headers
        self._db = db

    @property
    def headers(self) -> Mapping[str, bytes | None]:
        """The Kafka headers by name; of a repeated name the last one."""
        return self._headers

    @property
    def envelope(self) -> envelope.Envelope:
        """All CloudEvents attributes. Raises ``EnvelopeError`` if an optional one is malformed."""
        return envelope.read({name: value for name, value in self._headers.items() if value is not None})

    @property
    def time(self) -> int | None:
        """When the message's sender says it happened: milliseconds since the epoch."""
        return self.envelope.time

    @property
    def idempotency_key(self) -> str:
        """The same for every delivery and every attempt of one action: hand it to systems that accept such a key."""
        key = self._headers.get("ce_idempotencykey")
        return key.decode() if key else self.message_id

    @property
    def db(self) -> sqlite3.Connection:
        """The store's connection, inside the SQL transaction that also holds the inbox: data written here and the
        answer happen together or not at all. Never commit it yourself. Raises ``ConfigError`` without a store."""
        if self._db is None:
            raise ConfigError(
                f"service {self.service} has no store: Service(..., store=SqliteStore('file.db'))"
            )
        return self._db


@dataclass(eq=False, slots=True)
class Handler:
    """One declared handler. ``answers`` are all message types that it can return."""

    function: Callable[..., Any]
    message: MessageType
    topic: str
    is_command: bool
    wants_context: bool
    answers: tuple[MessageType, ...]
    declines: frozenset[MessageType]
    #: It acts on something that a rollback of the store does not reach.
    outside: bool = False
    #: The field that says which of several actions of one transaction a message is about; empty: there is one.
    item: str = ""
    reverses: Handler | None = None
    #: Builds the confirmation of a compensation whose action never took effect.
    confirm: Callable[[Any], Message] | None = None
    #: The compensations that name this handler in ``reverses``.
    reversed_by: list[Handler] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        return self.function.__name__

    def is_declined_by(self, messages: Sequence[Any]) -> bool:
        """Whether these answers of its function say that nothing was done. Raises ``UndeclaredAnswerError`` or
        ``ContradictoryAnswerError`` if they can't be its answers."""
        for message in messages:
            if type(message) not in self.answers:
                declared = " | ".join(type_.TYPE for type_ in self.answers) or "None"
                raise UndeclaredAnswerError(
                    f"{self.name} returned {type(message).__name__}, but its annotation says {declared}; add it there"
                )
        declines = [message.TYPE for message in messages if type(message) in self.declines]
        others = [message.TYPE for message in messages if type(message) not in self.declines]
        if declines and others:
            raise ContradictoryAnswerError(
                f"{self.name} returned {declines[0]}, which says that nothing was done, together with {others[0]}; return "
                f"one or the other, or name {others[0]} in declines= if it says the same"
            )
        return bool(declines)


def read(
    function: Callable[..., Any],
    message: MessageType,
    *,
    is_command: bool,
    topic: str | None,
    declines: Sequence[MessageType],
    outside: bool,
    item: str = "",
) -> Handler:
    """A handler from a function and its annotations. Raises ``ConfigError`` that names function and remedy."""
    name = getattr(function, "__name__", "")
    if not name:
        raise ConfigError(f"{function!r} is not a function; a handler is a plain function, or a method")
    for one in (function, inspect.unwrap(function)):
        if inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one):
            raise ConfigError(f"{name} is async; a handler is a plain function")
        if inspect.isgeneratorfunction(one):
            raise ConfigError(
                f"{name} has a `yield`; a handler returns its answers, in a list if there are several"
            )
    for attribute in ("TYPE", "TOPIC", "SCHEMA", "to_avro", "from_avro"):
        if not hasattr(message, attribute):
            raise ConfigError(
                f"{message!r} is not a message class: generate one with `python -m kantor.models`"
            )
    where = topic or message.TOPIC
    if topic is None and where.startswith("evt." if is_command else "cmd."):
        kind, use = ("an event", "on") if is_command else ("a command", "handles")
        raise ConfigError(f"{name}: {message.TYPE} is {kind} (topic {where}); declare it with .{use}(...)")
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise ConfigError(
            f"{name}: an annotation can't be read ({error}); import that name in its module"
        ) from error
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) not in (1, 2):
        raise ConfigError(
            f"{name} takes {len(parameters)} parameters; a handler takes (message) or (message, context)"
        )
    if hints.get(parameters[0], message) is not message:
        raise ConfigError(
            f"{name} is declared for {message.TYPE}, but its first parameter is {hints[parameters[0]]}"
        )
    if "return" not in hints:
        raise ConfigError(f"{name} has no return annotation; name the messages that it answers with, or None")
    answers = tuple(dict.fromkeys(_answers(name, hints["return"])))
    unknown = [type_.TYPE for type_ in declines if type_ not in answers]
    if unknown:
        raise ConfigError(
            f"{name} declines with {', '.join(unknown)}, but its return annotation doesn't name that"
        )
    check_item(name, message, item)
    return Handler(
        function=function,
        message=message,
        topic=where,
        is_command=is_command,
        wants_context=len(parameters) == 2,
        answers=answers,
        declines=frozenset(declines),
        outside=outside,
        item=item,
    )


def check_item(name: str, message: MessageType, item: str) -> None:
    """Raises ``ConfigError`` if the message has no such field."""
    known = [field["name"] for field in message.SCHEMA["fields"]]
    if item and item not in known:
        raise ConfigError(f"{name}: {message.TYPE} has no field {item} (item=); it has {', '.join(known)}")


def _answers(name: str, annotation: Any) -> list[MessageType]:
    if annotation is type(None):
        return []
    origin = typing.get_origin(annotation)
    if origin in _COMPOUND:
        parts = [part for part in typing.get_args(annotation) if part is not Ellipsis]
        return [type_ for part in parts for type_ in _answers(name, part)]
    if hasattr(annotation, "SCHEMA") and hasattr(annotation, "TOPIC"):
        return [annotation]
    raise ConfigError(
        f"{name} can return {annotation!r}, which is not a message; return messages, a list of them, or None"
    )


def confirmation(handler: Handler, confirm: Callable[[Any], Message] | None) -> Callable[[Any], Message]:
    """How to confirm the compensation ``handler`` without calling it: its answer, filled from the command by name.

    Raises ``ConfigError`` if that can't be done and no ``confirm`` was given.
    """
    if confirm is not None:
        return confirm
    remedy = f"give {handler.name} confirm=lambda command: ..."
    final = [type_ for type_ in handler.answers if type_ not in handler.declines]
    if len(final) != 1:
        raise ConfigError(
            f"{handler.name} confirms with {' or '.join(type_.TYPE for type_ in final) or 'nothing'}; {remedy}"
        )
    answer: Any = final[0]
    command: Any = handler.message
    if not all(map(dataclasses.is_dataclass, (answer, command))):
        raise ConfigError(f"{final[0].TYPE} or {handler.message.TYPE} is not a dataclass; {remedy}")
    given = {f.name: f.type for f in dataclasses.fields(command)}
    shared = []
    for wanted in dataclasses.fields(answer):
        if given.get(wanted.name) == wanted.type:
            shared.append(wanted.name)
        elif wanted.default is dataclasses.MISSING and wanted.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"{handler.message.TYPE} has no field for {answer.TYPE}.{wanted.name}; {remedy}"
            )

    def build(command: Any) -> Message:
        filled: Any = answer(**{name: getattr(command, name) for name in shared})
        return typing.cast("Message", filled)

    return build
