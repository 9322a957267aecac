"""What an engine reads ahead is bounded in bytes, in all its shards together (shard-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kantor.envelope import Envelope
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.loop import HELD
from kantor_orchestrator.formats import journal, topics
from unit.engine_place import Place, UnderWay, start_anew

SIZE = 900 << 10


def entries(place: Place, count: int) -> None:
    """So many large ones, as intake would journal them."""
    producer = place.broker.clients().producer("test")
    for number in range(count):
        envelope = Envelope(id=f"m-{number}", source="shop", type="shop.OrderPlaced", correlation_id="t")
        headers: list[tuple[str, bytes | None]] = [
            *envelope.headers(),
            (journal.ENTRY, journal.EVENT),
            (journal.ORIGIN, b"evt.t.v1/0/%d" % number),
            (journal.TOPIC_ID, b"topic"),
            (journal.TIMESTAMP, b"1"),
        ]
        producer.produce(topics.JOURNAL, bytes(SIZE), b"t", headers, 0)
    producer.flush()


def test_a_shard_that_waits_is_not_read_further_than_it_may_hold(tmp_path: Path) -> None:
    """It held 527 MiB of 600 entries, which are few; it is read on once it holds less."""
    source = UnderWay()
    place = Place(tmp_path, Definitions(source=source))
    place.turn_until(lambda: bool(place.engine._shards))
    pending = place.engine._shards[0].pending
    for _ in range(20):
        entries(place, 10)
        for _ in range(10):
            place.engine.turn()
    assert len(pending) > 10
    assert HELD < pending.held == sum(len(record.value() or b"") for record in pending) + headers_of(pending)
    assert pending.held < HELD + 11 * SIZE
    source.answers = True
    place.turn_until(lambda: place.engine._shards[0].position >= 200)
    assert (len(pending), pending.held) == (0, 0)
    place.engine.close()


def headers_of(pending: object) -> int:
    assert hasattr(pending, "__iter__")
    return sum(len(text or b"") for record in pending for _, text in record.headers() or ())


def test_an_engine_tells_its_group_what_the_killed_one_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one was killed between a checkpoint and the next commit of the group's offsets. Nothing comes after it; `kantor status` would call
    the shard stuck until something does."""
    place = Place(tmp_path)
    monkeypatch.setattr(place.engine._consumer, "commit", lambda _positions: None)
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: bool(place.engine._shards) and place.engine._shards[0].committed_position == 1)
    place.engine.close()
    start_anew(place, tmp_path)
    group = place.engine._consumer
    place.turn_until(lambda: group.committed([(topics.JOURNAL, 0)]) == {(topics.JOURNAL, 0): 1})
    place.engine.close()
