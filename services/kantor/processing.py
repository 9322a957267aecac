"""From a batch of records to the records that answer it. No Kafka here: the runner delivers.

For each record, in this order (kit-9):

1. No handler for its type: skipped, by one header.
2. Unreadable (payload, transaction id, envelope): a dead letter; nothing waits for it (kit-21).
3. Answered before (inbox; what failed retryably or had expired: this very attempt): the stored answer again, caused by this
   attempt. A question about an action (``ce_asks``) has that
   action's answer; without one its own handler runs, and what that says is the action's answer from now on.
4. A compensation with nothing to reverse: confirmed without its handler, and the fence is up.
5. An action behind a fence: refused. A command past its expiry: refused (kit-18).
6. The handler runs; its answer and effects are kept together, or it failed and nothing is kept.

A command's failure is reported at once, as retryable: retries are the orchestrator's and durable (kit-19). Nobody retries an
event for us (kit-20): the handler that raises ``Retryable`` is tried again here, in rounds over what is left of the batch, so
that 500 events whose dependency is down wait together and not one after the other; what still fails is reported as final.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from kantor import letters
from kantor.calling import call, is_a_persons
from kantor.clients import Record
from kantor.codec import Codec
from kantor.envelope import attributes
from kantor.errors import (
    CodecError,
    EncodingError,
    EnvelopeError,
    KantorError,
    Retryable,
    UnreadableHeadersError,
)
from kantor.handlers import Context, Handler, MessageType
from kantor.inbox import Action, EndedError, Inbox
from kantor.incoming import Incoming
from kantor.metrics import Metrics
from kantor.reasons import printable, text_of
from kantor.records import StepFailed
from kantor.writing import Outgoing, Payload, Writer

if TYPE_CHECKING:
    from kantor.service import Service

log = logging.getLogger("kantor.service")

#: Seconds before an event's second try; doubles up to the longest pause.
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0
#: Characters of an exception that a StepFailed carries.
_MESSAGE_LENGTH = 500
#: Outcomes whose answers the inbox may have kept from before.
_KEPT = frozenset({"repeated", "confirmed"})


def _never() -> bool:
    return False


class _Again(Exception):  # noqa: N818 - no error: this record's turn comes again
    pass


class Processor:
    """Handles batches for one service. One thread."""

    def __init__(
        self,
        service: Service,
        codec: Codec,
        metrics: Metrics,
        inbox: Inbox | None = None,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        """``limits``: see ``kantor.topics.limits``. ``clock``: milliseconds since the epoch; ``timer``: seconds, as ``time.monotonic``. Makes the schemas of all answers known to readers first: raises what
        ``SchemaStore.id_of`` raises."""
        self._service = service
        self._codec = codec
        self._metrics = metrics
        self._inbox = inbox
        self._clock = clock
        self._sleep = sleep
        self._timer = timer
        if inbox is not None:
            inbox.begin_time(timer())
        self._handlers = {handler.message.TYPE.encode(): handler for handler in service.handlers}
        answers: set[MessageType] = {type_ for handler in service.handlers for type_ in handler.answers}
        types: list[MessageType] = [StepFailed, *sorted(answers, key=lambda type_: type_.TYPE)]
        self._writer = Writer(service.name, codec, types, limits)
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._observe = {h: metrics.seconds.labels(h.message.TYPE).observe for h in service.handlers}
        #: Attempts of this batch whose handler ended its SQL transaction. When the batch comes again they have failed, so that
        #: the others go on.
        self._ended: dict[str, EndedError] = {}
        #: Of the last batch: what was not handled, in the order of reading.
        self.left: list[Record] = []

    def batch(
        self,
        records: Sequence[Record],
        enough: Callable[[], bool] = lambda: False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[Outgoing]:
        """The records to produce, in the order of those that they answer. With a store, effects are committed when this
        returns.

        Once ``enough``, what is not begun is left for another batch; the first is handled in any case. Once ``stopping``, what
        is to be tried again is left, too. :attr:`left` has these.

        Raises ``StoreError`` or ``RegistryUnavailableError``: give it the same records again later; answers that were
        committed come out again.
        """
        answers: list[Sequence[Outgoing]] = [()] * len(records)
        waiting = list(enumerate(records))
        self.left = []
        deadline, pause, final = 0.0, _FIRST_PAUSE, False
        try:
            while True:
                # Committed after each round: other writers of the store need not wait for our pauses.
                with self._transaction():
                    waiting = self._round(waiting, answers, final, enough)
                    if self._inbox is not None:
                        # Twice what came in, so that it shrinks after KEEP_DAYS was made shorter.
                        self._inbox.prune(2 * len(records))
                if stopping():
                    self.left += [record for _, record in waiting]
                    break
                if not waiting:
                    break
                now = self._timer()
                enough = _never  # these have begun
                deadline = deadline or now + self._service.retry_events_for
                self._sleep(max(0.0, min(pause, deadline - now)))
                pause = min(pause * 2, _LONGEST_PAUSE)
                final = self._timer() >= deadline
        finally:
            self._metrics.count(self._outcomes)
            self._outcomes.clear()
        self._ended.clear()
        return [record for some in answers for record in some]

    def _transaction(self) -> AbstractContextManager[None]:
        return nullcontext() if self._inbox is None else self._inbox.transaction(self._timer())

    def _round(
        self,
        records: list[tuple[int, Record]],
        answers: list[Sequence[Outgoing]],
        final: bool,
        enough: Callable[[], bool],
    ) -> list[tuple[int, Record]]:
        """Handle these; those that shall be tried again, and those of the same transactions behind them (kit-10)."""
        again: list[tuple[int, Record]] = []
        held: set[bytes | None] = set()
        for number, (index, record) in enumerate(records):
            if number and enough():
                self.left += [record for _, record in records[number:]]
                break
            try:
                headers = attributes(record.headers())
            except EnvelopeError as error:
                answers[index] = self._malformed(record, error)
                continue
            if held and headers.get("ce_correlationid") in held:
                again.append((index, record))
                continue
            try:
                answers[index] = self._one(record, headers, final)
            except _Again:
                held.add(headers.get("ce_correlationid"))
                again.append((index, record))
        return again

    def _one(self, record: Record, headers: dict[str, bytes | None], final: bool) -> Sequence[Outgoing]:
        handler = self._handlers.get(headers.get("ce_type") or b"")
        if handler is None:
            self._outcomes["", "skipped"] += 1
            return ()
        try:
            message = handler.message
            payload = self._codec.decode(
                record.value(), headers, expected=message.TYPE, reader=message.SCHEMA
            )
            incoming = Incoming(handler, headers, payload)
        except (CodecError, EnvelopeError) as error:
            return [self._dead_letter(record, handler.message.TYPE, error)]
        outcome, payloads = self._answer(incoming, final)
        if outcome in _KEPT:
            payloads = self._sayable(incoming, payloads)
        self._outcomes[handler.message.TYPE, outcome] += 1
        return self._writer.answers(payloads, headers) if payloads else ()

    def _sayable(self, incoming: Incoming, payloads: list[Payload]) -> list[Payload]:
        """What the inbox has kept; or a failure that says why its topic takes it no longer. Whoever asks again when it does gets it."""
        try:
            for payload in payloads:
                self._writer.check(payload)
        except EncodingError as error:
            text, again = f"it was done, and its answer can't be told: {error}", incoming.handler.is_command
            log.error("%s: %s", incoming.transaction_id, text, extra={"action": "answer_too_large"})
            return self._failure(incoming, "too_large", text, retryable=again, unsure=True)
        return payloads

    def _malformed(self, record: Record, error: EnvelopeError) -> Sequence[Outgoing]:
        """Of which type it is may be what is not known: then it may be one of ours."""
        headers = record.headers() or ()
        types = {value or b"" for name, value in headers if name == "ce_type"}
        mine = sorted(types & self._handlers.keys())
        if not mine and not isinstance(error, UnreadableHeadersError):
            self._outcomes["", "skipped"] += 1
            return ()
        return [self._dead_letter(record, mine[0].decode() if mine else "", error)]

    def _answer(self, incoming: Incoming, final: bool) -> tuple[str, list[Payload]]:
        """What happened, and the answers."""
        now = self._clock()
        if self._inbox is not None:
            return self._answer_once(self._inbox, incoming, final, now)
        if incoming.expiry is not None and incoming.expiry < now:
            return self._expired(incoming, now)
        try:
            return self._call(incoming)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything, SystemExit too; it is reported
            return self._failed(incoming, error, final)

    def _answer_once(
        self, inbox: Inbox, incoming: Incoming, final: bool, now: int
    ) -> tuple[str, list[Payload]]:
        handler, key = incoming.handler, incoming.key
        stored = inbox.answers(key)
        asked = key if incoming.is_question else ""
        # Whoever acted and did not say how it ended can still be asked.
        if stored is not None and (stored or not asked):
            return "repeated", stored
        attempt = incoming.attempt
        if attempt != key and (stored := inbox.answers(attempt)) is not None:
            return "repeated", stored
        reverses = ""
        actions: list[str] = []
        if handler.reverses is not None:
            reverses = incoming.reverses()
            if reverses:
                action = inbox.action(reverses)
                if action == Action() and incoming.is_of_known_effect:
                    return "failed", self._unknown_effect(incoming)
                if action.effects <= action.reversals:
                    return self._confirm(inbox, incoming, reverses, action.confirmation)
        elif handler.reversed_by:
            actions = incoming.actions()
            if inbox.fenced(actions):
                return "fenced", self._failure(
                    incoming, "fenced", "its compensation came first", retryable=False
                )
        if incoming.expiry is not None and incoming.expiry < now:
            outcome, payloads = self._expired(incoming, now)
            inbox.store(attempt, payloads)
            return outcome, payloads
        if handler.outside and actions:
            inbox.begin_outside(key, actions)
        inbox.savepoint()
        try:
            if attempt in self._ended:
                raise self._ended[attempt]
            outcome, payloads = self._call(incoming)
            inbox.keep()
        except BaseException as error:  # noqa: BLE001 - as above
            try:
                reason = inbox.undo(error)
            except EndedError as ended:
                self._ended[attempt] = ended
                raise
            outcome, payloads = self._failed(incoming, reason, final, unsure=handler.outside)
            inbox.store(key if outcome == "failed" else attempt, payloads)
            return outcome, payloads
        if asked and not payloads:
            return outcome, payloads  # it can't say: the action is as it was
        inbox.store(key, payloads)
        effect = outcome == "answered"
        if asked and effect != (inbox.action(asked).effects > 0):  # now it is known
            inbox.count_effect([asked], 1 if effect else -1)
        if actions and effect != handler.outside:
            inbox.count_effect(actions, 1 if effect else -1)
        if reverses and effect:
            inbox.fence(reverses, payloads, reversed_=True)
        return outcome, payloads

    def _unknown_effect(self, incoming: Incoming) -> list[Payload]:
        """Nothing is kept: it is carried out when it comes again, and the store knows what it reverses."""
        text = (
            "what it reverses has happened, and this store knows nothing of it: it is another replica's, was lost, or is too "
            f"young; let one store serve all of {self._service.name}, and try again, or reverse it by hand"
        )
        log.error("%s: %s", incoming.transaction_id, text, extra={"action": "unknown_effect"})
        return self._failure(incoming, "unknown_effect", text, retryable=False)

    def _confirm(
        self, inbox: Inbox, incoming: Incoming, reverses: str, confirmation: list[Payload] | None
    ) -> tuple[str, list[Payload]]:
        """There is nothing (left) to reverse: confirm, and let the action never happen."""
        handler = incoming.handler
        payloads = confirmation
        if payloads is None:
            assert handler.confirm is not None
            try:
                _, payloads = self._said(handler, [handler.confirm(incoming.message)])
            except BaseException as error:  # noqa: BLE001 - the author's code
                return self._failed(incoming, error, final=True)
        inbox.fence(reverses, payloads, reversed_=False)
        inbox.store(incoming.key, payloads)
        return "confirmed", payloads

    def _expired(self, incoming: Incoming, now: int) -> tuple[str, list[Payload]]:
        text = f"it expired {now - (incoming.expiry or 0)} ms ago"
        return "expired", self._failure(incoming, "expired", text, retryable=False)

    def _call(self, incoming: Incoming) -> tuple[str, list[Payload]]:
        """Run the handler: ``answered`` or ``declined``, and its answers. Raises whatever the handler raises."""
        handler = incoming.handler
        started = time.perf_counter()
        context = [self._context(incoming)] if handler.wants_context else []
        with nullcontext() if self._inbox is None else self._inbox.given():
            answer = call(handler.function, incoming.message, *context)
        self._observe[handler](time.perf_counter() - started)
        if answer is None:
            return "answered", []
        messages = answer if isinstance(answer, list | tuple) else [answer]
        return self._said(handler, messages)

    def _context(self, incoming: Incoming) -> Context:
        db = None if self._inbox is None else self._inbox.db
        return Context(self._service.name, incoming.transaction_id, incoming.message_id, incoming.headers, db)

    def _said(self, handler: Handler, messages: Sequence[Any]) -> tuple[str, list[Payload]]:
        outcome = "declined" if handler.is_declined_by(messages) else "answered"
        now = self._clock()
        return outcome, [self._writer.encode(message, now) for message in messages]

    def _failed(
        self, incoming: Incoming, error: BaseException, final: bool, *, unsure: bool = False
    ) -> tuple[str, list[Payload]]:
        """``retryable`` or ``failed``, and what to answer. ``unsure``: no rollback reaches what it did. Raises ``_Again`` for an event that has time left, and a
        person's Ctrl-C."""
        if is_a_persons(error):
            raise error
        is_command = incoming.handler.is_command
        code, text = "error", f"{type(error).__name__}: {text_of(error)}"
        if isinstance(error, Retryable):
            if not is_command and not final:
                self._outcomes[incoming.handler.message.TYPE, "again"] += 1
                raise _Again
            code, text = error.code, text_of(error)
        log.warning(
            "%s failed: %s",
            incoming.handler.name,
            text,
            exc_info=None if isinstance(error, Retryable) else printable(error),
            extra={
                "action": "handler_failed",
                "type": incoming.handler.message.TYPE,
                "transaction_id": incoming.transaction_id,
                "message_id": incoming.message_id,
            },
        )
        outcome = "retryable" if is_command else "failed"
        return outcome, self._failure(incoming, code, text, retryable=is_command, unsure=unsure)

    def _failure(
        self, incoming: Incoming, code: str, text: str, *, retryable: bool, unsure: bool = False
    ) -> list[Payload]:
        failure = StepFailed(
            code=code,
            message=text[:_MESSAGE_LENGTH]
            .encode("utf-8", "replace")
            .decode(),  # of a file's name, it may hold surrogates
            retryable=retryable,
            handling=incoming.handler.message.TYPE,
            unsure=unsure,
        )
        return [self._writer.encode(failure, self._clock())]

    def _dead_letter(self, record: Record, type_: str, error: KantorError) -> Outgoing:
        facts = {"action": "dead_letter", "type": type_}
        log.error("dead letter %s: %s", letters.place(record), error, extra=facts)
        self._outcomes[type_, "dead"] += 1
        self._metrics.dead_letters.labels(record.topic()).inc()
        return letters.dead_letter(record, error, self._service.name)
