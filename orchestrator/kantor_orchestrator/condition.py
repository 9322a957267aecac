"""How the platform is, and what is wrong with it, in plain words with a remedy each.

:func:`inspect` asks Kafka and the view; :func:`diagnose` judges what it found, without asking anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kantor.clients import Clients, Partition
from kantor.clock import SYSTEM_CLOCK
from kantor.errors import KafkaUnavailableError, KantorError
from kantor.kafka import Admin
from kantor_orchestrator import standing, topics, watermarks
from kantor_orchestrator.brokertime import BrokerTime
from kantor_orchestrator.config import ENGINE_GROUP, INTAKE_GROUP, VIEW_GROUP, Settings
from kantor_orchestrator.durability import weaknesses
from kantor_orchestrator.standing import Standing
from kantor_orchestrator.unlooked import Unlooked, unlooked
from kantor_orchestrator.view import as_json as shapes
from kantor_orchestrator.view.queries import (
    Hold,
    OpenIncident,
    RefusedTopic,
    Summary,
    UncorrelatedTopic,
    View,
)
from kantor_orchestrator.words import count, duration

log = logging.getLogger("kantor.condition")

#: The view gives a sign of life every 2 seconds (ms).
VIEW_SILENT = 15_000
#: A timer that is later than this is not just waiting for a watermark (ms).
OVERDUE = 60_000
#: Overdue transactions that are counted.
MOST = 1_000
#: Records behind that a role makes up for in no time.
LAG_PER_SHARD = 500
#: Seconds for each question to the broker.
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Role:
    """``members``: partitions by process; of the view only whether it lives is known. ``lag``: records, -1 unknown."""

    name: str
    is_running: bool
    members: dict[str, int]
    lag: int


@dataclass(frozen=True, slots=True)
class Shard:
    """The journal's end, and how far engine and view have come; -1: nowhere yet."""

    number: int
    end: int
    engine: int
    view: int


@dataclass(slots=True)
class Condition:
    """What was found. ``broker_error`` empty: it answers. ``view_error`` empty: there is a view."""

    servers: str
    broker_error: str = ""
    is_set_up: bool = True  # the platform's topics exist
    roles: list[Role] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    view_error: str = ""
    complete_from: int = 0  # of the view; 0: from the beginning
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: list[RefusedTopic] = field(default_factory=list)
    uncorrelated: list[UncorrelatedTopic] = field(default_factory=list)
    incident_count: int = 0
    incidents: list[OpenIncident] = field(default_factory=list)
    overdue: list[Summary] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    unlooked: list[Unlooked] = field(default_factory=list)
    dead_letters: dict[str, int] = field(default_factory=dict)  # by topic
    weaknesses: list[tuple[str, str]] = field(default_factory=list)  # what, and its remedy
    leaderless: list[Partition] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    unanswered: str = ""  # Kafka answers, but not all that it was asked: why


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    remedy: str


def inspect(settings: Settings, view: View | None, view_error: str, now: int) -> Condition:
    """Ask everybody. Never raises because somebody does not answer: that is part of the answer."""
    found = Condition(settings.kafka.bootstrap_servers, view_error=view_error)
    seen = 0
    if view is not None:
        found.counts = view.counts()
        found.complete_from = view.complete_from()
        found.refused = view.refused()
        found.uncorrelated = view.uncorrelated()
        found.incident_count, found.incidents = view.incident_count(), view.incidents(5)
        found.overdue = view.overdue(now - OVERDUE, MOST)
        found.holds = view.holds()
        seen = view.seen().get("view", 0)
    try:
        admin = settings.kafka.admin("kantor-status")
        existing = admin.topics(_TIMEOUT)
    except KafkaUnavailableError as error:
        found.broker_error = str(error)
        return found
    found.is_set_up = topics.JOURNAL in existing
    if found.is_set_up:
        try:
            _ask_kafka(found, admin, existing, settings.kafka, view, now - seen < VIEW_SILENT)
        except KantorError as error:
            found.unanswered = str(error)
    return found


