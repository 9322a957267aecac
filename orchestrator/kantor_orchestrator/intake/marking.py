"""Intake's part of the watermarks (``formats/watermarks.py``): answers whoever asks, once everything up to then is in the journal.

A round (watermarks-4, watermarks-9): somebody asked, at T by the broker's clock -> another thread asks the brokers which
topics exist, which ids they have and where this member's partitions end -> intake has journaled past all of it -> the member
publishes T. Without an ask there is one round in ``INTERVAL``, for those who watch the lag. Nothing here can stop intake:
what is not said now is said later.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from uuid import uuid4

from kantor.clients import Admin, Clients, Partition
from kantor.clock import Clock
from kantor.errors import KafkaUnavailableError, KantorError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.marks import About, Mark, Uncorrelated, dump_uncorrelated, fingerprint
from kantor_orchestrator.formats.watermarks import Watermarks
from kantor_orchestrator.metrics import IntakeMetrics

log = logging.getLogger("kantor.intake")

#: Seconds between rounds that nobody waits for.
INTERVAL = 10.0
#: Seconds between rounds that somebody waits for, and how many times as long as the brokers took to answer.
PAUSE, SHARE = 0.1, 5
#: Milliseconds after which a member that says nothing is forgotten, if others cover what it covered; and what it could not
#: journal, and the starts that an engine ignored.
GONE, LONG_GONE = 5 * 60_000, 24 * 3_600_000
#: Seconds to read the topic to its end.
_PATIENCE = 10.0
#: Seconds between two words on what could not be journaled.
UNCORRELATED_INTERVAL = 1.0
#: Reasons that are told apart in one topic, and topics; what is beyond is counted together.
MOST_REASONS, MOST_TOPICS = 12, 200
OTHERS = "other reasons; see intake's log"


class Refusals:
    """What could not be journaled, by topic and reason (journal-9): counted, with the latest as a sample. Bounded, whatever
    comes."""

    def __init__(self) -> None:
        self.by_topic: dict[str, dict[str, Uncorrelated]] = {}
        self.changed: set[str] = set()

    def add(self, topic: str, reason: str, sample: str, count: int = 1) -> bool:
        """Whether they are the first of their topic and reason."""
        if topic not in self.by_topic and len(self.by_topic) >= MOST_TOPICS:
            topic = "(other topics)"
        found = self.by_topic.setdefault(topic, {})
        if reason not in found and len(found) >= MOST_REASONS:
            reason = OTHERS
        before = found.get(reason)
        found[reason] = Uncorrelated(before.count + count if before else count, sample)
        self.changed.add(topic)
        return before is None


@dataclass(frozen=True, slots=True)
class Sample:
    """What the brokers said after ``at``. ``counts``: partitions of every source topic. ``took``: seconds."""

    at: int
    counts: dict[str, int]
    ids: dict[str, str]
    ends: dict[Partition, int]
    took: float


class Marker:
    """Of one member of intake; owned by its thread."""

    def __init__(
        self, clients: Clients, admin: Admin, sampler: Executor, metrics: IntakeMetrics, clock: Clock
    ) -> None:
        """``sampler`` asks the brokers while records are read."""
        self.name = f"intake-{uuid4().hex[:8]}"
        self.refusals = Refusals()
        self._admin = admin
        self._sampler = sampler
        self._metrics = metrics
        self._clock = clock
        self._watermarks = Watermarks(clients, "kantor-intake", clock)
        self._sample: Future[Sample] | None = None
        self._left: dict[Partition, int] | None = None  # ends that are not reached yet, of the sample
        self._marked = 0  # the time of the last round
        self._not_before = 0.0
        self._next_round = 0.0
        self._next_word = 0.0

    # -- rounds

    def turn(
        self,
        assignment: Callable[[], list[Partition]],
        reached: Mapping[Partition, int],
        refused: Mapping[Partition, str],
        is_news: Callable[[Mapping[str, str]], bool],
    ) -> None:
        """``reached``: everything before these offsets is in the journal. ``refused``: partitions that may not be read.
        ``is_news`` gets the topics' ids; True: the sample is of topics that were recreated, and counts for nothing."""
        self._watermarks.poll()
        now = self._clock.monotonic()
        if self._sample is None:
            told = self._watermarks.told
            if told.wanted_at != self._marked and now >= self._not_before and self._watermarks.is_read:
                self._begin(told.wanted_at, assignment(), now)
            elif now >= self._next_round:
                self._next_round = now + INTERVAL
                self._watermarks.want(self.name)
        elif self._sample.done():
            self._go_on(self._sample, reached, refused, is_news)
        if self.refusals.changed and now >= self._next_word:
            self._next_word = now + UNCORRELATED_INTERVAL
            self._tell_refusals()

    @property
    def is_urgent(self) -> bool:
        """A shard waits for a round that has just begun: look again soon."""
        return self._sample is not None and self._clock.monotonic() < self._not_before

    def drop(self) -> None:
        """What is read has changed: the round counts for nothing, and whoever asked still waits."""
        self._sample = self._left = None
        self._marked = 0

    def _begin(self, at: int, assignment: list[Partition], now: float) -> None:
        self._marked, self._left = at, None
        self._next_round = now + INTERVAL
        self._not_before = now + PAUSE
        self._sample = self._sampler.submit(self._ask, at, assignment)

    def _ask(self, at: int, assignment: list[Partition]) -> Sample:
        began = self._clock.monotonic()
        found = self._admin.topics()
        counts = {name: found[name] for name in sorted(found) if name.startswith(("evt.", "cmd."))}
        ids = self._admin.topic_ids(sorted({topic for topic, _ in assignment}))
        ends = self._admin.ends(assignment) if assignment else {}
        return Sample(at, counts, ids, ends, self._clock.monotonic() - began)

    def _go_on(
        self,
        asked: Future[Sample],
        reached: Mapping[Partition, int],
        refused: Mapping[Partition, str],
        is_news: Callable[[Mapping[str, str]], bool],
    ) -> None:
        try:
            sample = asked.result()
        except KantorError as error:
            log.warning("could not publish a watermark: %s", error, extra={"action": "watermark_failed"})
            self.drop()
            return
        left = self._left
        if left is None:
            if is_news(sample.ids):
                self.drop()
                return
            left = sample.ends
            self._not_before += SHARE * sample.took
        left = {p: end for p, end in left.items() if reached.get(p, -1) < end and p not in refused}
        self._left = left
        self._metrics.behind(sum(end - max(0, reached.get(p, 0)) for p, end in left.items()))
        if not left:  # else later: not everything that was there is in the journal yet
            self._publish(sample, refused)
            self._sample = self._left = None

    def _publish(self, sample: Sample, refused: Mapping[Partition, str]) -> None:
        told = self._watermarks.told
        about = About.of(sample.counts, (p for p in sample.ends if p not in refused)).dump()
        id_ = fingerprint(about)
        if told.members[self.name].fingerprint != id_ if self.name in told.members else True:
            self._watermarks.say(f"about/{self.name}", about)
        read = frozenset(sample.ids.values()) - topics.NO_IDS
        if told.topics_read(self.name) != read:
            self._watermarks.say(f"ids/{self.name}", json.dumps(sorted(read)).encode())
        closed = {p[0]: why for p, why in refused.items() if p in sample.ends}
        self._watermarks.say(f"mark/{self.name}", Mark(sample.at, id_, closed).dump())
        self._metrics.watermark(sample.at / 1000)
        self._forget_the_gone(sample.at)

    def _forget_the_gone(self, now: int) -> None:
        told = self._watermarks.told
        for name, member in list(told.members.items()):
            if name != self.name and now - member.said_at > GONE and told.is_superseded(member):
                self._watermarks.say(f"ids/{name}", None)
                self._watermarks.say(f"about/{name}", None)
                self._watermarks.say(f"mark/{name}", None)
        for (name, topic), found in list(told.uncorrelated.items()):
            if name not in told.members and now - max(one.at for one in found.values()) > LONG_GONE:
                self._watermarks.say(f"uncorrelated/{name}/{topic}", None)
        for (name, code), starts in list(told.ignored_starts.items()):
            if now - starts.at > LONG_GONE:
                self._watermarks.say(f"ignored/{name}/{code}", None)

    def _tell_refusals(self) -> None:
        for topic in sorted(self.refusals.changed):
            value = dump_uncorrelated(self.refusals.by_topic[topic])
            self._watermarks.say(f"uncorrelated/{self.name}/{topic}", value)
        self.refusals.changed.clear()

    # -- topics without ids

    def id_of(self, topic: str) -> str:
        """What was remembered; empty: nothing. Raises ``KafkaUnavailableError`` if that can't be told."""
        deadline = self._clock.monotonic() + _PATIENCE
        while not self._watermarks.is_read:
            if self._clock.monotonic() > deadline:
                raise KafkaUnavailableError(f"{topics.WATERMARKS} could not be read to its end")
            self._watermarks.poll()
            self._clock.sleep(0.01)
        return self._watermarks.told.ids.get(topic, "")

    def remember_id(self, topic: str, id_: bytes) -> None:
        """For all members, and those to come: what stands for this topic's id from now on."""
        self._watermarks.say(f"id/{topic}", b'"' + id_ + b'"')

    def close(self) -> None:
        """Let go of the clients, after a last word on what could not be journaled."""
        try:
            self._tell_refusals()
            self._watermarks.producer.flush(1.0)
        except KafkaUnavailableError as error:
            log.info("no last word: %s", error, extra={"action": "watermark_failed"})
        finally:
            self._watermarks.close()
