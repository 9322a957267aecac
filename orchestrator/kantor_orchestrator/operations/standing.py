"""What holds work up that Kafka knows of: partitions without a leader, or with too few replicas in sync; and what the platform's processes say of themselves in
``sys.kantor.watermarks``, judged: which engine has which shard, up to when intake has journaled everything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kantor.clients import Partition
from kantor_orchestrator.core.decide import OLD_START_CODE
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import SKEW
from kantor_orchestrator.formats.marks import IgnoredStarts
from kantor_orchestrator.formats.watermarks import Statements
from kantor_orchestrator.operations.durability import Closed
from kantor_orchestrator.view.as_json import time
from kantor_orchestrator.words import count, duration

#: An engine that has said nothing for this long (ms) has not: it says it every 10 seconds.
SILENT = 25_000
#: A watermark that is older than this (ms), though intake was asked for one now: something holds it up.
OLD = 20_000
#: For how long (ms) it is told that a shard's topic was recreated, and that starts were ignored.
RECENT = 24 * 3_600_000
_SHARDS = (topics.JOURNAL, topics.HISTORY, topics.STATE)


_NOT_TAKEN = "ask again: engines start within seconds; if it persists, see docs/alerts.md#kantorshardnottaken"
_NOT_ALLOWED = "allow it by ACL to the user that engines log in as: docs/operations.md#roles lists what they read and write"


@dataclass(frozen=True, slots=True)
class UntakenShard:
    """A shard that no engine works on. ``engine`` empty: the group has given it to none, or none has spoken of it. ``age``:
    for how long (ms); -1: nobody knows."""

    shard: int
    engine: str
    why: str
    age: int


@dataclass(frozen=True, slots=True)
class WithoutDisk:
    """A shard whose store the disk does not take; it works all the same."""

    shard: int
    engine: str
    why: str


@dataclass(frozen=True, slots=True)
class IntakeMember:
    """A process of intake. ``complete_until``: the broker's time (ms) up to which all that it reads is journaled; ``age``: how
    long ago (ms) that is."""

    name: str
    partitions: int
    complete_until: int
    age: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """Starts that started nothing, of one kind (``IGNORED_STARTS``); ``latest``: one of them, and how long ago (ms) it was ignored."""

    kind: str
    count: int
    latest: IgnoredStarts
    age: int


@dataclass(frozen=True, slots=True)
class Standing:
    """``low``: how old (ms) the lowest watermark is, -1: there is none; ``lowest``: a partition that it is of. ``anew``: by partition,
    how long ago (ms) an engine found it to be another than before: recreated, or cut off."""

    untaken: list[UntakenShard] = field(default_factory=list)
    members: list[IntakeMember] = field(default_factory=list)
    low: int = 0
    lowest: Partition | None = None
    anew: dict[str, int] = field(default_factory=dict)
    without_disk: list[WithoutDisk] = field(default_factory=list)
    ignored_starts: list[Ignored] = field(default_factory=list)
    #: By process, how far (ms) its machine's clock is ahead of the broker's; of those that are further apart than ``SKEW``.
    apart: dict[str, int] = field(default_factory=dict)


def stand(told: Statements, shards: int, owners: Mapping[str, Collection[Partition]], now: int) -> Standing:
    """``owners``: of each member of the engines' group, what it has been given. ``now``: the broker's (ms)."""
    given = {number for places in owners.values() for topic, number in places if topic == topics.JOURNAL}
    untaken, without_disk = [], []
    for number in range(shards) if owners else ():
        found = told.engine_of(number)
        if number not in given:
            untaken.append(
                UntakenShard(number, "", "the group of engines has not assigned it to a member", -1)
            )
        elif found is None:
            untaken.append(UntakenShard(number, "", "its engine is starting and has not reported it yet", -1))
        elif number in found[1].untaken:
            since, why = found[1].untaken[number]
            untaken.append(UntakenShard(number, found[0], why, max(0, now - since)))
        elif now - found[1].at > SILENT:
            untaken.append(UntakenShard(number, found[0], "its engine has not reported", now - found[1].at))
        elif number in found[1].without_disk:
            without_disk.append(WithoutDisk(number, found[0], found[1].without_disk[number]))
    members = [
        IntakeMember(
            name,
            sum(map(len, member.about.covers.values())) if member.about is not None else 0,
            member.mark.at,
            max(0, now - member.mark.at),
        )
        for name, member in sorted(told.members.items())
        if member.mark is not None
    ]
    low = told.low()
    anew = {place: max(0, now - at) for said in told.engines.values() for place, at in said.anew.items()}
    age = max(0, now - low) if low else -1
    apart = {
        f"the engine {name}": said.clock - said.at
        for name, said in sorted(told.engines.items())
        if said.clock and now - said.at <= SILENT and is_apart(said.clock - said.at)
    }
    return Standing(untaken, members, age, told.lowest(), anew, without_disk, _ignored(told, now), apart)


def is_apart(ahead: int) -> bool:
    """Whether two clocks (ms) differ by more than they may."""
    return abs(ahead) > SKEW


def _ignored(told: Statements, now: int) -> list[Ignored]:
    """Of the last day, by kind; also what an engine told that has ended."""
    recent: dict[str, list[IgnoredStarts]] = {}
    for (_, kind), said in told.ignored_starts.items():
        if now - said.at < RECENT:
            recent.setdefault(kind, []).append(said)
    found = []
    for kind, some in sorted(recent.items()):
        latest = max(some, key=lambda one: one.at)
        found.append(Ignored(kind, sum(one.count for one in some), latest, max(0, now - latest.at)))
    return found


def clocks(apart: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Whose clock is not the broker's, what that does, and the remedy."""
    for who, ahead in apart.items():
        what = f"clocks apart: {who} has a clock that is {duration(round(abs(ahead), -3))} {'ahead of' if ahead > 0 else 'behind'} Kafka's"
        if who.startswith("the engine") and ahead < 0:
            what += ", and all timeouts of its shards fire late by as much"
        yield what, "run NTP on both machines: see docs/operations.md#clocks"


