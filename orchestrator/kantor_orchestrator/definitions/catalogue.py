"""The deployed definitions, as every role sees them: what to run, what to keep, what to decode.

:class:`Definitions` is pure and takes bundles from anywhere; :class:`DefinitionsTopic` feeds it from Kafka.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple, Protocol

from kantor.clients import BEGINNING, Batch, Clients, Partition, Record
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError, RegistryUnavailableError
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import unread
from kantor_orchestrator.definitions.bundle import Bundle
from kantor_orchestrator.definitions.lookups import AskedError
from kantor_orchestrator.definitions.unread import Unread
from kantor_orchestrator.formats import topics
from kantor_schemas import Schema

log = logging.getLogger("kantor.definitions")

#: Seconds that reading the topic to its end may take in all, where entries wait for it and with them the thread; and until it is
#: tried again after that, for whichever shard.
_PATIENCE, _PAUSE = 0.5, 2.0
#: Seconds between looks at what was written with a schema that is unknown.
_LOST_AGAIN = 5.0
#: Later than anything that was sent (ms).
_NOW = 1 << 62


class Changes(NamedTuple):
    """What was deployed, the keys (``saga/version``) of what was removed, and what can't be read."""

    deployed: Sequence[Bundle] = ()
    removed: Sequence[str] = ()
    unread: Sequence[Unread] = ()


Take = Callable[[Changes], None]


class _Start(NamedTuple):
    """What an event starts that was sent before ``until`` (ms)."""

    saga: Saga
    until: int


class Source(Protocol):
    def fresh(self) -> Changes:
        """What changed since it was last asked; waits for nothing."""

    def catch_up(self, take: Take) -> bool:
        """Hand on what changed since it was last asked, up to an end that is asked for now. Whether it was met."""

    def close(self) -> None: ...


