"""Questions to the schema registry, asked beside a thread that may not wait (shard-20)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

import kantor_schemas
from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.envelope import Envelope, shard_of
from kantor.errors import CodecError, RegistryUnavailableError
from kantor.testing import MemoryBroker
from kantor.testing.clock import VirtualClock
from kantor_orchestrator.definitions import lookups
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.lookups import AskedError, Lookups
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.process.wellness import Wellness
from kantor_schemas import Schema
from unit.core_kit import ORDER
from unit.engine_place import BUNDLE

CATALOG = kantor_schemas.example("checkout")


class Later(Executor):
    """Runs what is asked of the registry when it is told to, and all else at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if fn.__qualname__.startswith("Lookups."):
            self.asked.append((future, fn))
        else:
            _run(future, lambda: fn(*args, **kwargs))
        return future

    def answer(self) -> int:
        """To all that was asked; how many questions that were."""
        asked, self.asked = self.asked, []
        for future, fn in asked:
            _run(future, fn)
        return len(asked)


def _run(future: Future[Any], fn: Callable[[], Any]) -> None:
    try:
        future.set_result(fn())
    except Exception as error:  # noqa: BLE001 - handed to whoever asks
        future.set_exception(error)


class Registry:
    """Knows what ``known`` does; ``down``: what it raises instead."""

    def __init__(self) -> None:
        self.known = MemorySchemas()
        self.down = ""

    def id_of(self, schema: Schema, topic: str) -> int:
        self._look()
        return self.known.id_of(schema, topic)

    def schema_of(self, id_: int | UUID) -> Schema:
        self._look()
        return self.known.schema_of(id_)

    def _look(self) -> None:
        if self.down:
            raise RegistryUnavailableError(self.down)


class Desk:
    """Lookups with their clock."""

    def __init__(self) -> None:
        self.clock, self.jobs, self.registry = VirtualClock(), Later(), Registry()
        self.lookups = Lookups(self.registry, self.jobs, self.clock)

    def after(self, seconds: float, id_: int = 7) -> str:
        """What is said of this schema then."""
        self.clock.sleep(seconds)
        try:
            return str(self.lookups.schema_of(id_)["name"])
        except (RegistryUnavailableError, CodecError) as error:
            return f"{type(error).__name__}: {error}"


POINT: Schema = {"type": "record", "name": "Point", "fields": []}
OTHER: Schema = {"type": "record", "name": "Other", "fields": []}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_who_asks_comes_again_for_the_answer(desk: Desk) -> None:
    """Nobody waits meanwhile, and it is asked once."""
    desk.registry.known.add(7, POINT)
    assert desk.after(0) == desk.after(0.1) == "AskedError: schema 7 is asked for"
    assert desk.jobs.answer() == 1
    assert desk.after(0) == "Point"


def test_an_id_to_write_with_is_asked_for_as_well(desk: Desk) -> None:
    """A subject that is not known yet is the registry's business, too."""
    with pytest.raises(AskedError, match="the id of Point on a"):
        desk.lookups.id_of(POINT, "a")
    desk.jobs.answer()
    assert desk.lookups.id_of(POINT, "a") == MemorySchemas().id_of(POINT, "a")


def test_an_unknown_id_is_asked_for_once_in_a_while(desk: Desk) -> None:
    """Not once for each message that has it."""
    desk.after(0)
    desk.jobs.answer()
    for _ in range(10):
        assert desk.after(0.1).startswith("UnknownSchemaError: schema id 7")
    assert desk.jobs.asked == []
    desk.registry.known.add(7, POINT)
    desk.after(lookups.AGAIN)
    assert desk.jobs.answer() == 1
    assert desk.after(0) == "Point"


def test_what_is_remembered_of_unknown_ids_is_bounded(desk: Desk) -> None:
    """Anybody can write any id."""
    for id_ in range(lookups.MOST + 5):
        desk.after(0, id_)
        desk.jobs.answer()
        desk.after(0, id_)
    assert len(desk.lookups._refused) == lookups.MOST
    assert desk.lookups._questions == {}


def test_a_registry_that_fails_is_left_alone_for_a_while_by_all(desk: Desk) -> None:
    """Then one question tells whether it is back; the pauses become longer, and begin again once it was."""
    desk.registry.known.add(7, POINT)
    desk.registry.known.add(8, OTHER)
    desk.registry.down = "no route"
    pauses = []
    for _ in range(6):
        desk.after(0)
        assert desk.jobs.answer() == 1
        assert desk.after(0) == desk.after(0, 8) == "RegistryUnavailableError: no route"
        assert desk.jobs.asked == []
        began = desk.clock.monotonic()
        while not desk.jobs.asked:
            desk.after(0.01)
            desk.after(0, 8)
        assert len(desk.jobs.asked) == 1
        pauses.append(round(desk.clock.monotonic() - began, 1))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    desk.registry.down = ""
    desk.jobs.answer()
    assert desk.after(0) == "Point"
    assert desk.after(0, 8) == "AskedError: schema 8 is asked for"


def test_a_registry_that_is_silent(desk: Desk) -> None:
    """That it is late is said soon; after a while its answer is not waited for any more, and it is asked anew."""
    desk.registry.known.add(7, POINT)
    desk.after(0)
    assert desk.after(5) == "RegistryUnavailableError: the schema registry has not answered for 5 s: schema 7"
    desk.after(lookups.HANGS)
    assert len(desk.jobs.asked) == 1
    desk.after(lookups.PAUSE)
    assert len(desk.jobs.asked) == 2
    desk.jobs.answer()
    assert desk.after(0) == "Point"


