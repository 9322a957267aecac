"""A record of the definitions' topic that can't be read is refused by name; all other definitions go on (shard-21)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor.errors import DefinitionError, NotFoundError, RegistryUnavailableError
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import deploy as deploying
from kantor_orchestrator.definitions.catalogue import Definitions, DefinitionsTopic
from kantor_orchestrator.definitions.undeploy import discard
from kantor_orchestrator.definitions.unread import Unread
from kantor_orchestrator.formats import topics
from kantor_schemas import system
from unit import definitions_kit
from unit.deploying_kit import OTHER, V1, V2, Platform, catalog
from unit.engine_place import BUNDLE, CATALOG, Place

OTHERS = definitions_kit.read(OTHER).models()[0].model


@pytest.fixture
def platform() -> Platform:
    found = Platform()
    found.deploy(V1, now=1_000)
    return found


def definition(platform: Platform, **changed: Any) -> bytes:
    """The record of `other`, with other facts."""
    codec = Codec(platform.schemas)
    facts = codec.decode(bundles.encode(bundles.bundle(OTHERS, catalog(), 2_000), codec))
    return codec.encoder(system("Definition"), topics.DEFINITIONS)(facts | changed)


def of_a_newer_kantor(platform: Platform) -> bytes:
    text = OTHERS.model_dump_json()
    return definition(platform, definition=text[:-1] + ', "conjures": true}')


def put(platform: Platform, key: bytes, value: bytes | None) -> None:
    producer = platform.clients.producer("somebody")
    producer.produce(topics.DEFINITIONS, value, key, None, 0)
    producer.flush()


def reader(platform: Platform, schemas: Any = None) -> DefinitionsTopic:
    codec = Codec(schemas or platform.schemas)
    return DefinitionsTopic(platform.clients, codec, "test", platform.broker.clock)


HOSTILE: dict[str, tuple[bytes, Callable[[Platform], bytes]]] = {
    "torn": (b"other/1", lambda p: definition(p)[:-9]),
    "nothing": (b"other/1", lambda p: b""),
    "text": (b"other/1", lambda p: b"{}"),
    "a schema that nobody published": (b"other/1", lambda p: b"\0\x01\x02\x03\x04rest"),
    "another record": (
        b"other/1",
        lambda p: Codec(p.schemas).encoder(system("Epoch"), "t")(
            {"shard": 0, "owner": "", "at": 0, "position": 0}
        ),
    ),
    "another's key": (b"other/2", definition),
    "a key that is no text": (b"\xff\0", definition),
    "no JSON": (b"other/1", lambda p: definition(p, definition="{")),
    "JSON without end": (b"other/1", lambda p: definition(p, definition="[" * 100_000)),
    "no saga": (b"other/1", lambda p: definition(p, definition="[]")),
    "no schema": (
        b"other/1",
        lambda p: definition(p, messages={"shop.Wished": {"schema": "{}", "topic": ""}}),
    ),
    "no messages": (b"other/1", lambda p: definition(p, messages={})),
    "a newer Kantor's": (b"other/1", of_a_newer_kantor),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_can_not_be_read_is_named_and_the_others_go_on(
    platform: Platform, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Also when it comes while an engine runs, and in one batch with what can be read."""
    running = reader(platform).load()
    key, make = HOSTILE[name]
    put(platform, key, make(platform))
    producer = deploying.writer(platform.clients)
    codec = Codec(platform.schemas)
    later = bundles.bundle(definitions_kit.read(V2).models()[0].model, catalog(), 3_000)
    deploying.write(producer, {b"order/2": bundles.encode(later, codec)})
    assert running.covers(5_000)
    for found in (running, reader(platform).load()):
        assert [bundle.key for bundle in found.bundles()] == ["order/1", "order/2"]
        (unread,) = found.unread.values()
        assert unread.key == key
        assert unread.place == f"{topics.DEFINITIONS}/0/2"  # behind the mark of a Kafka transaction
        assert unread.is_newer == (name in ("a newer Kantor's", "no saga"))
    said = [record for record in caplog.records if getattr(record, "action", "") == "definition_unreadable"]
    assert len(said) == 2
    assert f"{topics.DEFINITIONS}/0/2" in said[0].getMessage()


def test_what_was_read_stays_in_force_until_it_is_deployed_again(platform: Platform) -> None:
    """Somebody wrote over a definition: its transactions go on as long as that is known, and deploying mends it."""
    definitions = reader(platform).load()
    put(platform, b"order/1", b"rubbish")
    assert definitions.refresh()
    assert definitions.saga("order", 1) is not None
    assert list(definitions.unread) == ["order/1"]
    assert platform.deploy(V1, now=9_000).outcomes[0].changed
    assert definitions.refresh()
    assert not definitions.unread
    assert definitions.bundle("order", 1) == reader(platform).load().bundle("order", 1)


def test_an_older_version_that_is_lost_can_be_deployed_again(platform: Platform) -> None:
    """Compaction has taken what could be read of it, and a newer one is deployed: that one stays in force."""
    platform.deploy(V2, now=2_000)
    put(platform, b"order/1", b"rubbish")
    platform.broker.compact(topics.DEFINITIONS)
    assert platform.deployed() == ["order/2"]
    platform.deploy(V1, now=3_000)
    found = reader(platform).load()
    assert platform.deployed() == ["order/1", "order/2"]
    assert (saga := found.starting_with("shop.Ordered")) is not None
    assert saga.version == 2


