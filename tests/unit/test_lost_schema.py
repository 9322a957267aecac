"""A registry that has lost the id of a schema: what was written with it is named at each door, nobody else waits who need not, and
all goes on when the schema is back. (Decisions: ``test_unreadable_decisions``; the view: ``test_view_unread``. Intake decodes
nothing, so that it needs no schema.)"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import TopicSpec
from kantor.codec import Codec
from kantor.errors import KantorError
from kantor.testing import MemoryBroker
from kantor_orchestrator.core.quarantine import WAIT
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import _LOST_AGAIN, Definitions, DefinitionsTopic
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.engine.taking import Taking, take
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import transaction_record
from kantor_orchestrator.intake import loop as intake
from kantor_orchestrator.metrics import EngineMetrics
from kantor_schemas import system
from unit.engine_place import BUNDLE, CATALOG, AtOnce, Place
from unit.kit_harness import Desk
from unit.kit_services import CAPTURED, RESERVED, effects, payment
from unit.test_taking import means
from unit.test_unreadable_decisions import Forgetful

# -- services


def test_a_service_sets_it_aside_and_goes_on(tmp_path: Path) -> None:
    """A dead letter that names the id; the next message, written with a schema that is known, is handled. Published again when the
    schema is back, it is handled, once."""
    desk = Desk(payment(tmp_path))
    forgetful = Forgetful()
    forgetful.__dict__.update(desk.schemas.__dict__)
    desk.schemas = forgetful
    lost = desk.record(RESERVED, id_="lost")
    id_ = int.from_bytes((lost.value() or b"")[1:5], "big")
    desk.start()  # with nothing in memory
    forgetful.hidden = {id_}
    (letter,) = desk.processor.batch([lost])
    assert letter.topic == "dlq.payment"
    assert (dict(letter.headers)["__dlq.errors.message"] or b"").startswith(
        f"schema id {id_} is unknown".encode()
    )
    assert effects(tmp_path) == []
    forgetful.hidden = set()
    assert [answer.message for answer in desk.handle(lost)] == [CAPTURED]
    assert [answer.message for answer in desk.handle(lost)] == [CAPTURED]
    assert effects(tmp_path) == ["charged o1"]


# -- intake


def test_intake_needs_no_schema() -> None:
    """It copies bytes."""
    names = {
        node.id
        for node in ast.walk(ast.parse(Path(intake.__file__).read_text()))
        if isinstance(node, ast.Name)
    }
    assert names.isdisjoint({"Codec", "schema_store", "SchemaStore"})


# -- the engine: messages


class Platform(Place):
    """Its engine has a registry, which knows everything, until something is hidden."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "0")
        self._folder, self._lives = folder, 0
        self.registry = Forgetful()
        for schema in CATALOG.values():
            self.registry.id_of(schema, "t")
        self.schemas = self.registry
        self.definitions = Definitions([BUNDLE])
        self.begin()

    def begin(self) -> None:
        """An engine with nothing in memory and on disk."""
        self.engine.close()
        self._lives += 1
        clients, metrics = self.broker.clients(), EngineMetrics(CollectorRegistry())
        self.engine = Engine(
            clients, 1, self._folder / str(self._lives), self.registry, self.definitions, metrics,
            clock=self.broker.clock, jobs=AtOnce(), waits_for_schemas=True,
        )  # fmt: skip
        self.engine.start(lambda: None)

    def load(self) -> Definitions:
        """What is deployed."""
        return DefinitionsTopic(self.broker.clients(), Codec(self.registry), "test", self.broker.clock).load()

    def deploy(self, key: bytes, value: bytes) -> None:
        producer = self.broker.clients().producer("kantor-deploy")
        producer.produce(topics.DEFINITIONS, value, key, None, 0)
        producer.flush()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Platform]:
    place = Platform(tmp_path)
    yield place
    place.engine.close()


def test_a_message_waits_alone_and_is_taken_in_when_its_schema_is_back(place: Platform) -> None:
    """Its transaction says which id it waits for; another one of the same shard goes on. Nobody has to do anything."""
    place.event("t", "shop.OrderPlaced")
    place.event("other", "shop.OrderPlaced")
    place.turn_until(lambda: place.kinds("other").count("started") == 1)
    id_ = place.schemas.id_of(CATALOG["inventory.StockReserved"], "t")
    place.begin()
    place.registry.hidden = {id_}
    place.event("t", "inventory.StockReserved")
    place.event("other", "inventory.StockRejected")
    place.turn_until(lambda: ("other", "failed", "stock") in place.history())
    (put_off,) = [move for move in place.told("t") if move["kind"] == "put_off"]
    assert f"schema id {id_} is unknown to the registry" in put_off["reason"]
    place.registry.hidden = set()
    place.broker.clock.sleep(WAIT / 1000)
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
    assert "incident_opened" not in place.kinds("t")


