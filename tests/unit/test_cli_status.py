"""`kantor status`: what is judged wrong, and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kantor_orchestrator.cli import status
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.definitions.unread import Unread
from kantor_orchestrator.operations.condition import Condition, Role, ShardCondition
from kantor_orchestrator.operations.diagnosis import diagnose
from kantor_orchestrator.operations.standing import IntakeMember, Standing, UntakenShard
from kantor_orchestrator.operations.unlooked import Unlooked
from kantor_orchestrator.view.queries import OpenIncident, RefusedTopic, Summary, UncorrelatedTopic


def healthy() -> Condition:
    return Condition(
        "broker:9092",
        roles=[
            Role("intake", True, {"intake@host": 12}, 3),
            Role("engine", True, {"engine@host": 4}, 80),
            Role("view", True, {}, 0),
        ],
        shards=[ShardCondition(0, 100, 90, 95), ShardCondition(1, 50, -1, -1)],
        counts={("checkout", "completed"): 12_345, ("checkout", "running"): 2, ("", "observed"): 1},
    )


def told(found: Condition) -> str:
    return " | ".join(f"{problem.what} -> {problem.remedy}" for problem in diagnose(found))


def test_nothing_is_wrong_with_a_healthy_platform() -> None:
    """A few records behind is life."""
    assert diagnose(healthy()) == []


def test_a_broker_that_does_not_answer_is_the_only_problem() -> None:
    """Whatever else could be said is a consequence of it."""
    found = Condition("broker:9092", broker_error="timed out")
    assert len(diagnose(found)) == 1
    assert "kantor dev start" in told(found)


def test_a_cluster_without_the_platforms_topics_is_told_apart() -> None:
    """It is new; nothing is broken."""
    assert "never run on this cluster" in told(Condition("broker:9092", is_set_up=False))


@pytest.mark.parametrize("place", range(3))
def test_a_role_that_does_not_run_is_named_with_its_meaning(place: int) -> None:
    """And with how to start it."""
    found = healthy()
    name = found.roles[place].name
    found.roles[place] = Role(name, False, {}, 0)
    silent = "the view has not reported for 15 s: "  # it may run, and its database take nothing
    assert told(found).startswith(silent if name == "view" else f"{name} is not running: ")
    assert f"kantor run --role {name}" in told(found)


def test_a_foreign_member_of_a_group_is_named() -> None:
    """It takes partitions from the role, or keeps it out; then the role's log says the same."""
    found = healthy()
    found.roles[0] = replace(found.roles[0], foreign=("rogue@/10.0.0.7#1a2b3c",))
    assert told(found).startswith(
        "the group of intake has 1 foreign member: rogue@/10.0.0.7#1a2b3c -> end that program"
    )
    found.roles[0] = replace(found.roles[0], is_running=False, members={})
    assert "intake itself is not in it: no event reaches the journal" in told(found)
    assert "intake is not running" not in told(found)


def test_a_role_far_behind_is_a_problem() -> None:
    """The remedy is another replica, but for the view, of which there is one."""
    found = healthy()
    found.roles[1] = Role("engine", True, {"a": 4}, 50_000)
    assert "engine is 50,000 records behind -> ask again; if it grows, add a replica" in told(found)
    found.roles[1:] = [Role("view", True, {}, 50_000)]
    assert "replica" not in told(found)


def test_open_incidents_name_the_oldest() -> None:
    """A person must decide."""
    found = healthy()
    found.incident_count = 2
    found.incidents = [
        OpenIncident("tx-1", "checkout", "compensation_failed", "stock", "warehouse closed", 1)
    ]
    assert "2 incidents open, the oldest in tx-1: warehouse closed" in told(found)


def test_overdue_transactions_are_a_problem_of_the_timers() -> None:
    """Their timers should have gone off."""
    found = healthy()
    found.overdue = [
        Summary(
            transaction_id="tx-1",
            saga="checkout",
            version=1,
            status="running",
            waiting_on=["payment"],
            held="",
            open_steps=["payment"],
            started_at=1,
            updated_at=1,
            ended_at=0,
            due=5,
            reason="",
            last_error="",
            open_incidents=0,
        )
    ]
    assert "1 transaction overdue: a timer of tx-1" in told(found)


