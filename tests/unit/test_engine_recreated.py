"""A journal or a history that was deleted and recreated: noticed by its id, or by where it ends (journal-20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor.testing.admin import MemoryAdmin
from kantor_orchestrator.engine.checkpoint import Checkpointer
from kantor_orchestrator.formats import topics
from unit.engine_place import (
    CATALOG,
    Place,
    recreated,
    refused,
    start_anew,
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.engine.close()


def ten_begun(folder: Path) -> Place:
    """Ten transactions have begun; the engine is gone."""
    place = Place(folder)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    for number in range(10):
        place.event(f"old-{number}", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("old-9"))
    place.engine.close()
    return place


@pytest.mark.parametrize("ids", [True, False])
def test_a_journal_that_was_recreated_is_read_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, ids: bool
) -> None:
    """journal-20: its offsets mean other entries now: none is passed over as dealt with, and each is decided on once, also
    where the shard is taken again before that is committed. Some brokers give topics no ids."""
    if not ids:
        zeros = "00000000-0000-0000-0000-000000000000"
        monkeypatch.setattr(MemoryAdmin, "topic_ids", lambda _, names: dict.fromkeys(names, zeros))
    place = ten_begun(tmp_path)
    recreated(place, topics.JOURNAL)
    place.event("new", "shop.OrderPlaced")
    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "commit", refused)
        start_anew(place, tmp_path)
        place.turn_until(lambda: "started" in place.kinds("new"))
        first = place.engine._shards[0]
        place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    place.event("new", "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds("new"))
    assert place.kinds("new").count("started") == 1
    assert "journal_recreated" in {getattr(record, "action", "") for record in caplog.records}
    place.engine.close()


def test_a_journal_that_was_recreated_is_told_by_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is longer than the old one was, so that its end tells nothing: none of its entries is passed over, and each is decided
    on once, also where the shard is taken again before that is committed. Then it is told no more."""
    place = Place(tmp_path)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.event("old-0", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("old-0"))
    with monkeypatch.context() as patched:  # decided behind the last checkpoint, on the old journal
        patched.setattr(Checkpointer, "commit", refused)
        place.event("old-1", "shop.OrderPlaced")
        place.turn_until(lambda: "started" in place.kinds("old-1"))
        place.engine.close()
        recreated(place, topics.JOURNAL)
        for number in range(5):
            place.event(f"new-{number}", "shop.OrderPlaced")
        start_anew(place, tmp_path)
        place.turn_until(lambda: "started" in place.kinds("new-4"))
        assert place.engine._metrics.recreated.labels(topics.JOURNAL)._value.get() == 1
        first = place.engine._shards[0]
        place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    place.event("new-0", "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds("new-0"))
    place.event("old-1", "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds("old-1"))
    assert Counter(id_ for id_, kind, _ in place.history() if kind == "started") == dict.fromkeys(
        ["old-0", "old-1", *(f"new-{number}" for number in range(5))], 1
    )
    assert "journal_recreated" in {getattr(record, "action", "") for record in caplog.records}
    place.engine.close()
    start_anew(place, tmp_path)
    place.turn_until(lambda: bool(place.engine._shards))
    assert place.engine._shards[0].recreated == []
    place.engine.close()


def test_a_history_that_was_recreated_is_read_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided in it lies before the position that the last checkpoint names, which counts in the old one: it is not decided
    once more, in another form, when the shard is taken again."""
    place = ten_begun(tmp_path)
    recreated(place, topics.HISTORY)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "commit", refused)
        start_anew(place, tmp_path)
        place.event("new", "shop.OrderPlaced")
        place.turn_until(lambda: "started" in place.kinds("new"))
        first = place.engine._shards[0]
        place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    place.event("new", "inventory.StockReserved")
    place.event("old-3", "inventory.StockReserved")
    place.turn_until(lambda: all("succeeded" in place.kinds(name) for name in ("new", "old-3")))
    assert place.kinds("new").count("started") == 1
    said = [
        record.getMessage()
        for record in caplog.records
        if getattr(record, "action", "") == "history_recreated"
    ]
    assert said
    assert f"{topics.HISTORY}/0 was deleted and recreated" in said[0]
    place.engine.close()
    start_anew(place, tmp_path)
    place.turn_until(lambda: bool(place.engine._shards))
    assert place.engine._shards[0].recreated == []
    place.engine.close()


@pytest.mark.parametrize("is_another", [True, False])
def test_a_state_that_was_recreated_under_an_engine_is_restored_from_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_another: bool
) -> None:
    """Its next checkpoint would tell where the shard stands, and nothing of the transactions that did not change since: whoever takes the
    shard then, with another disk, knows all of them, and their effects count. The engine that lost it does, too."""
    place = Place(tmp_path / "one")
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    for number in range(10):
        place.event(f"old-{number}", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("old-9"))
    first = place.engine._shards[0]
    place.turn_until(lambda: first.committed_position == 10)
    recreated(place, topics.STATE)
    place.event("new", "shop.OrderPlaced")
    place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    place.turn_until(lambda: place.engine._shards[0].committed_position == 11)
    if is_another:
        place.engine.close()
        start_anew(place, tmp_path / "two")
    for name in ("old-3", "new"):
        place.event(name, "inventory.StockReserved")
        place.turn_until(lambda name=name: "succeeded" in place.kinds(name))  # type: ignore[misc]
    assert Counter(id_ for id_, kind, _ in place.history() if kind == "started") == dict.fromkeys(
        ["new", *(f"old-{number}" for number in range(10))], 1
    )
    assert [r.levelname for r in caplog.records if getattr(r, "action", "") == "state_recreated"] == ["ERROR"]
    place.engine.close()
