"""What the routes ask: the view, Kafka, the engine. No web in it; thread-safe."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from kantor.codec import Codec
from kantor.envelope import derived_id
from kantor.errors import KafkaUnavailableError, KantorError, NotFoundError
from kantor.schemas import schema_store
from kantor_orchestrator.api.payloads import Payload, Payloads
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions.bundle import Bundle
from kantor_orchestrator.definitions.catalogue import Definitions, DefinitionsTopic
from kantor_orchestrator.definitions.personal import personal_names
from kantor_orchestrator.operations.acts import Acts, Move, NoAnswerError
from kantor_orchestrator.operations.condition import Condition, inspect
from kantor_orchestrator.view.database import Location, is_shared, path_of
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.trace import Message, Trace

log = logging.getLogger("kantor.api")

#: Connections to the view, and clients that write operator actions, which are kept.
_VIEWS, _ACTS = 16, 4
#: Seconds that the platform's condition and the definitions are good for.
_FRESH, _DEFINITIONS_FRESH = 2.0, 2.0
#: Milliseconds: the view tells every two seconds how far it is, and may be two seconds behind.
_LAG = 4_000
#: Seconds that an operator action which came again waits for the view to show what became of the first one.
_CATCHING_UP = 5.0
#: Seconds that loading the definitions may take; until it is tried again.
_LOADING, _AGAIN = 5.0, 10.0


class KeyUsedError(KantorError):
    """The idempotency key belongs to another operator action."""


class Backend:
    """Close it: it keeps clients."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        url = settings.view_url
        self._path: Location = url if is_shared(url) else path_of(url)
        self._views: list[tuple[tuple[int, int], View]] = []
        self._acts: list[Acts] = []
        self._lock = threading.Lock()
        self._closed = False
        schemas = schema_store(settings.kafka, settings.registry_url)
        self.payloads = Payloads(settings.kafka, schemas)
        self._codec = Codec(schemas)
        self._definitions: Definitions | None = None
        self._defining = threading.Lock()
        self._next_definitions = float("-inf")
        self._condition: tuple[float, Condition] | None = None
        self._sign: tuple[int, float] | None = None  # the view's latest (its ms), and since when we know it
        self._inspecting = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._closed = True  # whoever still asks closes what they have themselves
            for _, view in self._views:
                view.close()
            self._views, self._acts = [], []
        self.payloads.close()
        if self._definitions is not None:
            self._definitions.close()

    # -- the view

    @contextmanager
    def view(self) -> Iterator[View]:
        """A connection to the view. Raises ``NoViewError``: nothing has been projected yet."""
        file = self.file()
        with self._lock:
            known = self._views.pop() if self._views else None
        if known is not None and known[0] != file:  # it was deleted, to be built again
            known[1].close()
            known = None
        # Lists go to whoever looks: keys that are personal data are only on the transaction's own page.
        view = View(self._path, self.personal_keys) if known is None else known[1]
        try:
            yield view
        except (NotFoundError, ValueError):
            self._keep(file, view)
            raise
        except BaseException:
            view.close()
            raise
        self._keep(file, view)

    def file(self) -> tuple[int, int]:
        """Which file the view is now; always the same for a server's database."""
        if isinstance(self._path, str):
            return 0, 0
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

    def _keep(self, file: tuple[int, int], view: View) -> None:
        with self._lock:
            if len(self._views) < _VIEWS and not self._closed:
                self._views.append((file, view))
                return
        view.close()

    def complete_until(self) -> int:
        """Up to when everything is in the view (ms), if it lags; 0: it is up to date. Raises ``NoViewError``."""
        with self.view() as view:
            seen = view.seen()
        sign = seen.get("view", 0)
        complete = seen.get("complete", sign)
        behind = self._silent_for(sign) + max(0, sign - complete)
        return complete if complete and behind > _LAG else 0

    def _silent_for(self, sign: int) -> float:
        """For how long (ms) the view has given no later sign of life than this one. Its machine may have another clock: for how
        long we have known the sign counts, not what it says. Of the first one that we see nothing else is known."""
        with self._lock:
            now = self._clock()
            if self._sign is None:
                self._sign = sign, now - max(0.0, time.time() - sign / 1000)
            elif sign != self._sign[0]:
                self._sign = sign, now
            return (now - self._sign[1]) * 1000

    def condition(self) -> Condition:
        """How the platform is: asks everybody, so the answer is kept for moments."""
        with self._inspecting:
            known = self._condition
            if known is None or self._clock() - known[0] > _FRESH:
                found = inspect(self.settings, self.view)
                known = self._condition = (self._clock(), found)
            return known[1]

    # -- definitions

    def definitions(self) -> Definitions:
        """What is deployed. Raises ``KafkaUnavailableError`` while nobody knows."""
        with self._defining:
            if self._definitions is None:
                if self._clock() < self._next_definitions:
                    raise KafkaUnavailableError("the definitions could not be read: Kafka did not answer")
                self._next_definitions = self._clock() + _AGAIN
                topic = DefinitionsTopic(self.settings.kafka, self._codec, "kantor-api-definitions")
                try:
                    self._definitions = topic.load(_LOADING)
                except BaseException:
                    topic.close()
                    raise
                self._next_definitions = self._clock() + _DEFINITIONS_FRESH
            if self._clock() >= self._next_definitions:
                self._next_definitions = self._clock() + _DEFINITIONS_FRESH
                self._definitions.refresh()
            return self._definitions

    def bundle(self, saga: str, version: int) -> Bundle | None:
        """None if there is no such definition, or nobody knows it now."""
        try:
            return self.definitions().bundle(saga, version)
        except KantorError as error:
            log.warning(
                "the definitions could not be read: %s", error, extra={"action": "definitions_unknown"}
            )
            return None

    def personal_keys(self, saga: str, version: int, names: Iterable[str]) -> frozenset[str]:
        """Which of these keys hold personal data; all of them while the definition is not known."""
        found = self.bundle(saga, version)
        if found is None:
            return frozenset(names)
        return personal_names(message.schema for message in found.messages.values()) & frozenset(names)

    # -- messages

    def message(self, story: Trace, place: str) -> tuple[Message, Payload]:
        """A message of this transaction, by where it lies (its topic, or its entry of the journal), and what is in it.

        The journal keeps copies, longer than some topics keep the originals. Raises ``NotFoundError``, ``GoneError``,
        ``KafkaUnavailableError``."""
        for message in story.timeline:
            if place in (message.origin, message.journal):
                break
        else:
            raise NotFoundError(f"transaction {story.transaction_id} has no message at {place}")
        try:
            return message, self.payloads.read(place, message.id)
        except NotFoundError:
            if not message.journal or place == message.journal:
                raise
        return message, self.payloads.read(message.journal, message.id)

    # -- operator actions

    def act(
        self,
        act: str,
        transaction_id: str,
        *,
        actor: str,
        why: str,
        step: str,
        fields: Mapping[str, Any],
        key: str,
    ) -> list[Move]:
        """As ``Acts.do``; ``key``: the operator action's id. One that is in the journal already is not written again: its transitions are
        told. Raises ``NotFoundError`` for a transaction that the engine does not know, ``KeyUsedError``, ``NoAnswerError``."""
        done = self._done(transaction_id, key, act, step, fields)
        if done:
            return done
        with self._acting() as acts:
            try:
                moves = acts.do(act, transaction_id, actor=actor, why=why, step=step, fields=fields, id_=key)
                if _was_before(moves):
                    return self._before(transaction_id, key, act, step, fields, self._clock() + _CATCHING_UP)
                return moves
            except NoAnswerError:
                done = self._done(transaction_id, key, act, step, fields)  # the same, sent twice at once
                if not done:
                    raise
                return done

    def act_on_many(
        self, act: str, ids: Iterable[str], *, actor: str, why: str, key: str
    ) -> dict[str, list[Move]]:
        """As ``Acts.do_many``. Each operator action's id is derived from ``key`` and the transaction: sent again, each is done once, and
        answered as the first time."""
        keys = {id_: derived_id(key, id_) for id_ in ids}
        with self._acting() as acts:
            found = acts.do_many(act, keys, actor=actor, why=why)
        until = self._clock() + _CATCHING_UP
        for id_ in [one for one, moves in found.items() if _was_before(moves)]:
            try:
                found[id_] = self._before(id_, keys[id_], act, "", {}, until)
            except NoAnswerError:
                del found[id_]
            except KeyUsedError as error:
                found[id_] = [move | {"code": core.IMPOSSIBLE, "reason": str(error)} for move in found[id_]]
        return found

    def act_on_saga(self, act: str, saga: str, *, actor: str, why: str, key: str) -> list[Move]:
        """As ``Acts.do_to_all``."""
        with self._acting() as acts:
            return acts.do_to_all(act, saga, actor=actor, why=why, id_=key)

    def _before(
        self, transaction_id: str, key: str, act: str, step: str, fields: Mapping[str, Any], until: float
    ) -> list[Move]:
        """As :meth:`_done`, of an operator action that the engine has had before: it may have been refused then, or have been another one, and only the
        view says so, which may be behind. Raises ``NoAnswerError`` if it does not by ``until``."""
        while not (done := self._done(transaction_id, key, act, step, fields)):
            if self._clock() >= until:
                raise NoAnswerError(
                    f"an operator action with the key {key} exists already, and the view does not show its outcome yet: ask again, or "
                    f"see `kantor trace {transaction_id}`"
                )
            time.sleep(0.1)
        return done

    def _done(
        self, transaction_id: str, key: str, act: str, step: str, fields: Mapping[str, Any]
    ) -> list[Move]:
        """What the engine made of the operator action with this id; Empty: nothing yet, or there is none, or the view is not so far. One that
        came before there was such a transaction led to nothing, and one that came again says nothing of the first."""
        try:
            with self.view() as view:
                story = view.trace(transaction_id)
        except NotFoundError:
            return []
        for message in story.timeline:
            found = said(message) if message.kind == "act" else {}
            is_it = any(move.code != core.DONE_ALREADY for move in message.moves)
            if found.get("id") == key and is_it:
                if (found.get("act"), found.get("step", "")) != (act, step):
                    raise KeyUsedError(
                        f"the key {key} belongs to another operator action: {found.get('act')}; use a new one"
                    )
                if found.get("fields", {}) != fields and not found.get("is_cut"):
                    raise KeyUsedError(
                        f"the key {key} belongs to an operator action `{act}` with other fields: use a new one"
                    )
                return [
                    {name: getattr(move, name) for name in ("kind", "at", "step", "status", "code", "reason")}
                    for move in message.moves
                ]
        return []

    @contextmanager
    def _acting(self) -> Iterator[Acts]:
        with self._lock:
            acts = self._acts.pop() if self._acts else None
        acts = acts or Acts(self.settings.kafka, self.settings.registry_url)
        try:
            yield acts
        except NoAnswerError:
            self._keep_acts(acts)
            raise
        self._keep_acts(acts)

    def _keep_acts(self, acts: Acts) -> None:
        with self._lock:
            if len(self._acts) < _ACTS and not self._closed:
                self._acts.append(acts)


def _was_before(moves: Iterable[Move]) -> bool:
    return any(move["code"] == core.DONE_ALREADY for move in moves)


def said(message: Message) -> dict[str, Any]:
    """An operator action's facts: who, what, why; empty if they can't be read."""
    try:
        found = json.loads(message.detail)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def new_key() -> str:
    """For an operator action without an idempotency key of its own."""
    return str(uuid4())