def test_an_older_kantor_deploys_nothing_beside_a_newer_one(platform: Platform) -> None:
    """What would fit a definition that it can't read is not known to it; nor does it take one away."""
    put(platform, b"other/1", of_a_newer_kantor(platform))
    with pytest.raises(DefinitionError, match=r"other/1.*conjures.*upgrade this one"):
        platform.deploy(V2, now=3_000)
    with pytest.raises(DefinitionError, match="upgrade this one"):
        platform.undeploy("order", None)
    assert discard(platform.clients, platform.schemas) == []


def test_what_nobody_can_read_is_removed(platform: Platform) -> None:
    """Whatever its key is."""
    put(platform, b"\xff\0", b"rubbish")
    running = reader(platform).load()
    (removed,) = discard(platform.clients, platform.schemas)
    assert removed.name == "\\xff\0"
    running.refresh()
    assert not running.unread
    assert not reader(platform).load().unread
    assert platform.deployed() == ["order/1"]


def test_what_transactions_are_on_is_not_removed(platform: Platform) -> None:
    """They would lose what is known of it: it has to be deployed again. A foreign state does not keep from counting."""
    put(platform, b"order/1", b"rubbish")
    platform.put("t", Status.RUNNING)
    platform._commit(b"foreign", b"rubbish", 0)
    platform._commit(topics.SHARD_KEY, b"rubbish", 1)
    with pytest.raises(DefinitionError, match="1 transaction is on order/1; deploy it again"):
        discard(platform.clients, platform.schemas)


def test_a_missing_saga_is_told_beside_what_can_not_be_read(platform: Platform) -> None:
    """Undeploying goes on for all that can be read."""
    put(platform, b"other/1", b"rubbish")
    with pytest.raises(NotFoundError, match="no saga other"):
        platform.undeploy("other", None)


class Away(MemorySchemas):
    is_away = True

    def schema_of(self, id_: Any) -> Any:
        if self.is_away:
            raise RegistryUnavailableError("no registry")
        return super().schema_of(id_)


def test_a_definition_waits_for_the_registry() -> None:
    """An engine that runs goes on meanwhile; nothing is dropped as nobody's before the definition is known."""
    platform, schemas = Platform(), Away()
    schemas.id_of(system("Definition"), "t")
    definitions = reader(platform, schemas).load()
    put(platform, b"other/1", definition(platform))
    assert not definitions.refresh(5_000)
    assert not definitions.covers(5_000)
    schemas.is_away = False
    platform.broker.clock.sleep(3)
    assert definitions.covers(5_000)
    assert list(definitions.named)


# -- in the engine


def unread(
    types: frozenset[str] = frozenset(), key: bytes = b"checkout/9", *, is_newer: bool = False
) -> Unread:
    return Unread("d/0/1", key, "torn", is_newer, types=types)


@pytest.fixture
def definitions() -> Definitions:
    return Definitions()


@pytest.fixture
def place(tmp_path: Path, definitions: Definitions) -> Iterator[Place]:
    place = Place(tmp_path, definitions)
    for type_ in ("inventory.StockReserved", "payment.PaymentCaptured", "shop.OrderPlaced"):
        place.schemas.id_of(CATALOG[type_], "t")
    yield place
    place.engine.close()


def test_a_start_that_only_an_unread_definition_names_is_no_stranger(
    place: Place, definitions: Definitions
) -> None:
    """It is deferred, becomes an incident, and starts once a person asks for it when the definition can be read."""
    definitions.update([], unread=[unread(frozenset(["shop.OrderPlaced"]))])
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: "incident_opened" in place.kinds("t"))
    assert "put_off" in place.kinds("t")
    definitions.update([BUNDLE], removed=["checkout/9"])
    place.act("t", "retry")
    place.turn_until(lambda: "started" in place.kinds("t"))


def test_it_starts_by_itself_if_the_definition_can_be_read_soon(
    place: Place, definitions: Definitions
) -> None:
    """A rolling upgrade: the program was upgraded before the engine."""
    definitions.update([], unread=[unread(frozenset(["shop.OrderPlaced"]))])
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: "put_off" in place.kinds("t"))
    definitions.update([BUNDLE], removed=["checkout/9"])
    place.turn_until(lambda: "started" in place.kinds("t"))
    assert "incident_opened" not in place.kinds("t")


def test_a_transaction_of_another_saga_does_not_wait_for_it(place: Place, definitions: Definitions) -> None:
    """What only an unread definition names is none of its business."""
    definitions.update([BUNDLE], unread=[unread(frozenset(["payment.RefundPayment"]))])
    place.event("t", "shop.OrderPlaced")
    place.event("t", "payment.RefundPayment")
    place.event("t", "inventory.StockReserved")
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
    assert "put_off" not in place.kinds("t")


def test_a_transaction_on_an_unread_definition_waits_and_says_for_what(
    place: Place, definitions: Definitions, caplog: pytest.LogCaptureFixture
) -> None:
    """As for one that is not deployed."""
    definitions.update([BUNDLE])
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("t"))
    lost = unread(key=BUNDLE.key.encode(), is_newer=True)
    definitions.update([], removed=[BUNDLE.key], unread=[lost])
    caplog.set_level(logging.WARNING)
    place.event("t", "inventory.StockReserved")
    place.turn_until(
        lambda: any("d/0/1 can't be read: torn; a newer" in r.getMessage() for r in caplog.records)
    )
    definitions.update([BUNDLE])
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
