"""Entries that are nobody's everyday: what can't be read yet, a message that Kafka refuses, a log that is another's; a whole
engine in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import kantor_schemas
from kantor.clients import Record, TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.envelope import Envelope
from kantor.errors import KantorError
from kantor.testing import MemoryBroker
from kantor.testing.admin import MemoryAdmin
from kantor_orchestrator import journal, topics
from kantor_orchestrator.acts import moves_of
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Changes, Definitions, Take
from kantor_orchestrator.definitions.dsl import Saga
from kantor_orchestrator.engine.cut import Cutter
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.history import is_epoch
from kantor_orchestrator.metrics import EngineMetrics
from unit.core_kit import EXAMPLE, ORDER

CATALOG = kantor_schemas.example("checkout")
PLACED = CATALOG["shop.OrderPlaced"]
BUNDLE = bundles.bundle(Saga.load(EXAMPLE).model, CATALOG, 1)

DAY = 86_400_000
#: After times that a producer might have made up.
DEPLOYED_LATE = replace(BUNDLE, deployed_at=2 * DAY)


class AtOnce(Executor):
    """Instead of threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks
            future.set_exception(error)
        return future


class Place:
    """A platform's topics in memory with one engine; ``schemas``: what it knows, ``others``: what its senders know."""

    def __init__(self, folder: Path, definitions: Definitions | None = None) -> None:
        self.broker = MemoryBroker()
        self.schemas, self.others = MemorySchemas(), MemorySchemas()
        specs = [spec for spec in topics.specs(1, 1 << 20) if spec.partitions == 1]
        self.broker.clients().admin().create_topics(
            [*specs, TopicSpec("cmd.inventory.v1", 1), TopicSpec("cmd.shipping.v1", 1)]
        )
        self._sent = 0
        self.topic_id = b"topic"
        self._producer = self.broker.clients().producer("test")
        self.engine = Engine(
            self.broker.clients(),
            1,
            folder,
            self.schemas,
            definitions or Definitions([BUNDLE]),
            EngineMetrics(CollectorRegistry()),
            clock=self.broker.clock,
            jobs=AtOnce(),
        )
        self.engine.start(lambda: None)

    def event(self, transaction: str, type_: str, sent: int | None = None) -> None:
        """As intake would journal it; ``sent``: the record's own time (ms), now unless given."""
        schema = CATALOG[type_]
        value = Codec(self.others).encoder(schema, "t")(
            {f["name"]: ORDER[f["name"]] for f in schema["fields"]}
        )
        self._sent += 1
        envelope = Envelope(
            id=f"m-{self._sent}", source=type_.split(".")[0], type=type_, correlation_id=transaction
        )
        headers: list[tuple[str, bytes | None]] = [
            *envelope.headers(),
            (journal.ENTRY, journal.EVENT),
            (journal.ORIGIN, f"evt.t.v1/0/{self._sent}".encode()),
            (journal.TOPIC_ID, self.topic_id),
            (journal.TIMESTAMP, str(self.broker.clock.now() if sent is None else sent).encode()),
        ]
        self._producer.produce(topics.JOURNAL, value, transaction.encode(), headers, 0)
        self._producer.flush()

    def act(self, transaction: str, act: str, step: str = "", **fields: Any) -> None:
        self._sent += 1
        value = journal.Act(f"a-{self._sent}", act, "ann", "please", step, fields).dump()
        self._producer.produce(topics.JOURNAL, value, transaction.encode(), journal.ACT_HEADERS, 0)
        self._producer.flush()

    def history(self) -> list[tuple[str, str, str]]:
        """(transaction, move, step) in order."""
        return [(move["transaction_id"], move["kind"], move["step"]) for move in self._moves()]

    def told(self, transaction: str) -> list[Mapping[str, Any]]:
        return [move for move in self._moves() if move["transaction_id"] == transaction]

    def _moves(self) -> list[Mapping[str, Any]]:
        found = self.broker.topics[topics.HISTORY].logs[0].read(0, 1_000, 1e12, committed=True)[0]
        decode = Codec(self.schemas).decode
        decisions = [decode(record.value()) for record in found if not is_epoch(record)]
        return [move for decision in decisions for move in moves_of(decision)]

    def kinds(self, transaction: str) -> list[str]:
        return [kind for id_, kind, _ in self.history() if id_ == transaction]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(5_000):
            if condition():
                return
            self.engine.turn()
        raise AssertionError(f"it does not come: {self.history()}")


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


class UnderWay:
    """A saga that was just deployed: this engine has not been sent it; who asks for the topic's end gets it, once it answers."""

    answers = False

    def fresh(self) -> Changes:
        return Changes()

    def catch_up(self, take: Take) -> bool:
        if self.answers:
            take(Changes([BUNDLE]))
        return self.answers

    def close(self) -> None:
        pass


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
    tmp_path: Path, sent: int, code: str
) -> None:
    """saga-6: the first connection to an old cluster starts nothing; what a mirror's time made old can be started."""
    place = Place(tmp_path, Definitions([DEPLOYED_LATE]))
    place.broker.clock.sleep(4 * DAY / 1000)
    place.schemas.id_of(PLACED, "t")
    place.event("t", "shop.OrderPlaced", sent)
    place.turn_until(lambda: "ignored" in place.kinds("t"))
    (told,) = place.told("t")
    assert (told["code"], "kantor start --offset 0" in told["reason"]) == (code, True)
    place.act("t", core.START, offset=0)
    place.turn_until(lambda: "started" in place.kinds("t"))
    place.engine.close()


