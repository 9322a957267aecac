"""Entries that are nobody's everyday: what can't be read yet, a message that Kafka refuses, a log that is another's; a whole
engine in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kantor.clients import Record
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.formats import topics, watermarks
from unit.engine_place import (
    BUNDLE,
    CATALOG,
    PLACED,
    Place,
    UnderWay,
)

DAY = 86_400_000
#: After times that a producer might have made up.
DEPLOYED_LATE = replace(BUNDLE, deployed_at=2 * DAY)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.engine.close()


def test_a_message_whose_schema_comes_later_waits_alone(place: Place) -> None:
    """Another transaction of the shard goes on at once; it and what came after it are looked at, in order, when the schema
    is there."""
    place.event("early", "shop.OrderPlaced")
    for type_ in ("inventory.StockReserved", "payment.PaymentCaptured"):
        place.schemas.id_of(CATALOG[type_], "t")
    place.event("early", "inventory.StockReserved")
    place.event("other", "inventory.StockReserved")
    place.turn_until(lambda: "kept" in place.kinds("other"))
    assert place.kinds("early") == ["put_off", "put_off"]
    place.schemas.id_of(PLACED, "t")
    place.turn_until(lambda: ("early", "succeeded", "stock") in place.history())
    kinds = place.kinds("early")
    assert kinds.index("started") < kinds.index("succeeded")
    assert "incident_opened" not in kinds


def test_a_start_that_comes_a_moment_after_its_saga_was_deployed(tmp_path: Path) -> None:
    """It waits until everything is known that was deployed before it, and starts then."""
    source = UnderWay()
    place = Place(tmp_path, Definitions(source=source))
    place.schemas.id_of(PLACED, "t")
    place.event("t", "shop.OrderPlaced")
    for _ in range(100):
        place.engine.turn()
    assert place.history() == []
    source.answers = True
    place.turn_until(lambda: "started" in place.kinds("t"))
    place.engine.close()


def test_a_message_that_never_can_be_read_waits_for_a_person(place: Place) -> None:
    """After a while it is an incident; when its schema is published, a retry reads it again."""
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: "incident_opened" in place.kinds("t"))
    place.schemas.id_of(PLACED, "t")
    place.act("t", core.RETRY)
    place.turn_until(lambda: "started" in place.kinds("t"))


def test_a_message_that_kafka_refuses_is_an_incident_of_its_transaction(place: Place) -> None:
    """Others go on; when its topic may be written again, a retry sends it."""
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.broker.unwritable.add("cmd.shipping.v1")
    for name in ("t", "u"):
        for type_ in ("shop.OrderPlaced", "inventory.StockReserved", "payment.PaymentCaptured"):
            place.event(name, type_)
    place.turn_until(lambda: all("incident_opened" in place.kinds(name) for name in ("t", "u")))
    assert place.broker.topics["cmd.shipping.v1"].logs[0].end == 0
    place.broker.unwritable.clear()
    place.act("t", core.RETRY, "shipping")
    place.turn_until(lambda: place.broker.topics["cmd.shipping.v1"].logs[0].end == 1)
    assert place.kinds("t").count("command_sent") == 2


@pytest.mark.parametrize("sent", [-1, 0, 5_000, DAY])
def test_an_early_answer_counts_whatever_its_time(tmp_path: Path, sent: int) -> None:
    """saga-6: it may be its producer's own, or none; it was dropped if that lay before the saga's deployment."""
    place = Place(tmp_path, Definitions([DEPLOYED_LATE]))
    place.broker.clock.sleep(4 * DAY / 1000)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.event("t", "inventory.StockReserved", sent)
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
    place.engine.close()


def test_an_early_answer_waits_as_long_as_its_start_may_lie_unread(place: Place) -> None:
    """shard-18: nobody has said how far intake is. An hour's lag of the start's topic made a step time out that had succeeded, and
    all was reversed."""
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.event("t", "inventory.StockReserved")
    place.turn_until(lambda: "kept" in place.kinds("t"))
    for _ in range(50):
        place.broker.clock.sleep(150)
        place.engine.turn()
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
    assert "expired" not in place.kinds("t")


@pytest.mark.parametrize("sent", [-1, 0])
def test_a_start_without_a_time_counts_as_sent_now(tmp_path: Path, sent: int) -> None:
    """saga-6: Kafka's own word for a record that has none."""
    place = Place(tmp_path, Definitions([DEPLOYED_LATE]))
    place.broker.clock.sleep(4 * DAY / 1000)
    place.schemas.id_of(PLACED, "t")
    place.event("t", "shop.OrderPlaced", sent)
    place.turn_until(lambda: "started" in place.kinds("t"))
    place.engine.close()


