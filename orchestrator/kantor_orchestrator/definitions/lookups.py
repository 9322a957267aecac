"""What a role's own thread asks of the schema registry is asked beside it: a registry that is silent, or away, holds up whoever
needs a schema that is not known yet, and nobody else (shard-20).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from kantor.clock import Clock
from kantor.codec import MemorySchemas, SchemaStore
from kantor.errors import CodecError, RegistryUnavailableError
from kantor_orchestrator.formats import topics
from kantor_schemas import Schema, canonical_json, full_name, system

Answer = TypeVar("Answer")
Key = tuple[str, ...]

#: Seconds for which an answer is on its way; later it is late, and that is said.
SOON = 0.25
#: Seconds after which no answer is expected any more: three tries of five seconds have passed.
HANGS = 20.0
#: Seconds until a registry that can't be used is asked anything again: from, up to.
PAUSE, LONGEST_PAUSE = 0.5, 8.0
#: Seconds until a schema that is unknown, or was refused, is asked for again.
AGAIN = 1.5
#: Refusals that are remembered.
MOST = 1_000


class AskedError(RegistryUnavailableError):
    """The answer is on its way: ask again in a moment."""


@dataclass(slots=True)
class _Question:
    job: Future[Any]
    began: float  # monotonic (s)


class Lookups:
    """A ``SchemaStore`` that never waits. One owner thread.

    Raises ``AskedError`` while an answer is on its way, ``RegistryUnavailableError`` while the registry can't be used, or is late.
    After a failure there is one pause for all, then one question at a time until one is answered.
    """

    def __init__(self, schemas: SchemaStore, jobs: Executor, clock: Clock) -> None:
        """``schemas`` is asked by ``jobs``, several at a time."""
        self._schemas = schemas
        self._jobs = jobs
        self._clock = clock
        self._known: dict[Key, Any] = {}
        self._questions: dict[Key, _Question] = {}
        #: What the registry said no to, and until when that is believed (s, monotonic).
        self._refused: OrderedDict[Key, tuple[float, CodecError]] = OrderedDict()
        self._trouble = ""
        self._pause = PAUSE
        self._not_before = 0.0

    def fetch(self, schema: Schema, topic: str) -> None:
        """Ask for an id at once, and wait: before the owner's loop begins. What it stands for is known then, too. Raises what
        ``SchemaStore.id_of`` raises."""
        id_ = self._known[topic, canonical_json(schema)] = self._schemas.id_of(schema, topic)
        self._known[(str(id_),)] = schema

    def id_of(self, schema: Schema, topic: str) -> int:
        """See ``SchemaStore``."""
        key = (topic, canonical_json(schema))
        return self._answer(
            key, lambda: self._schemas.id_of(schema, topic), f"the id of {full_name(schema)} on {topic}"
        )

    def schema_of(self, id_: int | UUID) -> Schema:
        """See ``SchemaStore``."""
        return self._answer((str(id_),), lambda: self._schemas.schema_of(id_), f"schema {id_}")

    def _answer(self, key: Key, ask: Callable[[], Answer], what: str) -> Answer:
        if key in self._known:
            known: Answer = self._known[key]
            return known
        now = self._clock.monotonic()
        question = self._questions.get(key)
        if question is None:
            self._believe(key, now)
            if self._trouble and (now < self._not_before or self._is_asking(now)):
                raise RegistryUnavailableError(self._trouble)
            question = self._questions[key] = _Question(self._jobs.submit(ask), now)
        if not question.job.done():
            took = now - question.began
            if took < SOON:
                raise AskedError(f"{what} is asked for")
            late = f"the schema registry has not answered for {took:.0f} s: {what}"
            if took > HANGS:
                del self._questions[key]  # it may answer yet: nobody hears
                self._failed(late, now)
            raise RegistryUnavailableError(late)
        del self._questions[key]
        try:
            found: Answer = question.job.result()
        except RegistryUnavailableError as error:
            self._failed(str(error), now)
            raise
        except CodecError as error:
            self._works()
            self._refused[key] = now + AGAIN, error
            if len(self._refused) > MOST:
                self._refused.popitem(last=False)
            raise
        self._works()
        self._known[key] = found
        return found

    def _is_asking(self, now: float) -> bool:
        """Some answer is on its way. Whose asker never came back for it is forgotten."""
        self._questions = {key: one for key, one in self._questions.items() if now - one.began <= 2 * HANGS}
        return any(not one.job.done() for one in self._questions.values())

    def _believe(self, key: Key, now: float) -> None:
        refused = self._refused.get(key)
        if refused is not None:
            if now < refused[0]:
                raise refused[1].with_traceback(None)
            del self._refused[key]

    def _works(self) -> None:
        self._trouble, self._pause = "", PAUSE

    def _failed(self, trouble: str, now: float) -> None:
        self._trouble = trouble
        if now >= self._not_before:  # else several questions failed by one cause
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)


def beside(schemas: SchemaStore, jobs: Executor, clock: Clock) -> SchemaStore:
    """``schemas`` for a thread that waits for no registry, but now, for what an engine always writes and reads: looking for the
    timers of a shard that was just taken, it could not wait for an answer, and the shard would be retaken."""
    if isinstance(schemas, MemorySchemas):
        return schemas
    lookups = Lookups(schemas, jobs, clock)
    for name, topic in (
        ("Decision", topics.HISTORY),
        ("TransactionEnded", topics.ENDED),
        ("TransactionState", topics.STATE),
    ):
        lookups.fetch(system(name), topic)
    return lookups