def test_a_question_whose_asker_never_came_back_blocks_nobody(desk: Desk) -> None:
    """Its shard was given away, for example."""
    desk.registry.known.add(7, POINT)
    desk.after(0, 8)  # silent for ever
    desk.registry.down = "no route"
    desk.after(0)
    desk.jobs.asked.pop(0)
    desk.jobs.answer()
    assert desk.after(0) == "RegistryUnavailableError: no route"
    desk.registry.down = ""
    desk.after(2 * lookups.HANGS + 1)
    assert desk.jobs.answer() == 1
    assert desk.after(0) == "Point"


class Shards:
    """An engine with shards 0 and 1 and a registry."""

    def __init__(self, folder: Path) -> None:
        self.broker, self.jobs, self.registry = MemoryBroker(), Later(), Registry()
        self.wellness = Wellness(self.broker.clock.monotonic)
        self.broker.clients().admin().create_topics(
            [*topics.specs(2, 1 << 20), TopicSpec("cmd.inventory.v1", 1), TopicSpec("cmd.shipping.v1", 1)]
        )
        self._sent = 0
        self.start(folder)

    def start(self, folder: Path) -> None:
        """An engine with nothing in memory."""
        self.metrics = CollectorRegistry()
        self.engine = Engine(
            self.broker.clients(),
            2,
            folder,
            self.registry,
            Definitions([BUNDLE]),
            EngineMetrics(self.metrics),
            clock=self.broker.clock,
            jobs=self.jobs,
            wellness=self.wellness,
        )
        self.engine.start(lambda: None)

    def event(self, shard: int, type_: str) -> str:
        """Of a transaction of that shard, which is told."""
        transaction = next(f"t-{n}" for n in range(99) if shard_of(f"t-{n}", 2) == shard)
        schema = CATALOG[type_]
        value = Codec(self.registry.known).encoder(schema, "t")(
            {f["name"]: ORDER[f["name"]] for f in schema["fields"]}
        )
        self._sent += 1
        envelope = Envelope(id=f"m-{self._sent}", source="shop", type=type_, correlation_id=transaction)
        headers: list[tuple[str, bytes | None]] = [
            *envelope.headers(),
            (journal.ENTRY, journal.EVENT),
            (journal.ORIGIN, f"evt.t.v1/0/{self._sent}".encode()),
            (journal.TOPIC_ID, b"topic"),
            (journal.TIMESTAMP, str(self.broker.clock.now()).encode()),
        ]
        producer = self.broker.clients().producer("test")
        producer.produce(topics.JOURNAL, value, transaction.encode(), headers, shard)
        producer.flush()
        return transaction

    def turn(self, seconds: float = 1.0) -> float:
        """For as long; the longest turn is told."""
        longest, until = 0.0, self.broker.clock.monotonic() + seconds
        while (now := self.broker.clock.monotonic()) < until:
            self.engine.turn()
            longest = max(longest, self.broker.clock.monotonic() - now)
        return longest

    def status(self, shard: int, transaction: str) -> str | None:
        found = self.engine._shards[shard].get(transaction)
        return found.status if found is not None else None


def test_a_shard_waits_for_the_registry_alone(tmp_path: Path) -> None:
    """The other one goes on with what is known; readiness names the one that waits; it goes on once it is answered."""
    place = Shards(tmp_path)
    place.turn()
    place.event(0, "shop.OrderPlaced")
    place.turn()
    place.jobs.answer()
    place.turn()
    waiting = place.event(0, "inventory.StockReserved")
    running = place.event(1, "shop.OrderPlaced")
    place.turn(15)
    assert (place.status(0, waiting), place.status(1, running)) == ("running", "running")
    assert place.engine._shards[0].position == 1
    assert len(place.jobs.asked) == 1
    (told,) = place.wellness.waits()
    assert told.startswith("shard 0 waits: the schema registry has not answered for ")
    place.jobs.answer()
    place.turn()
    assert place.engine._shards[0].position == 2
    assert place.wellness.waits() == []


def test_a_command_whose_schema_has_no_id_yet_waits_for_the_registry(tmp_path: Path) -> None:
    """Nothing of the entry is decided before it can be sent; then it is, once."""
    place = Shards(tmp_path)
    place.turn()
    for type_ in ("shop.OrderPlaced", "inventory.StockReserved", "payment.PaymentCaptured"):
        transaction = place.event(0, type_)
        place.turn()
        place.jobs.answer()
        place.turn()
    shard = place.engine._shards[0]
    assert "the id of shipping.BookShipment on cmd.shipping.v1" in shard.waits_for
    assert shard.position == 2
    place.jobs.answer()
    place.turn()
    assert shard.position == 3
    assert place.broker.topics["cmd.shipping.v1"].logs[0].end == 1
    assert place.status(0, transaction) == "running"


def test_many_messages_with_unknown_ids_are_one_question_each(tmp_path: Path) -> None:
    """However many of them come with one id."""
    place = Shards(tmp_path)
    place.turn()
    for _ in range(50):
        place.event(0, "shop.OrderPlaced")
    place.registry.known = MemorySchemas()
    asked = 0
    for _ in range(10):
        place.turn(0.1)
        asked += place.jobs.answer()
    assert asked == 1
    assert place.engine._shards[0].position == 50


def test_a_shard_with_timers_is_taken_once(tmp_path: Path) -> None:
    """Its snapshots' schema is known before the engine's thread looks for the timers in them."""
    place = Shards(tmp_path / "first")
    place.turn()
    place.event(0, "shop.OrderPlaced")
    place.turn()
    place.jobs.answer()
    place.turn()
    place.engine.close()
    place.start(tmp_path / "second")
    place.turn()
    assert len(place.engine._shards[0].timers.verdicts.due(1 << 62, place.engine._shards[0].timed)) == 1
    assert place.metrics.get_sample_value("kantor_shards_retaken_total") == 0
    assert place.jobs.asked == []