def test_a_topic_that_intake_may_not_read_is_told(kantor_status: pytest.MonkeyPatch) -> None:
    """It holds back every timeout: which topic, why, and the remedy; as data too."""
    found = healthy()
    found.refused = [RefusedTopic("evt.secret.v1", "Topic authorization failed", 1_000)]
    assert told(found).startswith(
        "intake may see evt.secret.v1 but not read it, so every timeout waits: "
        "Topic authorization failed -> allow it (ACL READ"
    )
    shown = json.loads(run(kantor_status, found, "--json").stdout)
    assert shown["refused"] == [
        {"topic": "evt.secret.v1", "reason": "Topic authorization failed", "at": "1970-01-01T00:00:01.000Z"}
    ]


def test_a_shard_that_stands_still_is_told_with_what_waits(kantor_status: pytest.MonkeyPatch) -> None:
    """All was well, it said, while two shards were frozen. One that moves is only behind."""
    found = healthy()
    found.unlooked = [Unlooked(1, 17, 20, 34_200, stands=True), Unlooked(2, 90, 1, 9_000, stands=False)]
    assert "shard 1 is stuck at 17: 20 entries not processed, the oldest for 34 s -> see /readyz" in told(
        found
    )
    assert "shard 2: 1 entry not processed, the oldest for 9 s -> the engine is behind" in told(found)
    (first, _) = json.loads(run(kantor_status, found, "--json").stdout)["unlooked"]
    assert first == {
        "shard": 1,
        "engine_position": 17,
        "entries": 20,
        "oldest_ms": 34_200,
        "stands_still": True,
    }


def test_engines_that_begin_are_not_well(kantor_status: pytest.MonkeyPatch) -> None:
    """All was well, it said, while no engine had a shard yet; as data, too. Without an engine, that alone is told."""
    found = healthy()
    found.standing = Standing(
        [UntakenShard(1, "ab12", "no luck", 12_400)], [IntakeMember("intake-1", 12, 1_000, 2_000)]
    )
    assert "shard 1 has no working engine, for 12 s: no luck (engine ab12) -> ask again" in told(found)
    shown = json.loads(run(kantor_status, found, "--json").stdout)
    assert shown["untaken"] == [{"shard": 1, "engine": "ab12", "reason": "no luck", "age_ms": 12_400}]
    assert shown["watermark"]["members"] == [
        {"id": "intake-1", "partitions": 12, "complete_until": "1970-01-01T00:00:01.000Z", "age_ms": 2_000}
    ]
    assert "intake-1" in run(kantor_status, found).stdout
    found.roles[1] = Role("engine", False, {}, 0)
    assert "shard 1" not in told(found)


def test_an_engine_without_a_right_is_told_where_the_rights_are_listed() -> None:
    """Kafka does not always name what it forbids; to ask again, as was the remedy, mends nothing."""
    found = healthy()
    why = "TOPIC_AUTHORIZATION_FAILED: Failed to add partition(s) to transaction"
    found.standing = Standing([UntakenShard(1, "ab12", why, 12_400)])
    assert f"{why} (engine ab12) -> allow it by ACL" in told(found)


def test_a_partition_without_a_leader_is_told_instead_of_the_cluster() -> None:
    """Kafka answers; what it does not answer is told besides."""
    found = healthy()
    found.leaderless = [("evt.x.v1", 3)]
    assert "evt.x.v1/3 has no leader" in told(found)
    assert "does not answer" not in told(found)
    found.unanswered = "timed out"
    assert "Kafka did not answer every question, so this list is incomplete: timed out" in told(found)


def test_a_definition_that_can_not_be_read_is_told_with_its_place(kantor_status: pytest.MonkeyPatch) -> None:
    """What to do depends on who wrote it."""
    found = healthy()
    place = "sys.kantor.definitions/0/7"
    found.unread = [
        Unread(place, b"checkout/3", "unknown word", is_newer=True),
        Unread(place, b"\xff", "torn"),
    ]
    assert f"the definition checkout/3 at {place} can't be read: unknown word -> a newer Kantor" in told(
        found
    )
    assert f"the definition \\xff at {place} can't be read: torn -> deploy it again" in told(found)
    shown = json.loads(run(kantor_status, found, "--json").stdout)["unread_definitions"]
    assert shown[1] == {"key": "\\xff", "place": place, "reason": "torn", "newer": False}


def test_dead_letters_are_told_by_topic(kantor_status: pytest.MonkeyPatch) -> None:
    """A service could not read them, and nobody may have noticed."""
    found = healthy()
    found.dead_letters = {"dlq.payment": 1_200, "dlq.shop": 1}
    assert "1,200 dead letters in dlq.payment: a service could not read them -> " in told(found)
    assert "1 dead letter in dlq.shop" in told(found)
    shown = json.loads(run(kantor_status, found, "--json").stdout)["dead_letters"]
    assert shown[0] == {"topic": "dlq.payment", "count": 1_200}


