"""What the view makes of records that come again, in another order, or do not count (view-3, view-4)."""

from __future__ import annotations

import random

import pytest

from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.database import Location, ViewWriter
from kantor_orchestrator.view.queries import View
from unit.view_kit import projector, statuses, traced
from view_places import Places
from view_records import Written
from view_traffic import T0, Traffic, project


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_decisions_of_an_old_epoch_are_void(traffic: Traffic, places: Places, batch: int) -> None:
    """An owner that was cut off may still write: what comes after another one's epoch is as if it were not there."""
    traffic.booking("tx")
    late = decided(traffic)[-1]
    shard = late.partition()
    old = traffic.epoch(shard)
    traffic.take(shard)
    project(traffic, places("once"))
    record = traffic.codec.decode(late.value()) | {"journal_offset": 1_000}
    assert record["epoch"] == old
    traffic.decision(shard, record)
    project(traffic, places("with-a-straggler"), batch=batch)
    traffic.event("tx", "shipping.ShipmentBooked", cause=traffic.command_id("tx", "shipping"))
    project(traffic, places("with-a-straggler"), batch=batch)
    trace = traced(traffic, places("with-a-straggler"))
    assert (trace.status, [step.attempts for step in trace.steps]) == ("completed", [1, 1, 1])


@pytest.mark.parametrize("batch", [1, 100])
def test_an_entry_is_decided_on_once(traffic: Traffic, places: Places, batch: int) -> None:
    """A decision about an entry that is not behind the last one's says nothing new."""
    traffic.given_up("tx")
    project(traffic, places("once"))
    with View(places("once")) as view:
        before = view.trace("tx")
    for again in decided(traffic):
        traffic.decision(again.partition(), traffic.codec.decode(again.value()))
    project(traffic, places("twice"), batch=batch)
    with View(places("twice")) as view:
        assert view.trace("tx") == before


def test_a_history_without_its_beginning_counts(traffic: Traffic, path: Location) -> None:
    """Kafka has deleted the oldest records, with the epoch in which they were written: what is left is shown as it is."""
    traffic.given_up("tx")
    gone = {
        id(record) for record in traffic.records if record.topic() == topics.HISTORY and record.offset() < 3
    }
    traffic.records = [record for record in traffic.records if id(record) not in gone]
    trace = traced(traffic, path)
    assert (trace.saga, trace.status, trace.waiting_on) == ("checkout", "compensating", ["a person"])
    assert statuses(trace) == {"stock": "incident", "payment": "failed", "shipping": "pending"}


def test_an_epoch_whose_value_can_not_be_read_begins_all_the_same(traffic: Traffic, path: Location) -> None:
    """Its headers say what it is, as to the engine: else all that follows would be void."""
    traffic.booking("tx")
    traffic.records = [
        Written(topics.HISTORY, r.partition(), r.offset(), None, b"rubbish", r.headers() or [], T0)
        if r.topic() == topics.HISTORY and r.key() is None
        else r
        for r in traffic.records
    ]
    assert statuses(traced(traffic, path))["shipping"] == "active"


def test_an_epoch_is_remembered_though_nothing_else_comes(traffic: Traffic, path: Location) -> None:
    """The position moves past its record: whoever goes on from there must know it."""
    shard = 0
    epoch = traffic.take(shard)
    project(traffic, path)
    writer = ViewWriter(path)
    assert writer.epochs()[shard].epoch == epoch
    writer.close()


def test_a_schema_is_stored_though_nothing_came_of_its_first_record(traffic: Traffic) -> None:
    """It is told once: what is written with it later can be decoded only if it is stored now."""
    traffic.order("tx")
    void = traffic.codec.decode(decided(traffic)[0].value()) | {"journal_offset": -1}
    traffic.decision(0, void)
    changes = projector(traffic).project(traffic.records[-1:])
    assert (changes.transactions, len(changes.schemas), changes.is_news) == ([], 1, True)


def decided(traffic: Traffic) -> list[Written]:
    """The decisions in the history."""
    return [r for r in traffic.records if r.topic() == topics.HISTORY and r.key() is not None]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_restart_between_any_two_batches_changes_nothing(
    traffic: Traffic, places: Places, batch: int
) -> None:
    """What is in memory can be had from the database: the picture is the same as without restarts."""
    traffic.given_up("tx")
    traffic.compensated("other")
    project(traffic, places("at-once"))
    project(traffic, places("in-steps"), batch=batch)
    with View(places("at-once")) as one, View(places("in-steps")) as other:
        assert other.trace("tx") == one.trace("tx")
        assert other.counts() == one.counts()
        assert other.transactions() == one.transactions()


@pytest.mark.parametrize("seed", range(20))
def test_topics_may_be_read_in_any_interleaving(traffic: Traffic, places: Places, seed: int) -> None:
    """Each partition is in order; between them nothing is. The picture is the same."""
    traffic.given_up("tx")
    traffic.compensated("b")
    traffic.compensated("c")
    project(traffic, places("in-order"))
    project(traffic, places("mixed"), mixed(traffic.records, seed), batch=5)
    with View(places("in-order")) as one, View(places("mixed")) as other:
        assert [other.trace(id_) for id_ in ("tx", "b", "c")] == [one.trace(id_) for id_ in ("tx", "b", "c")]
        assert other.counts() == one.counts()


def mixed(records: list[Written], seed: int) -> list[Written]:
    """Another interleaving of the partitions, each in its order."""
    rng = random.Random(seed)
    queues: dict[tuple[str, int], list[Written]] = {}
    for record in records:
        queues.setdefault((record.topic(), record.partition()), []).append(record)
    found = []
    while queues:
        partition = rng.choice(sorted(queues))
        found.append(queues[partition].pop(0))
        if not queues[partition]:
            del queues[partition]
    return found
