"""A transaction lives in one shard: what lies in another partition of the journal is refused, and added ones are not used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor.envelope import shard_of
from kantor.errors import ConfigError, NotFoundError
from kantor.testing import MemoryBroker
from kantor.testing.log import Log
from kantor_orchestrator.engine.checkpoint import Checkpointer
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.sharding import agree, in_force
from kantor_orchestrator.operations import acts
from unit.engine_place import CATALOG, Place, refused, start_anew

OURS = [topics.JOURNAL, topics.HISTORY, topics.STATE]


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def begin(broker: MemoryBroker, shards: int = 0, default: int = 4) -> int:
    return agree(broker.clients(), broker.clients().admin(), shards, default, broker.clock)


def add(broker: MemoryBroker, *names: str) -> None:
    for name in names:
        logs = broker.topics[name].logs
        logs.append(Log((name, len(logs))))


@pytest.mark.parametrize("enlarged", [[topics.JOURNAL], [topics.HISTORY, topics.STATE], OURS])
def test_partitions_that_are_added_are_not_used(
    broker: MemoryBroker, enlarged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the topics agree: the shard of each transaction would be another. The platform goes on."""
    assert begin(broker) == 4
    add(broker, *enlarged)
    assert begin(broker) == begin(broker, 4) == 4
    said = [record for record in caplog.records if getattr(record, "action", "") == "partitions_added"]
    assert f"'{enlarged[0]}': 5" in said[0].getMessage()
    assert "let all transactions end" in said[0].getMessage()


def test_another_number_is_refused_with_the_way_to_it(broker: MemoryBroker) -> None:
    """It names what there is, what is wanted, and what to do."""
    begin(broker)
    add(broker, *OURS)
    with pytest.raises(
        ConfigError, match=r"created with 4 partitions, KANTOR_SHARDS is 5: set it to 4, or leave it out"
    ):
        begin(broker, 5)
    broker.topics[topics.STATE].logs = broker.topics[topics.STATE].logs[:2]
    with pytest.raises(ConfigError, match=f"found were.*{topics.STATE}.*2"):
        begin(broker)


def test_a_platform_that_is_begun_anew_may_have_another_number(broker: MemoryBroker) -> None:
    """Nothing lives in a shard any more."""
    begin(broker)
    for name in OURS:
        del broker.topics[name]
    assert begin(broker, 7) == begin(broker) == 7


def test_a_platform_of_which_nobody_has_said_the_number_goes_by_its_topics(broker: MemoryBroker) -> None:
    """And says it from then on."""
    begin(broker)
    del broker.topics[topics.WATERMARKS]
    add(broker, topics.JOURNAL)
    with pytest.raises(
        ConfigError, match=r"must have the same number of partitions.*let all transactions end"
    ):
        begin(broker)
    broker.topics[topics.JOURNAL].logs.pop()
    assert begin(broker) == 4
    add(broker, *OURS)
    assert begin(broker) == 4


# -- the engine


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """One of two shards."""
    place = Place(tmp_path)
    place.engine._decider._shards = 2
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    yield place
    place.engine.close()


MINE = next(f"t-{n}" for n in range(100) if shard_of(f"t-{n}", 2) == 0)
ANOTHERS = next(f"t-{n}" for n in range(100) if shard_of(f"t-{n}", 2) == 1)


def test_an_entry_in_another_shards_partition_is_refused_by_name(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Its transaction lives elsewhere, and would live twice; everything else goes on. Operator actions and messages alike."""
    place.event(ANOTHERS, "shop.OrderPlaced")
    place.act(ANOTHERS, "cancel")
    place.event(MINE, "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds(MINE))
    assert place.kinds(ANOTHERS) == []
    said = [
        record.getMessage() for record in caplog.records if getattr(record, "action", "") == "malformed_entry"
    ]
    assert len(said) == 2
    assert said[0].startswith(
        f"{topics.JOURNAL}/0/0 is not an entry: transaction {ANOTHERS} lives in {topics.JOURNAL}/1"
    )
    place.engine._metrics.tally.flush()
    assert place.engine._metrics.entries.labels("malformed")._value.get() == 2


def test_it_moves_no_mark_whoever_comes_to_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner, too, that folds what the log has: else what its source has before that would be taken for replays."""
    monkeypatch.setattr(Checkpointer, "commit", refused)
    place.event(MINE, "shop.OrderPlaced")
    place._sent = 99
    place.event(ANOTHERS, "shop.OrderPlaced")
    place._sent = 1
    place.event(MINE, "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds(MINE))
    live = dict(place.engine._shards[0].marks)
    place.engine.close()
    start_anew(place, tmp_path / "another")
    place.engine._decider._shards = 2
    place.turn_until(lambda: bool(place.engine._shards) and place.engine._shards[0].position == 3)
    assert place.engine._shards[0].marks == live == {"topic/0": 2}
    assert place.kinds(ANOTHERS) == []


def test_a_partition_that_was_added_is_no_shard(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The engines' group is given it; nobody takes it, and nobody waits for it."""
    caplog.set_level(logging.WARNING)
    add(place.broker, topics.JOURNAL)
    place.event(MINE, "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds(MINE))
    for _ in range(200):
        place.engine.turn()
        place.broker.clock.sleep(0.1)
    assert list(place.engine._shards) == [0]
    assert place.engine._taking == {}
    assert "take_failed" not in {getattr(record, "action", "") for record in caplog.records}


def test_an_act_goes_to_the_shard_of_its_transaction_though_partitions_were_added(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To all three topics: else nobody would read it, though whoever asked was told that it will be carried out."""
    monkeypatch.setattr(acts, "PATIENCE", 0.0)  # no engine runs
    begin(broker)
    add(broker, *OURS)
    ids = [f"t{n}" for n in range(20)]
    people = acts.Acts(broker.clients())
    for id_ in ids:
        with pytest.raises(acts.NoAnswerError):
            people.do("cancel", id_, actor="ann", why="a test")
    with pytest.raises(acts.NoAnswerError, match="0 of 4 shards"):
        people.do_to_all("hold", "", actor="ann", why="a test")
    logs = broker.topics[topics.JOURNAL].logs
    written = [(number, entry.key()) for number, log in enumerate(logs) for entry in log.entries]
    assert sorted(one for one in written if one[1]) == sorted((shard_of(id_, 4), id_.encode()) for id_ in ids)
    assert [number for number, key in written if key is None] == [0, 1, 2, 3]


def test_an_act_finds_its_shard_where_nobody_has_said_how_many_there_are(broker: MemoryBroker) -> None:
    """By the topics; and without them there is no platform."""
    assert in_force(broker.clients(), broker.clients().admin(), broker.clock) == 0
    begin(broker, 7)
    del broker.topics[topics.WATERMARKS]
    add(broker, topics.JOURNAL)
    assert in_force(broker.clients(), broker.clients().admin(), broker.clock) == 7


@pytest.mark.parametrize("id_", ["", "a/b", "' OR 1=1--", "x" * 129, "\n"])
def test_an_act_on_what_can_be_no_transaction_is_not_written(broker: MemoryBroker, id_: str) -> None:
    """Nobody could read it as an operator action; whoever asks is told what an id looks like."""
    begin(broker)
    with pytest.raises(NotFoundError, match=r"an id has up to 128 of A-Z"):
        acts.Acts(broker.clients()).do("cancel", id_, actor="ann", why="a test")
    assert [list(log.entries) for log in broker.topics[topics.JOURNAL].logs] == [[]] * 4