def problems(found: Standing) -> Iterator[tuple[str, str]]:
    """What is wrong, and the remedy; each shard by its name. ``found`` is of a platform whose roles run."""
    alike: dict[tuple[str, str], list[UntakenShard]] = {}
    for one in found.untaken:
        alike.setdefault((one.engine, one.why.replace(f"/{one.shard}", "/*")), []).append(one)
    for some in alike.values():
        first = some[0]
        numbers = ", ".join(str(one.shard) for one in some)
        what = f"shard {numbers} has" if len(some) == 1 else f"shards {numbers} have"
        age = max(one.age for one in some)
        since = f", for {duration(round(age, -3))}" if age >= 0 else ""
        where = f" (engine {first.engine})" if first.engine else ""
        yield (
            f"{what} no working engine{since}: {first.why}{where}",
            _NOT_ALLOWED if _is_forbidden(first.why) else _NOT_TAKEN,
        )
    if recent := {place: age for place, age in sorted(found.anew.items()) if age < RECENT}:
        yield (
            f"{', '.join(recent)} turned out to be a different topic, or to lack records that no engine had read, {duration(round(min(recent.values()), -3))} ago",
            "its former records may be missing: look for transactions that wait (`kantor list`), see docs/logs.md: journal_recreated, journal_lost",
        )
    for ignored in found.ignored_starts:
        is_one, latest = ignored.count == 1, ignored.latest
        starts = "1 start event" if is_one else f"{ignored.count:,} start events"
        by_hand = f"`kantor start {latest.transaction} --offset {latest.offset} --why ...`; `kantor list --status observed` lists them"
        if ignored.kind == OLD_START_CODE:
            why = f"came more than 24 h after {'it was' if is_one else 'they were'} sent"
            remedy = f"choreographed services may have acted on them: if a saga is to follow, {by_hand}"
        else:
            why = f"{'was' if is_one else 'were'} sent before {'its saga was' if is_one else 'their sagas were'} deployed"
            remedy = f"nothing, if no saga is to follow them (an old topic, say); otherwise {by_hand}"
        where = f"the latest is of transaction {latest.transaction} ({latest.place}), {duration(round(ignored.age, -3))} ago"
        yield f"{starts} {why}, and started nothing: {where}", remedy
    for without in found.without_disk:
        yield (
            f"shard {without.shard} works without its store on disk: {without.why} (engine {without.engine})",
            "it keeps working, with more memory; free space on that disk, or make KANTOR_HOME writable there: the store returns by itself",
        )
    if found.low < 0 or found.low > OLD:
        since = (
            "no topic is known to be journaled" if found.low < 0 else "the journal is complete only up to "
        )
        since += f"{duration(round(found.low, -3))} ago" if found.low >= 0 else " completely yet"
        place = "" if found.lowest is None else f"; {found.lowest[0]}/{found.lowest[1]} holds it up"
        yield (
            f"every timeout waits: {since}{place}",
            "ask again: intake catches up; if it persists, see its log (`watermark_failed`) and check that the partition has a leader",
        )


