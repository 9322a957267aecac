"""Messages that are larger than what the engine writes otherwise: what was deferred comes back (shard-24), whatever its size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kantor.codec import Codec
from kantor.envelope import Envelope
from kantor.errors import KantorError
from kantor.testing import MemoryBroker
from kantor.testing.admin import MemoryAdmin
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.core.transaction import Incident
from kantor_orchestrator.engine.appending import EngineEntries
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Outgoing
from unit.core_kit import ORDER
from unit.engine_place import CATALOG, PLACED, Place

#: More than the engine's other records may have.
LARGE = topics.LARGEST + (1 << 20)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    raise_limit(place)
    yield place
    place.engine.close()


def raise_limit(place: Place) -> None:
    place.broker.clients().admin().set_config(topics.JOURNAL, "max.message.bytes", str(topics.LARGEST_ENTRY))


def publish_all(place: Place) -> None:
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")


def large(place: Place, type_: str, size: int = LARGE) -> None:
    """As intake would journal it; a header that means nothing to the engine makes it large."""
    schema = CATALOG[type_]
    value = Codec(place.others).encoder(schema, "t")({f["name"]: ORDER[f["name"]] for f in schema["fields"]})
    envelope = Envelope(id=f"large-{type_}", source="shop", type=type_, correlation_id="t")
    headers: list[tuple[str, bytes | None]] = [
        *envelope.headers(),
        (journal.ENTRY, journal.EVENT),
        ("x-photo", bytes(size)),
        (journal.ORIGIN, f"evt.large.v1/0/{len(place.kinds('t'))}".encode()),
        (journal.TOPIC_ID, b"large"),
        (journal.TIMESTAMP, str(place.broker.clock.now()).encode()),
    ]
    producer = place.broker.clients().producer("test", extra={"message.max.bytes": 2 * topics.LARGEST_ENTRY})
    producer.produce(topics.JOURNAL, value, b"t", headers, 0)
    producer.flush()


def incidents(place: Place) -> list[Incident]:
    shard = place.engine._shards.get(0)
    txn = shard.get("t") if shard is not None else None
    return list(txn.incidents) if txn is not None else []


def test_a_large_message_whose_schema_comes_later_comes_back(place: Place) -> None:
    """It was asked for each minute for ever, opened no incident, and its transaction waited."""
    large(place, "shop.OrderPlaced")
    place.turn_until(lambda: "put_off" in place.kinds("t"))
    place.schemas.id_of(PLACED, "t")
    place.turn_until(lambda: "started" in place.kinds("t"))


def test_a_large_message_behind_one_that_can_not_be_read_comes_back(place: Place) -> None:
    """It could be read all the time, and only waited; what came after it comes after it."""
    publish_all(place)
    poison(place)
    place.turn_until(lambda: bool(incidents(place)))
    large(place, "inventory.StockReserved")
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: place.kinds("t").count("put_off") == 3)
    place.act("t", core.SKIP)
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
    assert [kind for kind in place.kinds("t") if kind in ("kept", "started")] == ["kept", "started"]


def poison(place: Place) -> None:
    envelope = Envelope(id="bad", source="shop", type="shop.OrderPlaced", correlation_id="t")
    headers: list[tuple[str, bytes | None]] = [
        *envelope.headers(),
        (journal.ENTRY, journal.EVENT),
        (journal.ORIGIN, b"evt.bad.v1/0/0"),
        (journal.TOPIC_ID, b"bad"),
        (journal.TIMESTAMP, str(place.broker.clock.now()).encode()),
    ]
    producer = place.broker.clients().producer("test")
    producer.produce(topics.JOURNAL, b"garbage", b"t", headers, 0)
    producer.flush()


def test_what_can_not_be_brought_back_is_an_incident(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has lowered the journal's limit, and the engine may not raise it: a person hears what to do, and can retry."""
    large(place, "shop.OrderPlaced")
    place.turn_until(lambda: "put_off" in place.kinds("t"))
    with monkeypatch.context() as patched:
        patched.setattr(MemoryAdmin, "set_config", refuses)
        place.broker.topics[topics.JOURNAL].config["max.message.bytes"] = str(1 << 20)
        place.turn_until(lambda: bool(incidents(place)))
        (incident,) = incidents(place)
        assert "raise max.message.bytes of sys.kantor.journal" in incident.reason
    raise_limit(place)
    place.schemas.id_of(PLACED, "t")
    place.act("t", core.RETRY)
    place.turn_until(lambda: "started" in place.kinds("t"))


def refuses(*_: Any) -> None:
    raise KantorError("TOPIC_AUTHORIZATION_FAILED")


def test_a_refusal_that_the_journal_does_not_take_is_told_again_after_a_pause() -> None:
    """journal-17: it was handed over again at once in the client's own callback, which never came back."""
    broker = MemoryBroker()
    broker.create_topic(topics.specs(1, 1 << 20)[0])
    appender, told = EngineEntries(broker.clients(), 1, broker.clock), list[str]()
    broker.unwritable.add(topics.JOURNAL)
    message = Outgoing("cmd.x.v1", b"t", [("ce_id", b"m"), ("ce_type", b"x.Do")], b"")
    appender.refused("t", message, "it is gone", lambda: told.append("t"))
    for _ in range(3):
        appender.poll()
        broker.clock.sleep(0.1)
    broker.unwritable.clear()
    appender.poll()
    assert told == []
    broker.clock.sleep(1)
    appender.poll()
    appender.poll()
    assert told == ["t"]