class Definitions:
    """Every deployed definition, compiled. Read the attributes afresh when ``generation`` has grown."""

    def __init__(self, deployed: Iterable[Bundle] = (), source: Source | None = None) -> None:
        #: Grows when something changed.
        self.generation = 0
        #: By event type: the fields that some saga captures. Of other types only their being such a record counts.
        self.captures: Mapping[str, frozenset[str]] = {}
        #: Every message type that means something to some saga, with the earliest deployment (ms) of those sagas.
        self.named: Mapping[str, int] = {}
        #: By key: records that can't be read. What was read under the same key before stays in force.
        self.unread: Mapping[str, Unread] = {}
        #: By message type: one of these that names it. What comes of such a type may mean something.
        self.unread_types: Mapping[str, Unread] = {}
        self._source = source
        #: Broker times (ms): up to which the caller has heard of entries, and up to which every deployment is known.
        self._heard = self._covered = 0
        self._bundles: dict[str, Bundle] = {}
        self._sagas: dict[str, Saga] = {}
        self._starting: Mapping[str, Sequence[_Start]] = {}
        self._messages: Mapping[str, bundles.Message] = {}
        self.update(deployed)

    def update(
        self, deployed: Iterable[Bundle], removed: Iterable[str] = (), unread: Iterable[Unread] = ()
    ) -> None:
        """Take in what was deployed, and drop ``removed`` (keys ``saga/version``)."""
        changed = False
        refused = dict(self.unread)
        for bundle in deployed:
            refused.pop(bundle.key, None)
            if self._bundles.get(bundle.key) != bundle:
                self._bundles[bundle.key] = bundle
                self._sagas[bundle.key] = bundles.compile_definition(bundle)
                changed = True
        for key in removed:
            refused.pop(key, None)
            changed = self._bundles.pop(key, None) is not None or changed
            self._sagas.pop(key, None)
        refused |= {one.name: one for one in unread}
        if changed or refused != self.unread:
            self.unread = refused
            self._derive()
            self.generation += 1

    def covers(self, at: int) -> bool:
        """Whether everything is known that was deployed before a broker time (ms) of something that has happened: an entry
        of the journal that the caller has read, and told of by ``refresh``.

        Whoever is about to drop an entry because no saga names its type must ask first: the definition that does may have
        been deployed a moment before it was sent. False: the topic's end could not be met; keep the entry, ask again. After
        True, what was looked up before may have changed.

        Costs a comparison, and once a turn a request to the broker: what is at the end now was deployed before now, and now
        is after everything that has been heard of.
        """
        if self._source is None or at <= self._covered:
            return True
        heard = max(self._heard, at)
        if not self._source.catch_up(lambda changes: self.update(*changes)):
            return False
        self._covered = heard
        return True

    def refresh(self, heard: int = 0) -> bool:
        """Take in what came since; waits for nothing. Whether something changed. ``heard``: the latest broker time (ms) of
        what the caller has read, for ``covers``. Raises as ``DefinitionsTopic.load``."""
        self._heard = max(self._heard, heard)
        if self._source is None:
            return False
        before = self.generation
        changes = self._source.fresh()
        if any(changes):
            self.update(*changes)
        return self.generation != before

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()

    def saga(self, name: str, version: int) -> Saga | None:
        return self._sagas.get(bundles.key_of(name, version))

    def starting_with(self, type_: str, sent: int = _NOW) -> Saga | None:
        """The saga that an event of this type, sent then (ms), starts: of each saga only the latest version starts
        anything, but what was sent before a later version gave up this start, or another saga took it over, starts
        what was in force at that time: others may have acted on it already.

        Its ``deployed_at`` is that of the first version with this start: what was sent before the latest one was
        deployed, but after the saga came into force, must still run.
        """
        found = [start for start in self._starting.get(type_, ()) if sent < start.until]
        in_force = [start for start in found if start.saga.deployed_at <= sent]
        return max(in_force or found[:1], key=lambda start: start.saga.deployed_at).saga if found else None

    def bundle(self, name: str, version: int) -> Bundle | None:
        return self._bundles.get(bundles.key_of(name, version))

    def bundles(self) -> list[Bundle]:
        """All of them, by saga and version."""
        return sorted(self._bundles.values(), key=lambda found: (found.model.saga, found.model.version))

    def latest(self) -> list[Bundle]:
        """The latest version of each saga."""
        return list({found.model.saga: found for found in self.bundles()}.values())

    def schema(self, type_: str) -> Schema | None:
        """The schema that a message type was last deployed with."""
        message = self._messages.get(type_)
        return message.schema if message else None

    def topic(self, type_: str) -> str:
        """The topic of a message type; empty if none is known."""
        message = self._messages.get(type_)
        return message.topic if message else ""

    def _in_force(self, found: Bundle) -> int:
        name, start = found.model.saga, found.model.starts_on
        return min(
            other.deployed_at
            for other in self._bundles.values()
            if other.model.saga == name and other.model.starts_on == start
        )

    def _starts(self) -> dict[str, list[_Start]]:
        """By type, the earliest first: of versions that follow each other with the same start, the last."""
        found: defaultdict[str, list[_Start]] = defaultdict(list)
        versions = self.bundles()
        for one, following in zip_longest(versions, versions[1:]):
            until = _NOW + 1
            if following is not None and following.model.saga == one.model.saga:
                if following.model.starts_on == one.model.starts_on:
                    continue
                until = following.deployed_at
            saga = replace(self._sagas[one.key], deployed_at=self._in_force(one))
            found[one.model.starts_on].append(_Start(saga, until))
        return {type_: sorted(starts, key=lambda s: s.saga.deployed_at) for type_, starts in found.items()}

    def _derive(self) -> None:
        captures: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        named: dict[str, int] = {}
        for saga in self._sagas.values():
            for type_, names in saga.captures.items():
                captures[type_] |= names
            for type_ in saga.types:
                named[type_] = min(named.get(type_, saga.deployed_at), saga.deployed_at)
        self.captures, self.named = dict(captures), named
        self.unread_types = {type_: one for one in self.unread.values() for type_ in one.types}
        self._starting = self._starts()
        by_time = sorted(self.bundles(), key=lambda found: found.deployed_at)
        self._messages = {type_: message for found in by_time for type_, message in found.messages.items()}