def _is_forbidden(why: str) -> bool:
    """Whether it is an ACL that is missing: some of librdkafka's errors have only the broker's words for it."""
    return "authorization failed" in why.lower().replace("_", " ")


def leaderless(place: Partition) -> tuple[str, str]:
    """A partition without a leader: what that means, and the remedy."""
    topic, number = place
    if topic in _SHARDS:
        waits = f"shard {number} waits"
    elif topic.startswith(("evt.", "cmd.")) or topic == topics.WATERMARKS:
        waits = "every timeout waits"
    else:
        waits = "everything that needs it waits"
    return (
        f"{topic}/{number} has no leader: nobody can read or write it, and {waits}",
        "its broker or its disk is down: `kafka-topics.sh --describe --unavailable-partitions` names it",
    )


def closed(found: Sequence[Closed]) -> Iterator[tuple[str, str]]:
    """Partitions that have too few replicas in sync: what that means, and the remedy. Those that can never have enough are told by
    topic; the others, which are many when brokers are down, as one."""
    never = {one.place[0]: one for one in found if one.replicas < one.needed}
    for topic, one in never.items():
        replicas = "1 replica" if one.replicas == 1 else f"{one.replicas} replicas"
        yield (
            f"{topic} has {replicas}, but min.insync.replicas is {one.needed}: whoever writes there waits if one is away (older brokers: always)",
            f"set min.insync.replicas={max(1, one.replicas - 1)} on {topic}, or give it more replicas",
        )
    if now := [one for one in found if one.place[0] not in never]:
        first = min(now, key=lambda one: (one.place[0] not in _SHARDS, one.place))
        names = sorted({one.place[0] for one in now})
        several = (
            f"{len(now)} partitions of {count(len(names), 'topic')} have"
            if len(now) > 1
            else "1 partition has"
        )
        of = f"{first.place[0]}/{first.place[1]} has {first.in_sync} of {first.replicas}, and needs {first.needed}"
        yield (
            f"{several} too few replicas in sync ({of}): Kafka accepts no record for them, and whoever writes there waits",
            "brokers are down or behind: `kafka-topics.sh --describe --under-min-isr-partitions` names them; what waits goes on by itself",
        )


def as_json(found: Standing) -> dict[str, Any]:
    return {
        "untaken": [
            {
                "shard": one.shard,
                "engine": one.engine or None,
                "reason": one.why,
                "age_ms": one.age if one.age >= 0 else None,
            }
            for one in found.untaken
        ],
        "recreated": [{"partition": place, "age_ms": age} for place, age in sorted(found.anew.items())],
        "without_disk": [
            {"shard": one.shard, "engine": one.engine, "reason": one.why} for one in found.without_disk
        ],
        "ignored_starts": [
            {
                "kind": one.kind,
                "count": one.count,
                "transaction": one.latest.transaction,
                "place": one.latest.place,
                "journal_offset": one.latest.offset,
                "age_ms": one.age,
            }
            for one in found.ignored_starts
        ],
        "watermark": {
            "age_ms": found.low if found.low >= 0 else None,
            "lowest": f"{found.lowest[0]}/{found.lowest[1]}" if found.lowest else None,
            "members": [
                {
                    "id": one.name,
                    "partitions": one.partitions,
                    "complete_until": time(one.complete_until),
                    "age_ms": one.age,
                }
                for one in found.members
            ],
        },
    }
