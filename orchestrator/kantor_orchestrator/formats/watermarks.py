"""Watermarks: up to which of the broker's times everything in all source topics is in the journal
(docs/design/watermarks.md).

Topic ``sys.kantor.watermarks``: compacted, one partition, stamped by the broker (LogAppendTime). Nothing else is compared
(watermarks-3): a record's own time is the producer's clock, and every process's clock may be minutes off
(shard-15). Values are JSON.

===============================  =====================================================================================
``wanted/<who>``                 somebody asks: up to now, please. Its broker time is the mark of all that answer
``mark/<member>``                everything that was in what the member covers at ``at`` is in the journal. ``about``: the
                                 fingerprint of the record that says what it covers; ``refused``: topics that it may see
                                 but not read, and why
``about/<member>``               which partitions of which topic it covers, and how many there are of each topic;
                                 written when that changes
``ids/<member>``                 the ids of the topics that it reads; written when that changes
``uncorrelated/<member>/<topic>``  by reason, what could not be journaled since the member began: count, a sample, when
``engine/<name>``                which shards that are its own an engine has taken, and since when and why it has others not
``ignored/<engine>/<kind>``      starts that started nothing, since the engine began: how many, and the latest
``shards``                       how many shards there are: written once, by the first role that starts
``id/<topic>``                   what stands for the id of a topic that was recreated, where the broker gives none
===============================  =====================================================================================

A member of intake reads that somebody asks, at T. *Then* it asks the brokers which topics exist and where each of its
partitions ends (also within open Kafka transactions), and once it has journaled past all of that it publishes T. So:

* (watermarks-5, watermarks-6) What a member said stays true, whatever becomes of the member: a partition's time is the latest
  that anybody has said of it. One that is gone holds up nobody once others cover its partitions; while nobody does, everybody
  is held up.
* (watermarks-7) The topics that existed at T are among those that a member saw after T. The lowest watermark is never later
  than the latest mark, so that mark's topics are the ones to ask for.
* (watermarks-8) Any beginning of the topic, compacted or not, tells only what is true.

Nobody asks while nothing is due, but for once in a while (``intake/marking.py``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kantor.clients import BEGINNING, Clients, Partition
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.errors import KantorError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.marks import (
    MALFORMED,
    About,
    IgnoredStarts,
    Mark,
    Shards,
    Uncorrelated,
    fingerprint,
    load_uncorrelated,
    number_of,
)

log = logging.getLogger("kantor.watermarks")

PLACE: Partition = (topics.WATERMARKS, 0)

#: The broker's clock was ahead, and is set right, if a record is stamped so much (ms) before the one that lies before it: what
#: was told of times that are still to come is forgotten then. Less than that is two brokers' clocks.
_BACK = 1_000

#: Seconds after which somebody asks again, if nobody has answered: a record may be lost with its producer.
AGAIN = 1.0
#: Seconds between two asks of one process, however many verdicts are due.
PAUSE = 0.05


@dataclass(slots=True)
class Member:
    """A process of intake, as its records tell. ``said_at``: when it said something last (ms, the broker's)."""

    mark: Mark | None = None
    said_at: int = 0
    about: About | None = None
    fingerprint: str = ""


class Statements:
    """What the topic's records tell, one after the other. No I/O, no clock."""

    def __init__(self) -> None:
        self.wanted_at = 0  # when somebody asked last
        self.is_current = (
            False  # a question was stamped while this was read: what ``observe`` heard is the broker's time
        )
        self.members: dict[str, Member] = {}
        self.uncorrelated: dict[tuple[str, str], dict[str, Uncorrelated]] = {}  # by member and topic
        self.ids: dict[str, str] = {}
        self._topics_read: dict[str, frozenset[str]] = {}  # their ids, by member
        self.engines: dict[str, Shards] = {}
        self.ignored_starts: dict[tuple[str, str], IgnoredStarts] = {}  # by engine and kind
        self.shards = 0  # 0: nobody has said how many there are
        self._times: dict[
            str, list[int]
        ] = {}  # by topic, of each partition: everything up to then is in the journal
        self._now = 0  # when the last record was written (ms)
        self._latest = 0  # the latest mark, and all topics that existed then
        self._existing: dict[str, int] = {}
        self._low: int | None = 0

    def take(self, key: bytes, value: bytes | None, at: int) -> None:
        """One record; ``at``: its broker time. Raises ``MALFORMED`` for what is none."""
        if at < self._now - _BACK:
            self._go_back(at)
        self._now = at
        kind, _, name = key.decode().partition("/")
        if kind == "wanted":
            self.wanted_at = max(self.wanted_at, at)
        elif kind == "mark":
            self._mark(name, value, at)
        elif kind == "about":
            member = self.members.setdefault(name, Member())
            if value is None:
                member.about, member.fingerprint = None, ""
            else:
                member.about, member.fingerprint = About.load(value), fingerprint(value)
                member.said_at = at
        elif kind == "uncorrelated":
            who, _, topic = name.partition("/")
            if value is None:
                self.uncorrelated.pop((who, topic), None)
            else:
                self.uncorrelated[who, topic] = load_uncorrelated(value, at)
        elif kind == "engine":
            if value is None:
                self.engines.pop(name, None)
            else:
                self.engines[name] = Shards.load(value, at)
        elif kind == "ids":
            if value is None:
                self._topics_read.pop(name, None)
            else:
                self._topics_read[name] = frozenset(map(str, json.loads(value)))
        elif kind == "ignored":
            who, _, code = name.partition("/")
            if value is None:
                self.ignored_starts.pop((who, code), None)
            else:
                self.ignored_starts[who, code] = IgnoredStarts.load(value, at)
        elif kind == "shards":
            self.shards = 0 if value is None else number_of(json.loads(value))
        elif kind == "id":
            if value is not None:
                self.ids[name] = str(json.loads(value))
        else:
            raise ValueError(f"unknown key {key!r}")

    def _go_back(self, now: int) -> None:
        """The broker's clock is set right: nothing that is told of later times says anything. The next round does."""
        self.wanted_at = min(self.wanted_at, now)
        for times in self._times.values():
            times[:] = [time if time <= now else 0 for time in times]
        for member in self.members.values():
            if member.mark is not None and member.mark.at > now:
                member.mark = None
        self._latest = 0 if self._latest > now else self._latest
        self._low = None

    def _mark(self, name: str, value: bytes | None, at: int) -> None:
        if value is None:
            self.members.pop(name, None)
            return
        mark, member = Mark.load(value), self.members.setdefault(name, Member())
        if mark.at > at + _BACK:  # it was begun while the broker's clock was ahead
            return
        member.mark, member.said_at = mark, at
        about = member.about
        if about is None or member.fingerprint != mark.about:
            return  # of what it covered before, or will: it can't be told what this is about
        for topic, partitions in about.covers.items():
            times = self._times.setdefault(topic, [])
            times += [0] * (partitions[-1] + 1 - len(times))
            for partition in partitions:
                if mark.at > times[partition]:
                    times[partition] = mark.at
        if mark.at > self._latest:
            self._latest, self._existing = mark.at, dict(about.counts)
            for topic in self._times.keys() - about.counts.keys():
                del self._times[topic]
        elif mark.at == self._latest:  # asked after the same moment: what either saw may have existed
            for topic, count in about.counts.items():
                self._existing[topic] = max(count, self._existing.get(topic, 0))
        self._low = None

    def low(self) -> int:
        """Everything that was in any source topic at this time (ms, the broker's) is in the journal; 0 if that is not known
        of some partition."""
        if self._low is None:
            self._low = min((self._lowest(*one) for one in self._existing.items()), default=self._latest)
        return self._low

    def topics_read(self, member: str = "") -> frozenset[str] | None:
        """The ids of all topics that this member reads, or anybody; None: not everybody has told."""
        if member:
            return self._topics_read.get(member)
        if not self.members or self.members.keys() - self._topics_read.keys():
            return None
        return frozenset().union(*self._topics_read.values())

    def _lowest(self, topic: str, count: int) -> int:
        times = self._times.get(topic, [])
        return min(times[:count], default=0) if len(times) >= count else 0

    def lowest(self) -> Partition | None:
        """A partition whose time is :meth:`low`; None: there is none."""
        for topic, count in self._existing.items():
            times = self._times.get(topic, [])
            for partition in range(count):
                if (times[partition] if partition < len(times) else 0) <= self.low():
                    return topic, partition
        return None

    def engine_of(self, shard: int) -> tuple[str, Shards] | None:
        """Who has said last that the shard is its own, and what; None: nobody."""
        found = [
            (said.at, name, said)
            for name, said in self.engines.items()
            if shard in said.taken or shard in said.untaken
        ]
        if not found:
            return None
        _, name, said = max(found, key=lambda one: one[:2])
        return name, said

    def is_superseded(self, member: Member) -> bool:
        """Whether others have said more of all that it covers, as far as that exists: then nobody needs it any more."""
        if member.about is None or member.mark is None or member.fingerprint != member.mark.about:
            return True
        return all(
            self._times[topic][partition] > member.mark.at
            for topic, partitions in member.about.covers.items()
            for partition in partitions
            if partition < self._existing.get(topic, 0)
        )

    def refused(self) -> dict[str, str]:
        """Topics that some member may see but not read, and why."""
        marks = [member.mark for member in self.members.values() if member.mark is not None]
        return {topic: why for mark in marks for topic, why in mark.refused.items()}


class Watermarks:
    """Reads the topic, and asks. One owner thread; nothing waits."""

    def __init__(
        self,
        clients: Clients,
        name: str,
        clock: Clock = SYSTEM_CLOCK,
        observe: Callable[[int], None] = lambda _: None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """``name``: of the clients; ``extra``: settings of its consumer. ``observe`` hears the broker's time of each record."""
        self.told = Statements()
        self._observe = observe
        self._clock = clock
        self._consumer = clients.consumer(f"{name}-watermarks", ends=True, extra=extra)
        self._consumer.assign({PLACE: BEGINNING})
        #: What it sends is soon out of date: better lost than late.
        self.producer = clients.producer(
            f"{name}-watermarks", linger_ms=0, extra={"message.timeout.ms": 5_000}
        )
        self._asked = -AGAIN  # monotonic, s
        self._asked_after = 0  # the latest ask that had been read then
        self.is_read = False  # up to an end, once

    def poll(self) -> None:
        """Take in what there is."""
        batch = self._consumer.poll(0, 1_000)
        for record in batch.records:
            at = record.timestamp()[1]
            self._observe(at)
            try:
                self.told.take(record.key() or b"", record.value(), at)
            except MALFORMED as error:
                place = f"{topics.WATERMARKS}/0/{record.offset()}"
                log.error("%s is not a watermark: %s", place, error, extra={"action": "malformed_watermark"})
        if batch.ends:
            self.is_read = True
        self.producer.poll()

    def low(self) -> int:
        """See :meth:`Statements.low`."""
        return self.told.low()

    def want(self, shard: int | str) -> None:
        """Somebody waits for a later :meth:`low`. Call it as often as you like: one ask at a time is sent, and again if
        nobody answers it."""
        now = self._clock.monotonic()
        is_read = self.told.wanted_at != self._asked_after
        is_answered = is_read and self.low() >= self.told.wanted_at
        if now - self._asked < (PAUSE if is_answered else AGAIN):
            return
        self._asked, self._asked_after = now, self.told.wanted_at
        self.say(f"wanted/{shard}", b"{}")

    @property
    def is_awaited(self) -> bool:
        """Somebody has asked just now, and not everybody has answered yet."""
        if self._clock.monotonic() - self._asked > AGAIN:
            return False
        return self.told.wanted_at == self._asked_after or self.low() < self.told.wanted_at

    def say(self, key: str, value: bytes | None) -> None:
        """Write a record; ``None``: take it back. It may be lost: what matters is said again."""
        self.producer.produce(topics.WATERMARKS, value, key.encode(), None, 0)
        self.producer.poll()

    def close(self) -> None:
        """Let go of the clients."""
        self._consumer.close()
        self.producer.purge()


def read(
    clients: Clients,
    name: str,
    clock: Clock = SYSTEM_CLOCK,
    patience: float = 10.0,
    observe: Callable[[int], None] = lambda _: None,
    *,
    asks: bool = False,
) -> Statements:
    """All that the topic tells now. ``asks``: how far intake is now, and waits a second at most for the answer; its own
    question, read back, tells ``observe`` what time it is for the broker. Raises ``KantorError`` if the topic's end is not met."""
    # An empty fetch, which brings the end, would wait 500 ms.
    reader = Watermarks(clients, name, clock, observe, {"fetch.wait.max.ms": 10})
    try:
        deadline = clock.monotonic() + patience
        while not reader.is_read:
            if clock.monotonic() > deadline:
                raise KantorError(f"{topics.WATERMARKS} could not be read to its end")
            reader.poll()
            clock.sleep(0.01)
        if asks:
            before = reader.told.wanted_at
            reader.want(name)
            while reader.is_awaited:
                reader.poll()
                clock.sleep(0.01)
            reader.told.is_current = reader.told.wanted_at > before
        return reader.told
    finally:
        reader.close()