def made_again(place: Place, name: str) -> None:
    """The topic is deleted, and made again."""
    del place.broker.topics[name]
    (spec,) = (spec for spec in topics.specs(1, 1 << 20) if spec.name == name)
    place.broker.create_topic(spec)


def refused(*_: object) -> float:
    raise KantorError("not now")


def start_anew(place: Place, folder: Path) -> None:
    place.engine = Engine(
        place.broker.clients(),
        1,
        folder,
        place.schemas,
        Definitions([BUNDLE]),
        EngineMetrics(CollectorRegistry()),
        clock=place.broker.clock,
        jobs=AtOnce(),
    )
    place.engine.start(lambda: None)


@pytest.mark.parametrize("ids", [True, False])
def test_a_journal_that_was_made_again_is_read_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, ids: bool
) -> None:
    """journal-20: its offsets mean other entries now: none is passed over as dealt with, and each is decided on once, also
    where the shard is taken again before that is committed. Some brokers give topics no ids."""
    if not ids:
        zeros = "00000000-0000-0000-0000-000000000000"
        monkeypatch.setattr(MemoryAdmin, "topic_ids", lambda _, names: dict.fromkeys(names, zeros))
    place = Place(tmp_path)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    for number in range(10):
        place.event(f"old-{number}", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("old-9"))
    place.engine.close()
    made_again(place, topics.JOURNAL)
    place.event("new", "shop.OrderPlaced")
    with monkeypatch.context() as patched:
        patched.setattr(Cutter, "commit", refused)
        start_anew(place, tmp_path)
        place.turn_until(lambda: "started" in place.kinds("new"))
        first = place.engine._shards[0]
        place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    place.event("new", "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds("new"))
    assert place.kinds("new").count("started") == 1
    assert "journal_made_again" in {getattr(record, "action", "") for record in caplog.records}
    place.engine.close()


def test_a_journal_that_was_made_again_is_told_by_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is longer than the old one was, so that its end tells nothing: none of its entries is passed over, and each is decided
    on once, also where the shard is taken again before that is committed. Then it is told no more."""
    place = Place(tmp_path)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.event("old-0", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("old-0"))
    with monkeypatch.context() as patched:  # decided behind the last cut, on the old journal
        patched.setattr(Cutter, "commit", refused)
        place.event("old-1", "shop.OrderPlaced")
        place.turn_until(lambda: "started" in place.kinds("old-1"))
        place.engine.close()
        made_again(place, topics.JOURNAL)
        for number in range(5):
            place.event(f"new-{number}", "shop.OrderPlaced")
        start_anew(place, tmp_path)
        place.turn_until(lambda: "started" in place.kinds("new-4"))
        assert place.engine._metrics.made_again.labels(topics.JOURNAL)._value.get() == 1
        first = place.engine._shards[0]
        place.turn_until(lambda: place.engine._shards.get(0, first) is not first)
    place.event("new-0", "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds("new-0"))
    place.event("old-1", "inventory.StockReserved")
    place.turn_until(lambda: "succeeded" in place.kinds("old-1"))
    assert Counter(id_ for id_, kind, _ in place.history() if kind == "started") == dict.fromkeys(
        ["old-0", "old-1", *(f"new-{number}" for number in range(5))], 1
    )
    assert "journal_made_again" in {getattr(record, "action", "") for record in caplog.records}
    place.engine.close()
    start_anew(place, tmp_path)
    place.turn_until(lambda: bool(place.engine._shards))
    assert place.engine._shards[0].made_again == []
    place.engine.close()


def test_a_history_that_was_made_again_is_read_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided in it lies before the position that the last cut names, which counts in the old one: it is not decided
    once more, in another form, when the shard is taken again."""
    place = Place(tmp_path)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    for number in range(10):
        place.event(f"old-{number}", "shop.OrderPlaced")
    place.turn_until(lambda: "started" in place.kinds("old-9"))
    place.engine.close()
    made_again(place, topics.HISTORY)
    with monkeypatch.context() as patched:
        patched.setattr(Cutter, "commit", refused)
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
        if getattr(record, "action", "") == "history_made_again"
    ]
    assert said
    assert f"{topics.HISTORY}/0 was deleted and made again" in said[0]
    place.engine.close()
    start_anew(place, tmp_path)
    place.turn_until(lambda: bool(place.engine._shards))
    assert place.engine._shards[0].made_again == []
    place.engine.close()


def test_an_entry_that_comes_once_more_costs_its_shard_one_look(place: Place) -> None:
    """journal-21: it may be another journal's: the shard is taken anew, once, and passes it over if it is not."""
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
    """A shard's time is that of its last entry; the highest ever would let every stub expire for as long as it was ahead."""

    def clock_after_an_entry() -> int:
        place.event("t", "payment.PaymentCaptured")
        end = place.broker.log((topics.JOURNAL, 0)).end
        place.turn_until(lambda: bool(place.engine._shards) and place.engine._shards[0].position == end)
        return place.engine._shards[0].clock - place.broker.clock.now()

    place.broker.ahead = 86_400_000
    assert clock_after_an_entry() > 86_300_000
    place.broker.ahead = 0
    assert clock_after_an_entry() <= 0
