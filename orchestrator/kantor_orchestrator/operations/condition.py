"""How the platform is: what Kafka and the view say when they are asked. ``diagnosis`` judges it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from kantor.clients import Clients, Partition
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError, KantorError
from kantor.kafka import Admin
from kantor.schemas import schema_store
from kantor_orchestrator.config import ENGINE_GROUP, INTAKE_GROUP, VIEW_GROUP, Settings
from kantor_orchestrator.definitions import deploy as deploying
from kantor_orchestrator.definitions.unread import Unread
from kantor_orchestrator.formats import topics, watermarks
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.operations import deaths, standing
from kantor_orchestrator.operations.deaths import Dead
from kantor_orchestrator.operations.durability import Closed, closed, weaknesses
from kantor_orchestrator.operations.standing import Standing, is_apart
from kantor_orchestrator.operations.unlooked import Unlooked, unlooked
from kantor_orchestrator.view.queries import (
    Hold,
    OpenIncident,
    RefusedTopic,
    Summary,
    UncorrelatedTopic,
    UnreadDecisions,
    View,
)

log = logging.getLogger("kantor.condition")

#: The view gives a sign of life every 2 seconds (ms).
VIEW_SILENT = 15_000
#: Seconds that a view whose sign is of another time is watched, and between looks: it may be its clock.
WATCHED, _LOOK = 5.0, 0.25
#: A timer that is later than this is not just waiting for a watermark (ms).
OVERDUE = 60_000
#: Overdue transactions that are counted.
MOST = 1_000
#: Seconds for each question to the broker.
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Role:
    """``members``: partitions by process; of the view only whether it lives is known. ``lag``: records, -1 unknown.
    ``foreign``: members of the role's group that are not of Kantor."""

    name: str
    is_running: bool
    members: dict[str, int]
    lag: int
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShardCondition:
    """The journal's end, -1: it is not told; and how far engine and view have come, -1: nowhere yet."""

    number: int
    end: int
    engine: int
    view: int


@dataclass(slots=True)
class Condition:
    """What was found. ``broker_error`` empty: it answers. ``view_error`` empty: the view could be read."""

    servers: str
    broker_error: str = ""
    is_set_up: bool = True  # the platform's topics exist
    roles: list[Role] = field(default_factory=list)
    shards: list[ShardCondition] = field(default_factory=list)
    view_error: str = ""
    complete_from: int = 0  # of the view; 0: from the beginning
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: list[RefusedTopic] = field(default_factory=list)
    uncorrelated: list[UncorrelatedTopic] = field(default_factory=list)
    unread_decisions: list[UnreadDecisions] = field(default_factory=list)
    incident_count: int = 0
    incidents: list[OpenIncident] = field(default_factory=list)
    overdue: list[Summary] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    unlooked: list[Unlooked] = field(default_factory=list)
    dead_letters: dict[str, int] = field(default_factory=dict)  # by topic
    weaknesses: list[tuple[str, str]] = field(default_factory=list)  # what, and its remedy
    leaderless: list[Partition] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)  # too few replicas in sync
    standing: Standing = field(default_factory=Standing)
    #: By process, how far (ms) its machine's clock is ahead of the broker's, where that is more than it may be.
    apart: dict[str, int] = field(default_factory=dict)
    added: list[tuple[str, int]] = field(default_factory=list)  # topics with more partitions than shards
    unread: list[Unread] = field(default_factory=list)  # definitions that can't be read
    dead: list[Dead] = field(default_factory=list)  # roles that `kantor run` on this machine can't keep alive
    unanswered: str = ""  # Kafka answers, but not all that it was asked: why


Views = Callable[[], AbstractContextManager[View]]