def test_what_the_broker_does_not_keep_is_told() -> None:
    """With the setting that mends it."""
    found = healthy()
    found.weaknesses = [("sys.kantor.state may lose records", "set this")]
    assert told(found) == "sys.kantor.state may lose records -> set this"


def test_uncorrelated_records_are_told_by_topic() -> None:
    """With a sample to look at."""
    found = healthy()
    found.uncorrelated = [UncorrelatedTopic("evt.x.v1", 3, "no id; really; set it", "evt.x.v1/0/7", 1)]
    assert (
        "3 records of evt.x.v1 could not be journaled, so no saga receives them: no id; really"
        " -> set it; the latest is evt.x.v1/0/7" in told(found)
    )


def test_a_view_that_runs_but_can_not_be_read_is_a_problem() -> None:
    """Its database is of another version, for example."""
    found = healthy()
    found.view_error = "there is no view yet"
    assert "there is no view yet" in told(found)


@pytest.fixture
def kantor_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("KANTOR_HOME", str(tmp_path))
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", "broker:9092")
    return monkeypatch


def run(monkeypatch: pytest.MonkeyPatch, found: Condition, *arguments: str, columns: str = "80") -> Result:
    monkeypatch.setattr(status, "inspect", lambda *_: found)
    return CliRunner().invoke(main, ["status", *arguments], env={"COLUMNS": columns})


@pytest.mark.parametrize("columns", ["60", "120"])
def test_a_healthy_platform_is_shown(kantor_status: pytest.MonkeyPatch, columns: str) -> None:
    """Roles, shards and sagas, within the terminal's width."""
    result = run(kantor_status, healthy(), columns=columns)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= int(columns)
    for part in ("all is well", "intake", "12,345", "checkout", "(none)", "observed"):
        assert part in result.stdout


def test_problems_are_told_and_the_exit_code_is_0(kantor_status: pytest.MonkeyPatch) -> None:
    """The question was answered."""
    found = healthy()
    found.roles[0] = Role("intake", False, {}, 0)
    result = run(kantor_status, found)
    assert result.exit_code == 0
    assert "1 problem found" in result.stdout


def test_without_a_broker_the_exit_code_is_1(kantor_status: pytest.MonkeyPatch) -> None:
    """What the view knows is told all the same."""
    found = Condition("broker:9092", broker_error="timed out", counts={("checkout", "completed"): 7})
    result = run(kantor_status, found)
    assert result.exit_code == 1
    assert "checkout" in result.stdout


def test_the_condition_as_json(kantor_status: pytest.MonkeyPatch) -> None:
    """Unknown is null."""
    found = json.loads(run(kantor_status, healthy(), "--json").stdout)
    assert found["broker"] == {"bootstrap_servers": "broker:9092", "reachable": True, "error": None}
    assert found["roles"][0] == {
        "role": "intake",
        "running": True,
        "members": [{"id": "intake@host", "partitions": 12}],
        "foreign_members": [],
        "lag_records": 3,
    }
    assert found["shards"][1] == {
        "shard": 1,
        "journal_end": 50,
        "engine_position": None,
        "view_position": None,
    }
    assert {"saga": "checkout", "status": "running", "count": 2} in found["transactions"]
    assert found["wrong"] == []


def test_without_an_address_of_kafka_the_exit_code_is_2(
    kantor_status: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message names the variable."""
    kantor_status.delenv("KANTOR_BOOTSTRAP_SERVERS")
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 2
    assert "KANTOR_BOOTSTRAP_SERVERS" in result.stderr


def test_partitions_that_were_added_are_told() -> None:
    """Nobody uses them, so nothing is wrong with the shards."""
    found = healthy()
    found.added = [("sys.kantor.journal", 5)]
    assert (
        "sys.kantor.journal has 5 partitions, but there are 2 shards: the added partitions are not used"
        in told(found)
    )


def test_what_intake_can_not_unpack_has_a_remedy_of_its_own() -> None:
    """It is no matter of rights."""
    found = healthy()
    found.refused = [
        RefusedTopic("evt.x.v1", "a batch can't be unpacked: at 1 of 6216 bytes; raise this, or that", 0)
    ]
    assert (
        "so every timeout waits: a batch can't be unpacked: at 1 of 6216 bytes -> raise this, or that"
        in told(found)
    )