def _ask_kafka(
    found: Condition,
    admin: Admin,
    existing: dict[str, int],
    clients: Clients,
    view: View | None,
    view_lives: bool,
) -> None:
    """Whatever a partition without a leader is needed for is left out: the others answer."""
    headless = admin.leaderless(_TIMEOUT)
    found.leaderless = sorted(place for place in headless if place[0].startswith(("evt.", "cmd.", "sys.")))

    def led(wanted: Callable[[str], bool]) -> list[Partition]:
        return [
            (name, p)
            for name, partitions in existing.items()
            if wanted(name)
            for p in range(partitions)
            if (name, p) not in headless
        ]

    ends = admin.ends(led(_is_read), _TIMEOUT)
    positions = {
        group: admin.group_offsets(group, _TIMEOUT) for group in (INTAKE_GROUP, ENGINE_GROUP, VIEW_GROUP)
    }
    read_by = {
        "intake": {p: end for p, end in ends.items() if p[0].startswith(("evt.", "cmd."))},
        "engine": {p: end for p, end in ends.items() if p[0] == topics.JOURNAL},
    }
    for name, group in (("intake", INTAKE_GROUP), ("engine", ENGINE_GROUP)):
        owners = admin.group_members(group, _TIMEOUT)
        members = {member: len(parts) for member, parts in owners.items()}
        found.roles.append(Role(name, bool(members), members, _lag(read_by[name], positions[group])))
    read_by_view = {
        p: end for p, end in ends.items() if not p[0].startswith("evt.") and p[0] != topics.OWN_COMMANDS
    }
    lag = _lag(read_by_view, positions[VIEW_GROUP]) if view else -1
    found.roles.append(Role("view", view_lives, {}, lag))
    for number in range(existing[topics.JOURNAL]):
        place = (topics.JOURNAL, number)
        found.shards.append(
            Shard(
                number,
                ends.get(place, 0),
                positions[ENGINE_GROUP].get(place, -1),
                positions[VIEW_GROUP].get(place, -1),
            )
        )

    time = BrokerTime(SYSTEM_CLOCK)
    if watermarks.PLACE not in headless:
        told = watermarks.read(clients, "kantor-status", patience=_TIMEOUT, observe=time.observe, asks=True)
        found.standing = standing.stand(told, existing[topics.JOURNAL], owners, time.now())
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
    except (
        KafkaUnavailableError
    ) as error:  # mostly an ACL forbids it: what can't be known is not told as a fault
        log.info("the topics' settings are not known: %s", error, extra={"action": "settings_unknown"})


def _is_dead(topic: str) -> bool:
    return topic.startswith("dlq.")


def _is_read(topic: str) -> bool:
    return topic.startswith(("evt.", "cmd.")) or topic in (topics.JOURNAL, topics.HISTORY)


def _lag(ends: dict[Partition, int], positions: dict[Partition, int]) -> int:
    """Records not read yet. One a partition does not count: it is the mark that ends a Kafka transaction."""
    behind = (end - max(0, positions.get(partition, 0)) for partition, end in ends.items())
    return sum(lag for lag in behind if lag > 1)


def diagnose(found: Condition) -> list[Problem]:
    """What is wrong, the worst first."""
    if found.broker_error:
        what = f"Kafka at {found.servers} does not answer: {found.broker_error}"
        remedy = "start it (`kantor dev start` on this machine), or correct KANTOR_BOOTSTRAP_SERVERS"
        return [Problem(what, remedy)]
    if not found.is_set_up:
        return [Problem("the platform has never run here: its topics do not exist", "start it: `kantor run`")]
    return [
        *_of_kafka(found),
        *_of_roles(found),
        *_of_standing(found),
        *_of_unlooked(found),
        *_of_refused(found),
        *_of_holds(found),
        *_of_transactions(found),
        *_of_sources(found),
        *_of_dead_letters(found),
        *(Problem(what, remedy) for what, remedy in found.weaknesses),
    ]


def _of_kafka(found: Condition) -> Iterator[Problem]:
    yield from (Problem(*standing.leaderless(place)) for place in found.leaderless)
    if found.unanswered:
        yield Problem(
            f"Kafka answers, but not all that it was asked, so this is not all: {found.unanswered}",
            "ask again; if it stays, see the brokers' logs, and the ACLs of whoever asks",
        )


def _of_standing(found: Condition) -> Iterator[Problem]:
    running = {role.name for role in found.roles if role.is_running}
    if {"intake", "engine"} <= running:
        yield from (Problem(*one) for one in standing.problems(found.standing))


def _of_roles(found: Condition) -> Iterator[Problem]:
    for role in found.roles:
        if not role.is_running:
            yield Problem(
                f"{role.name} does not run: {_MEANING[role.name]}",
                f"start it: `kantor run --role {role.name}`",
            )
        elif role.name == "view" and found.view_error:
            yield Problem(found.view_error, "look at the view's log")
    for role in found.roles:
        if role.is_running and role.lag > LAG_PER_SHARD * len(found.shards):
            replica = "" if role.name == "view" else f"add a replica (`kantor run --role {role.name}`) or "
            yield Problem(
                f"{role.name} is {count(role.lag, 'record')} behind",
                f"ask again; if it grows, {replica}look at its log",
            )


