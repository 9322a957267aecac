"""What the engine answers to an operator action on a transaction that it does not know; in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import kantor_schemas
from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.testing import MemoryBroker
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.dsl import Saga
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import is_epoch
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.operations.acts import moves_of, refusal
from unit.core_kit import EXAMPLE
from unit.intake_kit import AtOnce

SCHEMAS = MemorySchemas()


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    names = (topics.JOURNAL, topics.STATE, topics.HISTORY, topics.WATERMARKS)
    broker.clients().admin().create_topics([TopicSpec(name, 1) for name in names])
    return broker


def history(
    broker: MemoryBroker,
    folder: Path,
    *acts: journal.ActEntry,
    copies: int = 0,
    registry: CollectorRegistry | None = None,
) -> list[dict[str, Any]]:
    """What a new engine writes when these operator actions on the transaction ``nobody`` are in the journal, and about so many copies that
    it asks for."""
    producer = broker.clients().producer("people")
    for act in acts:
        producer.produce(topics.JOURNAL, act.dump(), b"nobody", journal.ACT_HEADERS, 0)
    producer.flush()
    bundle = bundles.bundle(Saga.load(EXAMPLE).model, kantor_schemas.example("checkout"), 1)
    metrics = EngineMetrics(registry or CollectorRegistry())
    engine = Engine(broker.clients(), 1, folder, SCHEMAS, Definitions([bundle]), metrics, jobs=AtOnce())
    engine.start(lambda: None)
    log, codec = broker.topics[topics.HISTORY].logs[0], Codec(SCHEMAS)
    try:
        for _ in range(1_000):
            engine.turn()
            found = [record for record in log.read(0, 100, 1e12, committed=True)[0] if not is_epoch(record)]
            if len(found) >= len(acts) + copies:
                return [move for record in found for move in moves_of(codec.decode(record.value()))]
    finally:
        engine.close()
    raise AssertionError("the engine has answered to none")


def test_it_is_told_that_there_is_no_such_transaction(broker: MemoryBroker, tmp_path: Path) -> None:
    """At once, with the operator action's id, in nobody's history: there is no transaction."""
    (told,) = history(broker, tmp_path, journal.ActEntry("a-1", core.RETRY, "ann", "please"))
    assert (told["message_id"], told["kind"], told["code"]) == ("a-1", "ignored", core.NO_TRANSACTION)
    assert told["transaction_id"] == ""
    assert refusal([told]) == "the engine knows no transaction nobody"


def test_an_act_makes_no_transaction(broker: MemoryBroker, tmp_path: Path) -> None:
    """No state is kept of it, and the same operator action is answered again."""
    act = journal.ActEntry("a-1", core.CLOSE, "ann", "please")
    assert [told["code"] for told in history(broker, tmp_path, act, act)] == [core.NO_TRANSACTION] * 2
    states = broker.topics[topics.STATE].logs[0].read(0, 100, 1e12, committed=True)[0]
    assert {record.key() for record in states} <= {topics.SHARD_KEY, topics.NOTHING_KEY}


def test_a_start_by_an_entry_that_is_not_there_is_refused(broker: MemoryBroker, tmp_path: Path) -> None:
    """A mistyped offset would defer everything that comes for the transaction, for as long as nothing lies there."""
    act = journal.ActEntry("a-1", core.START, "ann", "please", fields={"offset": 4711})
    (told,) = history(broker, tmp_path, act)
    assert (told["kind"], told["code"]) == ("ignored", core.IMPOSSIBLE)
    assert refusal([told]) == "a start needs the journal offset of the message that starts it: name it"


def test_a_start_by_an_entry_that_is_no_message_of_it_waits_for_a_person(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    """What lies at a mistyped offset is not done to this transaction: here it would be closed."""
    close = journal.ActEntry("a-1", core.CLOSE, "ann", "please")
    start = journal.ActEntry("a-2", core.START, "ann", "please", fields={"offset": 0})
    found = history(broker, tmp_path, close, start, copies=1)
    assert [(told["kind"], told["code"]) for told in found] == [
        ("ignored", core.NO_TRANSACTION),
        ("put_off", "first"),
        ("again_asked", ""),
        ("put_off", "first"),
        ("incident_opened", "poison"),
    ]
    assert "the journal's entry 0 is not a message of nobody" in found[-1]["reason"]


def test_what_was_closed_before_it_began_took_no_time(broker: MemoryBroker, tmp_path: Path) -> None:
    """It counts as ended; it would have taken half a century."""
    acts = (
        journal.ActEntry("a-1", core.CLOSE, "ann", "please"),
        journal.ActEntry("a-2", core.START, "ann", "please", fields={"offset": 0}),
        journal.ActEntry("a-3", core.CLOSE, "ann", "please"),
    )
    registry = CollectorRegistry()
    found = history(broker, tmp_path, *acts, registry=registry)
    assert [told["status"] for told in found if told["kind"] == "ended"] == ["closed"]
    counted = {
        one.name: sum(s.value for s in metric.samples if s.name == one.name)
        for metric in registry.collect()
        for one in metric.samples
    }
    assert counted["kantor_transactions_finished_total"] == 1
    assert counted.get("kantor_transaction_duration_seconds_count", 0) == 0
