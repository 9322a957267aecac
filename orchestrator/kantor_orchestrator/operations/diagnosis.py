"""What is wrong with the platform, in plain words with a remedy each; it asks nobody (``condition`` did)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kantor_orchestrator.operations import deaths, standing
from kantor_orchestrator.operations.condition import MOST, OVERDUE, VIEW_SILENT, Condition
from kantor_orchestrator.view import as_json as shapes
from kantor_orchestrator.words import count, duration

#: Records behind that a role makes up for in no time.
LAG_PER_SHARD = 500


@dataclass(frozen=True, slots=True)
class StatusProblem:
    what: str
    remedy: str


def diagnose(found: Condition) -> list[StatusProblem]:
    """What is wrong, the worst first."""
    if found.broker_error:
        what = f"Kafka at {found.servers} does not answer: {found.broker_error}"
        remedy = "start it (`kantor dev start` on this machine), or correct KANTOR_BOOTSTRAP_SERVERS"
        return [StatusProblem(what, remedy), *_of_dead(found)]
    if not found.is_set_up:
        return [
            *_of_dead(found),
            StatusProblem(
                "the platform has never run on this cluster: its topics do not exist",
                "start it: `kantor run`",
            ),
        ]
    return [
        *_of_kafka(found),
        *_of_dead(found),
        *_of_roles(found),
        *_of_standing(found),
        *(
            StatusProblem(
                f"{topic} has {partitions} partitions, but there are {len(found.shards)} shards: the added partitions are not used",
                "nothing to do; other writers to the journal must not use them, either",
            )
            for topic, partitions in found.added
        ),
        *(StatusProblem(one.what, one.remedy) for one in found.unread),
        *_of_unread_decisions(found),
        *_of_unlooked(found),
        *_of_refused(found),
        *_of_holds(found),
        *_of_transactions(found),
        *_of_sources(found),
        *_of_dead_letters(found),
        *(StatusProblem(what, remedy) for what, remedy in found.weaknesses),
    ]


def _of_kafka(found: Condition) -> Iterator[StatusProblem]:
    yield from (StatusProblem(*standing.leaderless(place)) for place in found.leaderless)
    yield from (StatusProblem(*one) for one in standing.closed(found.closed))
    if found.unanswered:
        yield StatusProblem(
            f"Kafka did not answer every question, so this list is incomplete: {found.unanswered}",
            "ask again; if it persists, see the brokers' logs and the ACLs of the user who asks",
        )


def _of_dead(found: Condition) -> Iterator[StatusProblem]:
    for one in found.dead:
        times = "" if one.count == 1 else f" {one.count} times in {duration(round(deaths.RECENT) * 1_000)}"
        last = "" if one.count == 1 else ", the last time"
        since = "" if one.is_ready else "; it has not been ready since"
        ago = duration(round(one.age) * 1_000)
        yield StatusProblem(
            f"a process of {one.role} has died{times}{last} {ago} ago with {one.how}{since}",
            deaths.remedy(one),
        )


def _of_standing(found: Condition) -> Iterator[StatusProblem]:
    yield from (StatusProblem(*one) for one in standing.clocks(found.apart))
    running = {role.name for role in found.roles if role.is_running}
    if {"intake", "engine"} <= running:
        yield from (StatusProblem(*one) for one in standing.problems(found.standing))


def _of_roles(found: Condition) -> Iterator[StatusProblem]:
    for role in found.roles:
        if role.name == "view" and found.view_error:
            yield StatusProblem(
                f"transactions, incidents and holds are unknown: {found.view_error}",
                "see the view's log (`kantor run --role view` starts it, if it does not run)",
            )
        elif role.name == "view" and not role.is_running:
            yield StatusProblem(
                f"the view has not reported for {duration(VIEW_SILENT)}: {_MEANING[role.name]}",
                "if it does not run, start it (`kantor run --role view`); if it does, its log and /readyz say why it can't write to "
                "its database (`view_restarted`, `view_waits`)",
            )
        elif role.foreign:
            kept_out = "" if role.is_running else f"; {role.name} itself is not in it: {_MEANING[role.name]}"
            yield StatusProblem(
                f"the group of {role.name} has {count(len(role.foreign), 'foreign member')}: {', '.join(role.foreign)}{kept_out}",
                f"end that program: what it is assigned, {role.name} does not read, and if it assigns partitions in another way, "
                f"{role.name} can't join",
            )
        elif not role.is_running:
            yield StatusProblem(
                f"{role.name} is not running: {_MEANING[role.name]}",
                f"start it: `kantor run --role {role.name}`; if it runs, it is not in its group, and its log and /readyz say why",
            )
    for role in found.roles:
        if role.is_running and role.lag > LAG_PER_SHARD * len(found.shards):
            replica = "" if role.name == "view" else f"add a replica (`kantor run --role {role.name}`) or "
            yield StatusProblem(
                f"{role.name} is {count(role.lag, 'record')} behind",
                f"ask again; if it grows, {replica}look at its log",
            )


def _of_unread_decisions(found: Condition) -> Iterator[StatusProblem]:
    for one in found.unread_decisions:
        whose = f", of transaction {one.transaction_id}" if one.transaction_id else ""
        why, _, remedy = one.reason.rpartition("; ")
        yield StatusProblem(
            f"the view could not read {count(one.count, 'decision')} of shard {one.shard}, so what it shows of their transactions "
            f"may be wrong; the first is {one.place}{whose}: {why}",
            f"{remedy}; then `kantor view rebuild`, which reads them again",
        )


def _of_unlooked(found: Condition) -> Iterator[StatusProblem]:
    for one in found.unlooked:
        entries = f"{one.count:,} {'entry' if one.count == 1 else 'entries'} not processed, "
        entries += f"the oldest for {duration(round(one.age, -3))}"
        if one.stands:
            yield StatusProblem(
                f"shard {one.shard} is stuck at {one.position}: {entries}",
                "it may wait until Kafka accepts its messages: first mend what is told of Kafka above"
                if found.closed or found.leaderless
                else "see /readyz and the log of the engine that owns it; `kantor run` replaces a hanging engine, "
                "otherwise restart it",
            )
        else:
            yield StatusProblem(
                f"shard {one.shard}: {entries}",
                "the engine is behind: ask again; if it grows, add a replica (`kantor run --role engine`)",
            )


def _of_dead_letters(found: Condition) -> Iterator[StatusProblem]:
    for topic, letters in sorted(found.dead_letters.items()):
        yield StatusProblem(
            f"{count(letters, 'dead letter')} in {topic}: a service could not read them",
            "the headers __dlq.errors.* say what and why; fix the producer, and publish them again",
        )


def _of_transactions(found: Condition) -> Iterator[StatusProblem]:
    if found.incident_count:
        oldest = "".join(
            f", the oldest in {one.transaction_id}: {one.reason or one.kind}" for one in found.incidents[:1]
        )
        yield StatusProblem(
            f"{count(found.incident_count, 'incident')} open{oldest}",
            "see the reason with `kantor trace ID`, then decide",
        )
    if found.overdue:
        first = found.overdue[0]
        many = count(len(found.overdue), "transaction") + (" or more" if len(found.overdue) == MOST else "")
        yield StatusProblem(
            f"{many} overdue: a timer of {first.transaction_id} should have fired "
            f"more than {duration(OVERDUE)} ago",
            "timers depend on the engine, and on intake, which reports up to when the journal is complete",
        )


def _of_holds(found: Condition) -> Iterator[StatusProblem]:
    for hold in found.holds:
        option = f" --saga {hold.saga}" if hold.saga else ""
        yield StatusProblem(
            f"{hold.saga or 'every saga'} is on hold: {hold.reason}",
            f"release it when its transactions may continue: `kantor release{option} --why ...`",
        )


def _of_refused(found: Condition) -> Iterator[StatusProblem]:
    for one in found.refused:
        why, _, remedy = one.reason.partition("; ")
        yield StatusProblem(
            f"intake may see {one.topic} but not read it, so every timeout waits: {why}",
            remedy
            or "allow it (ACL READ on the topic for its principal), or hide the topic from it (no DESCRIBE) "
            "if no saga needs it",
        )


def _of_sources(found: Condition) -> Iterator[StatusProblem]:
    for topic in found.uncorrelated:
        what, _, remedy = (
            topic.reason.rpartition("; ") if "; " in topic.reason else (topic.reason, "", "fix its producer")
        )
        yield StatusProblem(
            f"{count(topic.count, 'record')} of {topic.topic} could not be journaled, so no saga receives them: {what}",
            f"{remedy}; the latest is {topic.sample}",
        )


_MEANING = {
    "intake": "no event reaches the journal",
    "engine": "no saga makes progress and nothing is compensated",
    "view": "what you see here is out of date",
}


def condition_as_json(found: Condition, problems: list[StatusProblem]) -> dict[str, Any]:
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
                "foreign_members": list(role.foreign),
                "lag_records": role.lag if role.lag >= 0 else None,
            }
            for role in found.roles
        ],
        "shards": [
            {
                "shard": shard.number,
                "journal_end": shard.end if shard.end >= 0 else None,
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
        "unread_decisions": [shapes.unread(one) for one in found.unread_decisions],
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
        "closed": [
            {
                "partition": f"{topic}/{number}",
                "in_sync": in_sync,
                "replicas": replicas,
                "min_insync_replicas": needed,
            }
            for (topic, number), in_sync, replicas, needed in found.closed
        ],
        "unread_definitions": [
            {"key": one.name, "place": one.place, "reason": one.why, "newer": one.is_newer}
            for one in found.unread
        ],
        "dead": [
            {
                "role": one.role,
                "count": one.count,
                "how": one.how,
                "age_ms": round(one.age * 1_000),
                "ready": one.is_ready,
            }
            for one in found.dead
        ],
        "unanswered": found.unanswered or None,
        "clocks_apart": [{"process": who, "ahead_ms": ahead} for who, ahead in sorted(found.apart.items())],
        **standing.as_json(found.standing),
        "holds": [shapes.hold(one) for one in found.holds],
        "overdue": [shapes.summary(one) for one in found.overdue],
        "wrong": [{"what": problem.what, "remedy": problem.remedy} for problem in problems],
    }