def inspect(settings: Settings, open_view: Views, clock: Clock = SYSTEM_CLOCK) -> Condition:
    """Ask everybody. Never raises because somebody does not answer, the view included: that is part of the answer. What time
    it is, the broker says; ``clock`` does if it can't be asked."""
    found = Condition(settings.kafka.bootstrap_servers)
    found.dead = deaths.read(settings.home, clock.now() / 1_000)
    admin, existing = None, dict[str, int]()
    headless: Collection[Partition] = frozenset()
    told, time = None, BrokerTime(clock)
    try:
        admin = settings.kafka.admin("kantor-status")
        existing = admin.topics(_TIMEOUT)
        if topics.JOURNAL in existing:
            headless = admin.leaderless(_TIMEOUT)
            found.closed = closed(admin, _TIMEOUT)
            if watermarks.PLACE[0] in existing and watermarks.PLACE not in headless:
                told, time = _ask_the_time(settings.kafka, clock)
    except KantorError as error:
        if existing:
            found.unanswered = str(error)
        else:
            found.broker_error = str(error)
    lives = False
    try:
        with open_view() as view:
            seen = _ask_view(found, view, time.now())
        lives = _lives(open_view, seen, time, clock, found)
    except KantorError as error:
        found.view_error = str(error)
    if found.broker_error or admin is None:
        return found
    found.is_set_up = topics.JOURNAL in existing
    if found.is_set_up:
        try:
            _ask_kafka(found, admin, existing, settings.kafka, lives, headless, told, time)
            if topics.DEFINITIONS in existing and (topics.DEFINITIONS, 0) not in found.leaderless:
                codec = Codec(schema_store(settings.kafka, settings.registry_url))
                deployed = deploying.read(settings.kafka, codec, _TIMEOUT)
                found.unread = sorted(deployed.unread.values(), key=lambda one: one.key)
        except KantorError as error:
            found.unanswered = str(error)
    return found


def _ask_the_time(clients: Clients, clock: Clock) -> tuple[watermarks.Statements, BrokerTime]:
    """What the watermarks tell, and the broker's time: only if it has stamped a question just now, else this machine's."""
    time = BrokerTime(clock)
    told = watermarks.read(
        clients, "kantor-status", patience=_TIMEOUT, observe=time.observe, asks=True, clock=clock
    )
    return told, time if told.is_current else BrokerTime(clock)


def _lives(open_view: Views, seen: int, time: BrokerTime, clock: Clock, found: Condition) -> bool:
    """Whether the view gives signs of life. They have the time of its own machine: whether that is now, or its clock is another
    one, only the next sign tells."""
    if not seen or -VIEW_SILENT < time.now() - seen < VIEW_SILENT:
        return bool(seen)
    until = clock.monotonic() + WATCHED
    with open_view() as view:
        while clock.monotonic() < until:
            clock.sleep(_LOOK)
            sign = view.seen().get("view", 0)
            if sign != seen:
                if is_apart(sign - time.now()):
                    found.apart["the view"] = sign - time.now()
                return True
    return False


def _ask_view(found: Condition, view: View, now: int) -> int:
    """When (ms) the view's process gave its last sign of life; 0: never."""
    found.counts = view.counts()
    found.complete_from = view.complete_from()
    found.refused = view.refused()
    found.unread_decisions = view.unread()
    found.uncorrelated = view.uncorrelated()
    found.incident_count, found.incidents = view.incident_count(), view.incidents(5)
    found.overdue = view.overdue(now - OVERDUE, MOST)
    found.holds = view.holds()
    return view.seen().get("view", 0)


