"""One record with the handler that it is for, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kantor.envelope import EFFECT, KNOWN, choreographed_action, parse_rfc3339, transaction_id_of
from kantor.errors import EnvelopeError, UndecodableError
from kantor.handlers import Handler

#: Bytes of an id: an answer names it as its cause, and must stay below what topics take. The orchestrator looks at none that is
#: longer.
MAX_ID = 1024


class Incoming:
    """One readable record with its handler."""

    __slots__ = ("expiry", "handler", "headers", "item", "message", "message_id", "transaction_id")

    def __init__(
        self, handler: Handler, headers: Mapping[str, bytes | None], payload: Mapping[str, Any]
    ) -> None:
        """Raises ``EnvelopeError`` or ``UndecodableError``."""
        self.handler = handler
        self.item = str(payload.get(handler.item, "")) if handler.item else ""
        self.headers = headers
        self.transaction_id = transaction_id_of(headers)
        id_ = headers.get("ce_id")
        if not id_ or not headers.get("ce_source"):
            raise EnvelopeError("the header ce_id or ce_source is missing")
        if len(id_) > MAX_ID:
            raise EnvelopeError(f"ce_id has more than {MAX_ID} bytes")
        try:
            self.message_id = id_.decode()
            expiry = headers.get("ce_expirytime") if handler.is_command else None
            self.expiry = parse_rfc3339(expiry.decode()) if expiry else None
        except UnicodeDecodeError as error:
            raise EnvelopeError(f"an attribute is not UTF-8: {error}") from error
        try:
            self.message = handler.message.from_avro(payload)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UndecodableError(
                f"the payload does not fit {handler.message.TYPE}: {type(error).__name__}: {error}"
            ) from error

    @property
    def is_question(self) -> bool:
        """Whether it asks what has become of an action."""
        return self.handler.is_command and bool(self.headers.get("ce_asks"))

    @property
    def key(self) -> str:
        """What the inbox knows it by (kit-12): the same for whatever asks for the same thing, or tells the same fact (a
        command that was sent twice is answered twice, by two events with one key). A question has that of the action that it
        asks about."""
        if self.is_question:
            return self.headers["ce_asks"].decode("utf-8", "replace")  # type: ignore[union-attr]
        found = self.headers.get("ce_idempotencykey")
        if found and self.handler.is_command:
            return found.decode("utf-8", "replace")
        return self._of_source(found.decode("utf-8", "replace")) if found else self.attempt

    @property
    def attempt(self) -> str:
        """What the inbox knows this very message by (kit-13): each attempt of a command has an id of its own."""
        return self._of_source(self.message_id)

    def _of_source(self, name: str) -> str:
        source = self.headers["ce_source"]
        assert source is not None
        return f"{source.decode('utf-8', 'replace')}\n{name}"

    def actions(self) -> list[str]:
        """What a compensation may call this action in ``ce_reverses``: of a choreographed one, the orchestrator knows the
        event that confirms it (a step's ``succeeds_on``), which may be any answer that does not decline."""
        if self.handler.is_command:
            return [self.key]
        return self._names_of(self.handler)

    def reverses(self) -> str:
        """The action that this compensation reverses; empty: nobody says. Where there are several in one transaction, the
        orchestrator knows them by its items, the service by a field (kit-15)."""
        action = self.handler.reverses
        if action is not None and action.item:
            return next(iter(self._names_of(action)), "")
        return (self.headers.get("ce_reverses") or b"").decode("utf-8", "replace")

    @property
    def is_of_known_effect(self) -> bool:
        """Whether it compensates what is known to have happened: its orchestrator has heard of the success."""
        return self.headers.get(EFFECT) == KNOWN

    def _names_of(self, action: Handler) -> list[str]:
        return [
            choreographed_action(self.transaction_id, type_.TYPE, self.item)
            for type_ in action.answers
            if type_ not in action.declines
        ]