@pytest.mark.parametrize(
    ("sent", "code"), [(5_000, "before_deployment"), (DEPLOYED_LATE.deployed_at, "old_start")]
)
def test_a_start_that_is_too_old_is_told_and_a_person_may_start_it(
    tmp_path: Path, sent: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """saga-6: the first connection to an old cluster starts nothing, and fills no log; what a mirror's time made old, or the
    platform's absence, can be started. Both are counted, and told to `kantor status`, also when the engine has ended."""
    place = Place(tmp_path, Definitions([DEPLOYED_LATE]))
    place.broker.clock.sleep(4 * DAY / 1000)
    place.schemas.id_of(PLACED, "t")
    place.event("t", "shop.OrderPlaced", sent)
    place.turn_until(lambda: "ignored" in place.kinds("t"))
    (told,) = place.told("t")
    assert (told["code"], "kantor start --offset 0" in told["reason"]) == (code, True)
    place.engine._metrics.tally.flush()
    assert place.engine._metrics.ignored_starts.labels(code)._value.get() == 1
    said = [record for record in caplog.records if getattr(record, "action", "") == "start_ignored"]
    assert len(said) == (code == "old_start")
    place.act("t", core.START, offset=0)
    place.turn_until(lambda: "started" in place.kinds("t"))
    place.engine.close()
    read = watermarks.read(place.broker.clients(), "test", place.broker.clock)
    assert [
        (kind, one.count, one.transaction, one.place, one.offset)
        for (_, kind), one in read.ignored_starts.items()
    ] == [(code, 1, "t", "evt.t.v1/0/1", 0)]


def test_an_entry_that_comes_once_more_costs_its_shard_one_look(place: Place) -> None:
    """journal-21: it may be another journal's: the shard is retaken, once, and passes it over if it is not."""
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("t"))
    (entry,) = place.broker.topics[topics.JOURNAL].logs[0].read(0, 1, 1e12, committed=True)[0]
    first = place.engine._shards[0]
    first.pending.append(entry)
    place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    second = place.engine._shards[0]
    second.pending.append(entry)
    place.turn_until(lambda: not second.pending)
    assert place.engine._shards[0] is second
    assert place.kinds("t").count("started") == 1


def test_dear_entries_end_a_turn_sooner(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other shards want theirs: twenty entries of 30 ms are not decided on at once, but all of them in the end."""
    for number in range(20):
        place.event(f"t-{number}", "shop.OrderPlaced")
    apply, at, clock = place.engine._decider.apply, list[int](), place.broker.clock
    turns = 0

    def dear(shard: Shard, record: Record) -> None:
        clock.sleep(0.03)
        at.append(turns)
        apply(shard, record)

    monkeypatch.setattr(place.engine._decider, "apply", dear)
    while len(at) < 20:
        turns += 1
        place.engine.turn()
    assert max(Counter(at).values()) == 4


def test_a_clock_that_was_ahead_goes_back(place: Place) -> None:
    """A shard's time is that of its last entry; the highest ever would let every retained record expire for as long as it was ahead."""

    def clock_after_an_entry() -> int:
        place.event("t", "payment.PaymentCaptured")
        end = place.broker.log((topics.JOURNAL, 0)).end
        place.turn_until(lambda: bool(place.engine._shards) and place.engine._shards[0].position == end)
        return place.engine._shards[0].clock - place.broker.clock.now()

    place.broker.ahead = 86_400_000
    assert clock_after_an_entry() > 86_300_000
    place.broker.ahead = 0
    assert clock_after_an_entry() <= 0


def test_a_shard_is_given_back_though_a_refusal_can_not_be_told(place: Place) -> None:
    """shard-7: who takes it next has the log, and sends again. The engine's thread waited for ten seconds, with a whole core."""
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    for type_ in ("shop.OrderPlaced", "inventory.StockReserved", "payment.PaymentCaptured"):
        place.event("t", type_)
    place.broker.unwritable |= {"cmd.shipping.v1", topics.JOURNAL}
    place.turn_until(lambda: "command_sent" in place.kinds("t"))
    began = place.broker.clock.monotonic()
    place.engine.close()
    assert place.broker.clock.monotonic() - began < 5.0
