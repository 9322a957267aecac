"""``kantor view rebuild`` on a real Kafka: the new view is the old one, row by row, also of what Kafka has forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from fastapi.testclient import TestClient

from integration.test_view import (
    at_home,
    eventually,
    is_now,
    produce,
    set_up,
    viewing,
)
from integration.view_rows import differences, rows_of
from kantor.clients import Partition
from kantor.errors import KantorError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.config import Settings
from kantor_orchestrator.core.act_kinds import HOLD
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.marks import Uncorrelated
from kantor_orchestrator.view.database import InUseError, beside, for_reading
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.rebuild import Progress, rebuild
from kantor_orchestrator.view.search import Criteria
from view_places import Postgres
from view_records import Written
from view_traffic import SHARDS, Traffic
from waiting import PATIENCE


@pytest.fixture
def kafka_of_its_own(empty_kafka: str) -> KafkaSettings:
    return set_up(empty_kafka)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest, kafka_of_its_own: KafkaSettings, tmp_path: Path
) -> Iterator[Settings]:
    found = at_home(kafka_of_its_own, tmp_path)
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgresql")
        found = Settings(found.kafka, found.home, server.empty("rebuild"))
    yield found


def story(first: int, count: int, traffic: Traffic) -> list[str]:
    """Completed, compensated, open and observed ones. Answers with their ids."""
    ids = []
    for number in range(first, first + count):
        ids.append(id_ := f"r-{number}")
        (traffic.completed, traffic.compensated, traffic.order)[number % 3](id_, number)
        if number % 10 == 0:
            traffic.event(f"observed-{number}", "crm.LeadCreated")
    return ids


def go_on(traffic: Traffic, ids: list[str]) -> None:
    """Those that were open go on; one of them fails for good."""
    for place, id_ in enumerate(ids[2::3]):
        cause = traffic.event(id_, "inventory.StockReserved")
        type_ = "payment.PaymentDeclined" if place == 0 else "payment.PaymentCaptured"
        traffic.event(id_, type_, {"payment_id": "p", "reason": "no funds"}, cause=cause)
    traffic.event(
        ids[2],
        "kantor.StepFailed",
        {"code": "closed", "message": "warehouse closed", "retryable": False},
        cause=traffic.compensation_id(ids[2], "stock"),
    )


def project(settings: Settings, traffic: Traffic, since: int) -> list[Written]:
    """Write what is new and have the live view show it."""
    new = traffic.records[since:]
    produce(settings, new)
    with viewing(settings):
        ids = {key.decode() for r in new if r.topic() == topics.HISTORY and (key := r.key())}
        for id_ in sorted(ids):
            status = str(traffic._transactions[id_].status.value)
            assert eventually(settings, is_now(id_, status)), id_
        marks = [r for r in new if r.topic() == topics.JOURNAL]
        assert eventually(settings, lambda view: covers(view.positions(), settings)), marks[-1:]
    return new


def covers(positions: dict[Partition, int], settings: Settings) -> bool:
    ends = settings.kafka.admin().ends([(topics.JOURNAL, shard) for shard in range(SHARDS)])
    return all(positions.get(p, 0) >= end for p, end in ends.items())


def forget(settings: Settings, share: float) -> dict[Partition, int]:
    """Kafka deletes this share of every partition's records, as retention does. Where they begin now."""
    admin = settings.kafka.admin()
    found = admin.topics()
    ours = [(name, p) for name in found for p in range(found[name])
            if name.startswith("cmd.") or name in (topics.JOURNAL, topics.HISTORY)]  # fmt: skip
    ends = admin.ends(ours)
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    asked = [TopicPartition(t, p, int(end * share)) for (t, p), end in ends.items()]
    for future in client.delete_records(asked).values():
        future.result(PATIENCE)
    return admin.starts(ours)