def _of_unlooked(found: Condition) -> Iterator[Problem]:
    for one in found.unlooked:
        entries = f"{one.count:,} {'entry' if one.count == 1 else 'entries'} not looked at, "
        entries += f"the oldest {duration(round(one.age, -3))}"
        if one.stands:
            yield Problem(
                f"shard {one.shard} stands still at {one.position}: {entries}",
                "see /readyz of the engine that has it, and its log; `kantor run` replaces an engine that hangs, "
                "elsewhere restart it",
            )
        else:
            yield Problem(
                f"shard {one.shard}: {entries}",
                "the engine is behind: ask again; if it grows, add a replica (`kantor run --role engine`)",
            )


def _of_dead_letters(found: Condition) -> Iterator[Problem]:
    for topic, letters in sorted(found.dead_letters.items()):
        yield Problem(
            f"{count(letters, 'dead letter')} in {topic}: a service set them aside",
            "the headers __dlq.errors.* say what and why; fix the producer, and publish them again",
        )


def _of_transactions(found: Condition) -> Iterator[Problem]:
    if found.incident_count:
        oldest = "".join(
            f", the oldest in {one.transaction_id}: {one.reason or one.kind}" for one in found.incidents[:1]
        )
        yield Problem(
            f"{count(found.incident_count, 'incident')} open{oldest}",
            "see why: `kantor trace ID`; a person must decide",
        )
    if found.overdue:
        first = found.overdue[0]
        many = count(len(found.overdue), "transaction") + (" or more" if len(found.overdue) == MOST else "")
        yield Problem(
            f"{many} overdue: a timer of {first.transaction_id} should have gone off "
            f"more than {duration(OVERDUE)} ago",
            "timers need the engine, and intake: it tells up to when the journal is complete",
        )


def _of_holds(found: Condition) -> Iterator[Problem]:
    for hold in found.holds:
        option = f" --saga {hold.saga}" if hold.saga else ""
        yield Problem(
            f"{hold.saga or 'every saga'} stands still: {hold.reason}",
            f"when it may go on: `kantor release{option} --why ...`",
        )


def _of_refused(found: Condition) -> Iterator[Problem]:
    for one in found.refused:
        yield Problem(
            f"intake may see {one.topic} but not read it, and every timeout waits because of it: {one.reason}",
            "allow it (ACL READ on the topic for its principal), or hide the topic from it (no DESCRIBE) "
            "if no saga needs it",
        )


def _of_sources(found: Condition) -> Iterator[Problem]:
    for topic in found.uncorrelated:
        what, _, remedy = (
            topic.reason.rpartition("; ") if "; " in topic.reason else (topic.reason, "", "fix its producer")
        )
        yield Problem(
            f"{count(topic.count, 'record')} of {topic.topic} could not be journaled, so no saga hears of them: {what}",
            f"{remedy}; the latest is {topic.sample}",
        )


_MEANING = {
    "intake": "no event reaches the journal",
    "engine": "no saga goes on, nothing is compensated",
    "view": "what you see here is not up to date",
}


def condition_as_json(found: Condition, problems: list[Problem]) -> dict[str, Any]:
    return {
        "broker": {
            "bootstrap_servers": found.servers,
            "reachable": not found.broker_error,
            "error": found.broker_error or None,
        },
        "roles": [
            {
                "role": role.name,
                "running": role.is_running,
                "members": [{"id": name, "partitions": count} for name, count in role.members.items()],
                "lag_records": role.lag if role.lag >= 0 else None,
            }
            for role in found.roles
        ],
        "shards": [
            {
                "shard": shard.number,
                "journal_end": shard.end,
                "engine_position": shard.engine if shard.engine >= 0 else None,
                "view_position": shard.view if shard.view >= 0 else None,
            }
            for shard in found.shards
        ],
        "view": {"complete_from": shapes.time(found.complete_from)},
        "transactions": [
            {"saga": saga or None, "status": status, "count": count}
            for (saga, status), count in sorted(found.counts.items())
        ],
        "refused": [shapes.refused(topic) for topic in found.refused],
        "uncorrelated": [shapes.uncorrelated(topic) for topic in found.uncorrelated],
        "incidents": {
            "open": found.incident_count,
            "oldest": [shapes.open_incident(incident) for incident in found.incidents],
        },
        "unlooked": [
            {
                "shard": one.shard,
                "engine_position": one.position,
                "entries": one.count,
                "oldest_ms": one.age,
                "stands_still": one.stands,
            }
            for one in found.unlooked
        ],
        "dead_letters": [
            {"topic": topic, "count": letters} for topic, letters in sorted(found.dead_letters.items())
        ],
        "leaderless": [f"{topic}/{number}" for topic, number in found.leaderless],
        "unanswered": found.unanswered or None,
        **standing.as_json(found.standing),
        "holds": [shapes.hold(one) for one in found.holds],
        "overdue": [shapes.summary(one) for one in found.overdue],
        "wrong": [{"what": problem.what, "remedy": problem.remedy} for problem in problems],
    }