# -- the engine: definitions


def test_definitions_come_back_with_their_schema(place: Platform, caplog: pytest.LogCaptureFixture) -> None:
    """An engine that is started without it has no saga. Nothing that may start one is passed over meanwhile: its shard waits, and
    says for which record; then the start starts its saga. That is logged once, and the remedy is no removal."""
    caplog.set_level(logging.ERROR)
    place.deploy(BUNDLE.key.encode(), bundles.encode(BUNDLE, Codec(place.registry)))
    id_ = place.schemas.id_of(system("Definition"), topics.DEFINITIONS)
    place.registry.hidden = {id_}
    place.definitions = place.load()
    (unread,) = place.definitions.unread.values()
    assert unread.what.endswith(f"can't be read: schema id {id_} is unknown to the registry")
    assert unread.remedy.startswith("register its schema in the registry again, and what needs it goes on")
    place.begin()
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: bool(place.engine._shards) and bool(place.engine._shards[0].waits_for))
    for _ in range(50):
        place.broker.clock.sleep(1)
        place.engine.turn()
    assert unread.what in place.engine._shards[0].waits_for
    assert place.history() == []
    said = [r for r in caplog.records if getattr(r, "action", "") == "definition_unreadable"]
    assert len(said) == 1
    place.registry.hidden = set()
    place.broker.clock.sleep(_LOST_AGAIN)
    place.turn_until(lambda: ("t", "started", "") in place.history())
    assert not place.definitions.unread


def test_a_foreign_record_among_the_definitions_keeps_nobody(place: Platform) -> None:
    """Its key is none of a definition's: what no saga names is passed over as before."""
    place.deploy(b"some key", b"\0\x01\x02\x03\x04rest")
    place.definitions = place.load()
    assert len(place.definitions.unread) == 1
    place.begin()
    place.event("t", "shop.OrderPlaced")
    place.turn_until(lambda: bool(place.engine._shards) and place.engine._shards[0].position == 1)


# -- the engine: its state


@pytest.mark.parametrize("name", ["ShardRecord", "SourceMark", "TransactionState"])
def test_a_shard_does_not_go_on_from_what_was_before(tmp_path: Path, name: str) -> None:
    """Where the shard stands, how far a source was read, a transaction: to pass over one of these would be to take in again what is
    in it. The error names record and remedy; with the schema, the shard is what it was."""
    broker, schemas = MemoryBroker(), Forgetful()
    names = (topics.JOURNAL, topics.STATE, topics.HISTORY)
    broker.clients().admin().create_topics([TopicSpec(one, 1) for one in names])
    codec = Codec(schemas)
    older = {**system("ShardRecord"), "doc": "of an older version, which the registry still has"}
    shard = {"position": 0, "clock": 16, "history": 0, "epoch": -1, "holds": {}}
    records = [
        (topics.SHARD_KEY, codec.encoder(older, topics.STATE)(shard)),
        (topics.SHARD_KEY, codec.encoder(system("ShardRecord"), topics.STATE)({**shard, "clock": 17})),
        (topics.MARK_PREFIX + b"evt.x/0", codec.encoder(system("SourceMark"), topics.STATE)({"offset": 5})),
        (b"t", codec.encoder(system("TransactionState"), topics.STATE)(
            transaction_record(Transaction("t", "s", 1, Status.RUNNING)))),
    ]  # fmt: skip
    producer = broker.clients().producer("engine")
    for key, value in records:
        producer.produce(topics.STATE, value, key, None, 0)
    producer.flush()
    id_ = schemas.id_of(system(name), topics.STATE)

    def taken(folder: str) -> tuple[int, dict[str, int], Transaction | None]:
        of = means(broker, tmp_path / folder)
        found = take(0, replace(of, codec=Codec(schemas)), Taking(0.0))
        try:
            return found.clock, dict(found.marks), found.get("t")
        finally:
            found.close()

    before = taken("before")
    assert before[0] == 17
    schemas.hidden = {id_}
    with pytest.raises(
        KantorError, match=f"{topics.STATE}.* can't be read: schema id {id_} is unknown to the registry"
    ):
        taken("meanwhile")
    schemas.hidden = set()
    assert taken("after") == before