def in_a_process(settings: Settings, *what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *what],
        env=os.environ
        | {
            "KANTOR_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "KANTOR_HOME": str(settings.home),
            "KANTOR_VIEW_URL": settings.view_url,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_rebuilt_view_is_the_live_one_row_by_row(settings: Settings) -> None:
    """And once more: what Kafka has forgotten meanwhile stays."""
    traffic = Traffic()
    traffic.watermark("intake-1", {"evt.x": {"why": Uncorrelated(3, "evt.x/0/1")}})
    old = story(0, 60, traffic)
    go_on(traffic, old[:30])
    traffic.hold(HOLD, "other")
    project(settings, traffic, 0)
    live = rows_of(settings.view_url)
    assert len(live["transactions"]) == 66
    told: list[Progress] = []
    first = rebuild(settings, told.append)
    assert differences(rows_of(settings.view_url), live) == []
    assert (first.kept, first.complete_from, first.records) == (0, 0, len(traffic.records))
    assert told[-1].left == 0

    before = len(traffic.records)
    assert all(start > 0 for (t, _), start in forget(settings, 0.5).items() if t == topics.JOURNAL)
    go_on(traffic, old[30:])
    story(60, 30, traffic)
    project(settings, traffic, before)
    live = rows_of(settings.view_url)
    again = rebuild(settings, told.append)
    assert differences(rows_of(settings.view_url), live) == []
    assert again.kept > 20
    assert again.complete_from == 0, "the view had read all of it before it was gone"
    assert again.records < len(traffic.records)
    third = rebuild(settings, told.append)
    assert differences(rows_of(settings.view_url), live) == []
    assert third.kept == again.kept


def test_a_new_view_of_a_shortened_log_says_from_when_it_is_complete(settings: Settings) -> None:
    """Whether it was rebuilt without an old one, or projected by the view's process."""
    traffic = Traffic()
    story(0, 40, traffic)
    produce(settings, traffic.records)
    forget(settings, 0.5)
    found = rebuild(settings, lambda _: None)
    assert found.complete_from > 0
    with View(settings.view_url) as view:
        assert view.complete_from() == found.complete_from
        started = {
            one.transaction_id: one.started_at for one in view.search(Criteria(), limit=500).transactions
        }
    assert 0 < len(started) < 44
    backend = Backend(settings)
    try:
        with TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as api:
            told = api.get("/api/v1/transactions").json()["complete_from"]
            assert datetime.fromisoformat(told).timestamp() * 1000 == found.complete_from
            page = api.get("/transactions?q=nothing-like-this").text
            assert "Kafka no longer held their records when the view was built" in page
    finally:
        backend.close()
    live = Settings(settings.kafka, settings.home, f"sqlite:///{settings.home / 'live.db'}")
    with viewing(live):
        assert eventually(live, lambda view: view.complete_from() == found.complete_from)
        assert eventually(live, lambda view: covers(view.positions(), live))
    assert differences(rows_of(live.view_url), rows_of(settings.view_url)) == []


def test_the_view_goes_on_while_it_is_rebuilt(settings: Settings) -> None:
    """Its process notices the new one, and projects on from there: nothing is missing and nothing is there twice. No reader
    ever sees less than there was."""
    traffic = Traffic()
    story(0, 30, traffic)
    produce(settings, traffic.records)
    stop, least = threading.Event(), [10**9]

    def read() -> None:
        while not stop.is_set():
            with View(settings.view_url) as view:
                least[0] = min(least[0], sum(view.counts().values()))

    with viewing(settings):
        assert eventually(settings, lambda view: sum(view.counts().values()) == 33)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for turn in range(3):
                rebuild(settings, lambda _: None)
                before = len(traffic.records)
                ids = story(30 + 30 * turn, 30, traffic)
                produce(settings, traffic.records[before:])
                assert eventually(settings, is_now(ids[0], "completed"))
        finally:
            stop.set()
            reader.join(PATIENCE)
        for id_, state in traffic._transactions.items():
            if state.saga:
                assert eventually(settings, is_now(id_, state.status.value))
        assert eventually(settings, lambda view: sum(view.counts().values()) == 132)
    assert least[0] == 33
    live = rows_of(settings.view_url)
    rebuild(settings, lambda _: None)
    assert differences(rows_of(settings.view_url), live) == []


def test_a_killed_rebuild_has_changed_nothing(settings: Settings) -> None:
    """What it built is thrown away by the next."""
    traffic = Traffic()
    story(0, 30, traffic)
    project(settings, traffic, 0)
    live = rows_of(settings.view_url)
    half = beside(settings.view_url)
    with half.writing():
        half.many("INSERT INTO holds VALUES ('half', 1, 'half', 1)", [()])
    with pytest.raises(InUseError, match=r"rebuilt already|locked"):
        rebuild(settings, lambda _: None)
    half.close()
    assert differences(rows_of(settings.view_url), live) == []
    rebuild(settings, lambda _: None)
    assert differences(rows_of(settings.view_url), live) == []
    for_reading(settings.view_url).close()


def test_a_rebuild_that_is_killed_anywhere_can_be_run_again(settings: Settings) -> None:
    """kill -9 while it projects, in the middle of the switch, and just after it: the view is whole each time, and the next
    rebuild has nothing to be mended by hand."""
    traffic = Traffic()
    story(0, 60, traffic)
    project(settings, traffic, 0)
    forget(settings, 0.3)
    live = rows_of(settings.view_url)
    is_file = settings.view_url.startswith("sqlite")
    switching = [("copy", 1), ("copy", 3)] if is_file else [("rename", 1), ("drop", 1)]
    for place, number in [("store", 1), ("store", 4), *switching]:
        killed = in_a_process(settings, "integration.killed_rebuild", place, str(number))
        assert killed.returncode == -signal.SIGKILL, (place, number, killed.stderr)
        assert differences(rows_of(settings.view_url), live) == [], (place, number)
        rebuild(settings, lambda _: None)
        assert differences(rows_of(settings.view_url), live) == [], (place, number)
    for_reading(settings.view_url).close()


def test_records_that_are_deleted_while_they_are_read_are_noticed(settings: Settings) -> None:
    """The view stays as it was; the message says what to do."""
    traffic = Traffic()
    story(0, 30, traffic)
    project(settings, traffic, 0)
    live = rows_of(settings.view_url)
    forget(settings, 0.3)
    done: list[object] = []

    def lose(progress: Progress) -> None:
        if not done:
            done.append(forget(settings, 0.9))

    with pytest.raises(KantorError, match="again"):
        rebuild(settings, lose)
    assert differences(rows_of(settings.view_url), live) == []


def test_the_command_says_what_it_did(settings: Settings) -> None:
    """Progress on stderr, the result on stdout."""
    traffic = Traffic()
    story(0, 9, traffic)
    produce(settings, traffic.records)
    done = in_a_process(settings, "kantor_orchestrator.cli.main", "view", "rebuild")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"The view has been rebuilt: {len(traffic.records)} records in ")
    assert "switching over" in done.stderr