def _ask_kafka(
    found: Condition,
    admin: Admin,
    existing: dict[str, int],
    clients: Clients,
    view_lives: bool,
    headless: Collection[Partition],
    told: watermarks.Statements | None,
    time: BrokerTime,
) -> None:
    """Whatever a partition without a leader is needed for is left out: the others answer. So is one with too few replicas in sync,
    if it does not tell its end: a leader that has just become one can't, before another replica is there."""
    found.leaderless = sorted(place for place in headless if place[0].startswith(("evt.", "cmd.", "sys.")))

    def led(wanted: Callable[[str], bool]) -> list[Partition]:
        return [
            (name, p)
            for name, partitions in existing.items()
            if wanted(name)
            for p in range(partitions)
            if (name, p) not in headless
        ]

    asked = led(_is_read)
    try:
        ends = admin.ends(asked, _TIMEOUT)
    except KafkaUnavailableError:
        shut = {one.place for one in found.closed}
        if shut.isdisjoint(asked):
            raise
        ends = admin.ends([place for place in asked if place not in shut], _TIMEOUT)
    positions = {
        group: admin.group_offsets(group, _TIMEOUT) for group in (INTAKE_GROUP, ENGINE_GROUP, VIEW_GROUP)
    }
    read_by = {
        "intake": {p: end for p, end in ends.items() if p[0].startswith(("evt.", "cmd."))},
        "engine": {p: end for p, end in ends.items() if p[0] == topics.JOURNAL},
    }
    for name, group in (("intake", INTAKE_GROUP), ("engine", ENGINE_GROUP)):
        owners = admin.group_members(group, _TIMEOUT)
        # Its clients are called like the group.
        members = {member: len(parts) for member, parts in owners.items() if member.startswith(f"{group}@")}
        foreign = tuple(sorted(owners.keys() - members.keys()))
        lag = _lag(read_by[name], positions[group])
        found.roles.append(Role(name, bool(members), members, lag, foreign))
    read_by_view = {
        p: end for p, end in ends.items() if not p[0].startswith("evt.") and p[0] != topics.OWN_COMMANDS
    }
    lag = _lag(read_by_view, positions[VIEW_GROUP]) if not found.view_error else -1
    found.roles.append(Role("view", view_lives, {}, lag))
    shards = (told.shards if told is not None else 0) or existing[topics.JOURNAL]
    found.added = sorted(
        (name, existing[name])
        for name in (topics.JOURNAL, topics.HISTORY, topics.STATE)
        if existing.get(name, 0) > shards
    )
    for number in range(shards):
        place = (topics.JOURNAL, number)
        found.shards.append(
            ShardCondition(
                number,
                ends.get(place, -1),
                positions[ENGINE_GROUP].get(place, -1),
                positions[VIEW_GROUP].get(place, -1),
            )
        )

    if told is not None:
        found.standing = standing.stand(told, shards, owners, time.now())
        found.apart |= found.standing.apart
        if is_apart(-time.ahead()):
            found.apart["the machine that was asked"] = -time.ahead()
    journal = {place: end for place, end in ends.items() if place[0] == topics.JOURNAL}
    found.unlooked = unlooked(
        clients, journal, lambda: admin.group_offsets(ENGINE_GROUP, _TIMEOUT), time=time.now
    )
    letters = led(_is_dead)
    starts = admin.starts(letters, _TIMEOUT)
    for place, end in admin.ends(letters, _TIMEOUT).items():
        if left := end - starts.get(place, end):
            found.dead_letters[place[0]] = found.dead_letters.get(place[0], 0) + left
    try:
        found.weaknesses = weaknesses(admin, _TIMEOUT)
    except KafkaUnavailableError as error:
        # Mostly an ACL forbids it: what can't be known is not told as a fault.
        log.info("the topics' settings could not be read: %s", error, extra={"action": "settings_unknown"})


def _is_dead(topic: str) -> bool:
    return topic.startswith("dlq.")


def _is_read(topic: str) -> bool:
    return topic.startswith(("evt.", "cmd.")) or topic in (topics.JOURNAL, topics.HISTORY)


def _lag(ends: dict[Partition, int], positions: dict[Partition, int]) -> int:
    """Records not read yet. One a partition does not count: it is the mark that ends a Kafka transaction."""
    behind = (end - max(0, positions.get(partition, 0)) for partition, end in ends.items())
    return sum(lag for lag in behind if lag > 1)