class DefinitionsTopic:
    """Reads ``sys.kantor.definitions``. One owner thread. What can't be read is handed on as that, and logged."""

    _PARTITION: Partition = (topics.DEFINITIONS, 0)

    def __init__(self, clients: Clients, codec: Codec, client_id: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._codec = codec
        self._clock = clock
        self._consumer = clients.consumer(client_id, ends=True)
        self._consumer.assign({self._PARTITION: BEGINNING})
        self._position = 0
        self._not_before = 0.0
        #: Records that wait for the registry, and until when they do (s, monotonic).
        self._waiting: deque[Record] = deque()
        self._waits_until = 0.0
        #: The last record of a key, if its schema is unknown; and when they are looked at again (s, monotonic).
        self._lost: dict[str, Record] = {}
        self._again_at = 0.0

    def load(self, timeout: float = 30.0) -> Definitions:
        """Everything that is deployed now; what comes later with ``Definitions.refresh``.

        Raises ``KafkaUnavailableError`` if the end is not met within ``timeout`` seconds (the topic may not exist),
        ``RegistryUnavailableError``.
        """
        definitions, is_whole = Definitions(source=self), False
        deadline = self._clock.monotonic() + timeout
        while self._clock.monotonic() < deadline:
            batch = self._consumer.poll(0.1)
            self._take(batch)
            is_whole = is_whole or self._PARTITION in batch.ends
            with suppress(AskedError):  # the rest waits for it
                definitions.update(*self._read())
                if is_whole:
                    return definitions
        raise KafkaUnavailableError(
            f"{topics.DEFINITIONS} could not be read to its end within {timeout:.0f} s"
        )

    def fresh(self) -> Changes:
        self._take(self._consumer.poll(0))
        if self._lost and not self._waiting and self._clock.monotonic() >= self._again_at:
            self._waiting += self._lost.values()
        if not self._waiting or self._clock.monotonic() < self._waits_until:
            return Changes()
        try:
            return self._read()
        except AskedError:
            return Changes()
        except RegistryUnavailableError as error:
            self._waits_until = self._clock.monotonic() + _PAUSE
            log.warning("a definition waits: %s", error, extra={"action": "definition_waits"})
            return Changes()

    def catch_up(self, take: Take) -> bool:
        """See ``Source``. Waits half a second at most, and not at all for a while after that was in vain."""
        now = self._clock.monotonic()
        if now < self._not_before:
            return False
        deadline, self._not_before = now + _PATIENCE, now + _PATIENCE + _PAUSE
        try:
            end = self._consumer.end(self._PARTITION, _PATIENCE)
        except KafkaUnavailableError:
            return False
        while self._position < end:
            if self._clock.monotonic() > deadline:
                return False
            self._take(self._consumer.poll(0.05))
        take(self.fresh())
        if self._waiting:
            return False
        self._not_before = 0.0
        return True

    def close(self) -> None:
        self._consumer.close()

    def _take(self, batch: Batch) -> None:
        for record in batch.records:
            self._position = max(self._position, record.offset() + 1)
        self._position = max(self._position, batch.ends.get(self._PARTITION, 0))
        self._waiting += batch.records

    def _read(self) -> Changes:
        """What the waiting records say, the last of each key. Raises ``RegistryUnavailableError``: all of them wait on."""
        deployed: dict[str, Bundle] = {}
        removed: dict[str, None] = {}
        refused: dict[str, Unread] = {}
        for record in self._waiting:
            key = unread.name_of(record.key())
            is_told = self._lost.get(key) is record
            found = None if record.value() is None else unread.read(record, self._codec, is_told=is_told)
            refused.pop(key, None)
            if found is None:
                deployed.pop(key, None)
                removed[key] = None
            elif isinstance(found, Bundle):
                removed.pop(key, None)
                deployed[key] = found
            else:
                refused[key] = found
        for record in self._waiting:
            key = unread.name_of(record.key())
            self._lost.pop(key, None)
            if key in refused and refused[key].is_lost:
                self._lost[key] = record
        self._waiting.clear()
        self._again_at = self._clock.monotonic() + _LOST_AGAIN
        return Changes(list(deployed.values()), list(removed), list(refused.values()))
