"""How an engine's shards stand, for whoever watches: looked at now and then by the engine's own thread."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

from kantor.errors import KantorError
from kantor_orchestrator.config import ENGINE_GROUP
from kantor_orchestrator.core.decide import IGNORED_STARTS, OLD_START_CODE
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Transition
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Taking
from kantor_orchestrator.engine.unsent import Unsent
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.marks import IgnoredStarts, Shards
from kantor_orchestrator.formats.watermarks import Watermarks
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.process.open_files import shortage
from kantor_orchestrator.process.wellness import Wellness, out_of

log = logging.getLogger("kantor.engine")

#: Seconds between looks: nobody scrapes more often.
LOOK = 1.0
#: Seconds after which an engine says again which shards it has, though that has not changed.
SAY = 10.0
#: How often a shard is retaken at one position until that is told, and seconds between two times at most.
_FLAPS, _FLAPS_WITHIN = 3, 30.0
#: Seconds at most until such a shard is retaken.
_LONGEST = 8.0
#: How often that is doubled at most: far enough, and never more than a float holds.
_DOUBLED = 16
#: Seconds after which a shard that has an engine, and waits, is told of like one that has none.
LONG = 5.0


def look(shards: Collection[Shard], metrics: EngineMetrics, time: BrokerTime) -> None:
    now = time.now()
    metrics.ahead.set(time.ahead() / 1000)
    metrics.shards.set(len(shards))
    metrics.cached.set(sum(len(shard.transactions) for shard in shards))
    metrics.without_disk.set(sum(1 for shard in shards if shard.store_trouble))
    metrics.waiting.set(sum(1 for shard in shards if shard.not_before))
    heads = [shard.pending[0].timestamp()[1] for shard in shards if shard.pending]
    metrics.behind.set(_age(min(heads, default=now), now))
    timers = [
        due for shard in shards for due in (shard.timers.verdicts.first(), shard.timers.pauses.first()) if due
    ]
    metrics.overdue.set(_age(min(timers, default=now), now))


def tell(shards: Collection[Shard], wellness: Wellness, excused: Collection[int]) -> None:
    """How far each shard has committed. One that waits for the registry or a definition, or is ``excused``, stands still for a reason
    that is told already, and that no new process mends."""
    for shard in shards:
        name = f"shard {shard.number}"
        if shard.not_before or shard.number in excused:
            wellness.forget(name)
        else:
            place = (topics.JOURNAL, shard.number)
            wellness.position(name, shard.committed_position, shard.position, place)


@dataclass(slots=True)
class _Flaps:
    """A shard that is retaken again and again at one position."""

    position: int
    since: float  # s, monotonic, as `last`
    last: float = 0.0
    count: int = 0
    why: str = ""


class StartsIgnored:
    """Starts that started nothing, by kind (``IGNORED_STARTS``): counted in a metric and for ``kantor status``. Those that came too late
    are also in the log; the others may be all that an old cluster ever had."""

    def __init__(self, metrics: EngineMetrics) -> None:
        self._tally = metrics.tally.of(metrics.ignored_starts)
        for code in IGNORED_STARTS:
            metrics.ignored_starts.labels(code)
        self._found: dict[str, IgnoredStarts] = {}
        self._changed: set[str] = set()

    def add(self, transaction: str, move: Transition, entry: Entry) -> None:
        """``move``: that ``entry`` was ignored."""
        self._tally.append(move.code)
        if move.code == OLD_START_CODE:
            facts = {"action": "start_ignored", "transaction": transaction}
            log.warning("%s: %s", transaction, move.reason, extra=facts)
        before = self._found.get(move.code)
        count = before.count + 1 if before else 1
        self._found[move.code] = IgnoredStarts(count, transaction, entry.origin, entry.journal_offset)
        self._changed.add(move.code)

    def tell(self, watermarks: Watermarks, engine: str) -> None:
        """Say what has changed. Nobody takes it back when the engine ends: intake does, a day later."""
        for code in sorted(self._changed):
            watermarks.say(f"ignored/{engine}/{code}", self._found[code].dump())
        self._changed.clear()


class Untaken:
    """Says which shards are this engine's and not taken, or wait for long, since when and why: to its process's ``/readyz``, in a metric, and
    in the topic of watermarks, where ``kantor status`` reads it. It is never a reason to replace the engine: that
    would stop the shards that it has, and what can't be taken here can't be taken elsewhere, mostly: Kafka refuses."""

    def __init__(
        self,
        watermarks: Watermarks,
        wellness: Wellness,
        metrics: EngineMetrics,
        starts: StartsIgnored,
        unsent: Unsent,
    ) -> None:
        """``starts``: said along with it."""
        self._unsent = unsent
        self._flaps: dict[int, _Flaps] = {}
        self._engine = uuid4().hex[:8]
        self._name = f"engine/{self._engine}"
        self._starts = starts
        self._watermarks = watermarks
        self._wellness = wellness
        self._metrics = metrics
        self._said: Shards | None = None
        self._say_at = 0.0
        self._anew: dict[str, int] = {}
        self._out: dict[str, tuple[float, str]] = {}

    def joined(self) -> None:
        """The group has answered."""
        self._out = {}

    def retaken(self, shard: Shard, now: float, why: Exception) -> float:
        """It has to be retaken: how long to wait before (s). One that is so again and again, and gets no further, is told though it is
        taken each time; and as each time appends to its log, it is more and more seldom."""
        before = self._flaps.get(shard.number)
        if before is None or before.position != shard.committed_position or now - before.last > _FLAPS_WITHIN:
            before = _Flaps(shard.committed_position, now)
        before.count += 1
        before.last, before.why = now, str(why) or type(why).__name__
        self._flaps[shard.number] = before
        if before.count < _FLAPS:
            return 0.0
        return min(_LONGEST, 2.0 ** min(before.count - _FLAPS, _DOUBLED))

    def lost(self, now: float) -> None:
        """The group has lost this process; ``now``: monotonic (s)."""
        self._out = out_of(ENGINE_GROUP, now)

    def taken(self, shard: Shard, time: int) -> None:
        """A shard is taken; ``time``: the broker's (ms). What is another topic than it was, or has lost what
        nobody had read, is told for as long as the engine lives."""
        for topic in shard.recreated:
            self._metrics.recreated.labels(topic).inc()
            self._anew[f"{topic}/{shard.number}"] = time
        if shard.lost_entries:
            self._anew[f"{topics.JOURNAL}/{shard.number}"] = time

    def tell(
        self,
        shards: Mapping[int, Shard],
        taking: Mapping[int, Taking],
        now: float,
        time: int,
        clock: int,
    ) -> None:
        """``now``: monotonic (s); ``time``: the broker's, ``clock``: this machine's (ms)."""
        since = {number: now - one.since for number, one in taking.items()}
        short = (
            f"; {found}" if taking and (found := shortage()) else ""
        )  # then what Kafka's client tells misleads
        self._metrics.untaken.set(max(since.values(), default=0.0))
        unsent = self._unsent.look(shards.values(), now)
        tell(shards.values(), self._wellness, unsent)
        self._flaps = {
            number: one
            for number, one in self._flaps.items()
            if now - one.last < _FLAPS_WITHIN
            and (number in taking or (number in shards and shards[number].committed_position == one.position))
        }
        self._wellness.missing(
            {
                f"shard {number}": (one.since, f"is not taken: {one.why}{short}")
                for number, one in taking.items()
            }
            | {
                f"shard {number}": (shard.waits_since, f"waits: {shard.waits_for}")
                for number, shard in shards.items()
                if shard.waits_since
            }
            | {f"shard {number}": one for number, one in unsent.items()}
            | {
                f"shard {number}": (one.since, f"is retaken again and again at {one.position}: {one.why}")
                for number, one in self._flaps.items()
                if one.count >= _FLAPS
            }
            | self._out
        )
        stopped = {number: (since[number], f"{one.why}{short}") for number, one in taking.items()}
        for number, shard in shards.items():
            if shard.waits_since and now - shard.waits_since > LONG:
                stopped[number] = now - shard.waits_since, shard.waits_for
        before = self._said.untaken if self._said is not None else {}
        said = Shards(
            sorted(shards),
            {
                number: (before.get(number, (time - round(age * 1000), ""))[0], why)
                for number, (age, why) in sorted(stopped.items())
            },
            dict(self._anew),
            {number: shard.store_trouble for number, shard in sorted(shards.items()) if shard.store_trouble},
        )
        if said != self._said or now >= self._say_at:
            self._said, self._say_at = said, now + SAY
            self._watermarks.say(self._name, replace(said, clock=clock).dump())
        self._starts.tell(self._watermarks, self._engine)

    def close(self) -> None:
        """A last word: it has none any more. Lost with Kafka: whoever takes them says so."""
        self._watermarks.say(self._name, None)
        self._starts.tell(self._watermarks, self._engine)
        try:
            self._watermarks.producer.flush(1.0)
        except KantorError as error:
            log.info("no last word: %s", error, extra={"action": "untaken_unsaid"})


def _age(at: int, now: int) -> float:
    """Seconds since then; 0 if it is still to come."""
    return max(0.0, (now - at) / 1000)
