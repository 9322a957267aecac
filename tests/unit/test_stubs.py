"""What is left of a transaction that has ended: a retained record in the state, which points to its snapshot in the log (log-9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.core.transaction import Status, StepState, StepStatus, Transaction
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.ended import Ended, Found
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.formats import journal, topics, watermarks
from kantor_orchestrator.formats.history import is_epoch
from kantor_orchestrator.formats.snapshots import (
    Stub,
    is_at_rest,
    state_from,
    stub_record,
    transaction_record,
)
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.operations.acts import moves_of
from kantor_schemas import system
from unit.engine_place import BUNDLE, CATALOG, AtOnce, Place

#: Bytes.
MOST = 120
DAY = 86_400_000
BEGUN = ("shop.OrderPlaced", "inventory.StockReserved", "payment.PaymentDeclined")


def an_ended_one(steps: int) -> Transaction:
    done = StepState(StepStatus.SUCCEEDED, command_id="c" * 36, effect="e" * 60)
    return Transaction(
        "t" * 128, "s" * 63, 2_000_000_000, Status.COMPENSATED, 1, 2, 3, 4 * DAY * 10_000,
        steps={f"lines[{n}].do": done for n in range(steps)}, fingerprints=set(range(steps)),
    )  # fmt: skip


def test_a_stub_is_small() -> None:
    """However much a transaction was, and whatever its saga is called: here 2,000 steps, in the longest names there are."""
    encode = Codec(MemorySchemas()).encoder(system("TransactionState"), topics.STATE)
    txn = an_ended_one(2_000)
    assert len(encode(transaction_record(txn))) > 100_000
    assert len(encode(stub_record(txn, 1 << 50))) <= MOST


def test_a_stub_comes_back_as_it_was_written() -> None:
    """With all that is asked of it without its snapshot."""
    txn, codec = an_ended_one(3), Codec(MemorySchemas())
    record = codec.decode(codec.encoder(system("TransactionState"), topics.STATE)(stub_record(txn, 17)))
    assert state_from(txn.id, record) == Stub(txn.id, txn.saga, txn.version, txn.status, 17, txn.expires_at)


@pytest.mark.parametrize(
    "facts",
    [
        {"status": Status.RUNNING},
        {"held": "held by ann: why", "expires_at": 0},
        {"expires_at": 0},  # it waits for a person
        {"put_off": [3], "again_at": 9},
        {"steps": {"a": StepState(StepStatus.IN_DOUBT, timer="question", due=9)}},
    ],
)
def test_what_somebody_waits_for_is_not_at_rest(facts: dict[str, object]) -> None:
    """It stays in the state as it is: its timers are looked for there."""
    ended = {"status": Status.COMPLETED, "expires_at": 7}
    assert is_at_rest(Transaction("t", "s", 1, **ended))  # type: ignore[arg-type]
    assert not is_at_rest(Transaction("t", "s", 1, **ended | facts))  # type: ignore[arg-type]


class Story(Place):
    """An order that is compensated, because its payment was declined."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder, self._lives = folder, 0
        for type_ in CATALOG:
            self.schemas.id_of(CATALOG[type_], "t")
        self.broker.create_topic(TopicSpec("cmd.payment.v1", 1))

    def end(self, transaction: str) -> None:
        for type_ in (*BEGUN, "inventory.StockReleased"):
            self.event(transaction, type_)
        self.turn_until(lambda: "ended" in self.kinds(transaction))

    def restart(self) -> None:
        """With an empty store: it has what Kafka has."""
        self.engine.close()
        self._lives += 1
        folder = self._folder / str(self._lives)
        clients, metrics = self.broker.clients(), EngineMetrics(CollectorRegistry())
        self.engine = Engine(
            clients, 1, folder, self.schemas, Definitions([BUNDLE]), metrics,
            clock=self.broker.clock, jobs=AtOnce(),
        )  # fmt: skip
        self.engine.start(lambda: None)
        self.turn_until(lambda: bool(self.engine._shards))

    def settle(self) -> None:
        """Everything that is in the journal is decided on."""
        end = self.broker.topics[topics.JOURNAL].logs[0].end
        self.turn_until(lambda: self.engine._shards[0].position == end)
        self.turn_until(lambda: self.engine._shards[0].writer.is_at_rest)

    def state(self, transaction: str) -> bytes | None:
        """Its last record."""
        found = self.broker.topics[topics.STATE].logs[0].read(0, 10_000, 1e12, committed=True)[0]
        return [one.value() for one in found if one.key() == transaction.encode()][-1]

    def moves(self, transaction: str) -> list[tuple[str, str, str]]:
        """(transition, step, reason)"""
        found = self.broker.topics[topics.HISTORY].logs[0].read(0, 1_000, 1e12, committed=True)[0]
        decode = Codec(self.schemas).decode
        told = [move for one in found if not is_epoch(one) for move in moves_of(decode(one.value()))]
        return [(m["kind"], m["step"], m["reason"]) for m in told if m["transaction_id"] == transaction]

    def lose_history(self) -> None:
        """As retention does."""
        log = self.broker.topics[topics.HISTORY].logs[0]
        log.trim(log.end)


def away(_shard: Shard, _seconds: float) -> None:
    raise KafkaUnavailableError("away")


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(tmp_path)
    story.end("t")
    story.restart()
    yield story
    story.engine.close()


def test_the_state_has_a_stub_of_what_has_ended(story: Story) -> None:
    """It points to the decision that has its snapshot: the last one."""
    value = story.state("t")
    assert value is not None
    assert len(value) <= MOST
    stub = state_from("t", Codec(story.schemas).decode(value))
    assert isinstance(stub, Stub)
    (record,) = (
        one
        for one in story.broker.topics[topics.HISTORY].logs[0].read(0, 1_000, 1e12, committed=True)[0]
        if one.offset() == stub.history
    )
    decision = Codec(story.schemas).decode(record.value())
    assert (decision["transaction_id"], decision["status"]) == ("t", "compensated")
    assert decision["snapshot"]


def test_a_late_effect_is_reversed_from_a_stub(story: Story) -> None:
    """The engine has it read from the log; then it is a whole transaction in the state again."""
    story.event("t", "payment.PaymentCaptured")
    story.turn_until(lambda: ("t", "compensation_sent", "payment") in story.history())
    assert "reopened" in story.kinds("t")
    story.restart()
    value = story.state("t")
    assert value is not None
    found = state_from("t", Codec(story.schemas).decode(value))
    assert isinstance(found, Transaction)
    assert found.steps["stock"].status is StepStatus.COMPENSATED
    story.event("t", "payment.PaymentRefunded")
    story.turn_until(lambda: story.kinds("t").count("ended") == 2)
    story.restart()
    assert len(story.state("t") or b"") <= MOST


def test_a_duplicate_changes_nothing(story: Story) -> None:
    """Not the start, which would begin it again, nor an answer; told by their ids, for they come by another topic."""
    before = story.moves("t")
    story._sent, story.topic_id = 0, b"another"
    for type_ in (*BEGUN, "inventory.StockReleased"):
        story.event("t", type_)
    story.settle()
    assert story.engine._shards[0].transactions.stub("t") is None  # it was looked at
    assert story.moves("t") == before


def test_a_burst_of_duplicates_is_one_read(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for by entries that wait is read together, and stays in memory for a while."""
    for number in range(20):
        story.end(f"t-{number}")
    story.restart()
    asked: list[list[str]] = []
    read = Ended.read

    def noted(self: Ended, stubs: Mapping[str, Stub]) -> Found:
        asked.append(list(stubs))
        return read(self, stubs)

    monkeypatch.setattr(Ended, "read", noted)
    for number in (*range(20), *range(20)):
        story.event(f"t-{number}", "inventory.StockReleased")
    story.settle()
    assert asked == [[f"t-{number}" for number in range(20)]]


def test_an_act_is_answered_as_before_the_end_was_long_ago(story: Story) -> None:
    """By what it is, and why not."""
    story.act("t", core.CANCEL)
    story.turn_until(lambda: "ignored" in story.kinds("t"))
    assert "compensated" in story.moves("t")[-1][2]


def test_a_stale_timer_needs_no_look_into_the_log(story: Story) -> None:
    """What is at rest has no timer that could go off."""
    story.lose_history()
    timer = b'["timeout", "payment", 1, 0, 1]'
    story._producer.produce(topics.JOURNAL, timer, b"t", journal.TIMER_HEADERS, 0)
    story._producer.flush()
    story.settle()
    assert story.moves("t") == []


def test_what_comes_for_a_lost_snapshot_waits_for_a_person(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    """The history was kept for too short a time. Others go on; the reason says what is gone; nothing is made of the message, also
    when it is tried again, until a person does without it."""
    story.lose_history()
    story.event("t", "payment.PaymentCaptured")
    story.end("other")
    assert story.kinds("t") == ["put_off", "incident_opened"]
    (_, _, reason) = story.moves("t")[1]
    assert "sys.kantor.history/0/" in reason
    assert "is gone" in reason
    assert "messages for it need a person" in caplog.text
    story.act("t", core.RETRY)
    story.turn_until(lambda: story.kinds("t").count("put_off") == 2)
    story.restart()
    story.event("t", "inventory.StockReserved")
    story.act("t", core.SKIP)
    story.act("t", core.SKIP)
    story.turn_until(lambda: story.kinds("t").count("dropped") == 2)
    assert {"succeeded", "reopened", "started", "ended"}.isdisjoint(story.kinds("t"))
    story.restart()
    assert len(story.state("t") or b"") <= MOST


def test_a_log_that_can_not_be_read_now_is_waited_for(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shard waits for is told, as ``kantor status`` tells it; it goes on by itself."""
    read, is_away = Ended.read, True

    def at_times(self: Ended, stubs: Mapping[str, Stub]) -> Found:
        if is_away:
            raise KafkaUnavailableError("its broker is away")
        return read(self, stubs)

    monkeypatch.setattr(Ended, "read", at_times)
    story.event("t", "payment.PaymentCaptured")
    reason = "t has ended, and can't be read from the log: its broker is away"

    def is_told() -> bool:
        found = watermarks.read(story.broker.clients(), "test", story.broker.clock).engine_of(0)
        return found is not None and [why for _, why in found[1].untaken.values()] == [reason]

    story.turn_until(is_told)
    is_away = False
    story.turn_until(lambda: ("t", "compensation_sent", "payment") in story.history())
    story.turn_until(lambda: not is_told())


def test_an_act_on_a_lost_one_is_refused(story: Story) -> None:
    """With the reason: nobody knows what it would be done to."""
    story.lose_history()
    story.act("t", core.RETRY, "payment")
    story.turn_until(lambda: "ignored" in story.kinds("t"))
    assert "is gone" in story.moves("t")[-1][2]


def test_what_the_log_has_of_an_ended_one_is_folded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that died behind a late effect, before its checkpoint: who takes the shard reads the snapshot first."""
    story.event("t", "payment.PaymentCaptured")
    story.turn_until(lambda: ("t", "compensation_sent", "payment") in story.history())
    monkeypatch.setattr(Shard, "finish", away)
    story.restart()
    shard = story.engine._shards[0]
    assert len(shard.recorded) == 1
    story.settle()
    found = shard.get("t")
    assert found is not None
    assert found.status is Status.COMPENSATING
    assert found.steps["stock"].status is StepStatus.COMPENSATED


def test_a_stub_is_forgotten_when_it_expires(story: Story) -> None:
    """Also by memory."""
    story.act("t", core.CANCEL)
    story.turn_until(lambda: "ignored" in story.kinds("t"))
    story.broker.clock.sleep(31 * DAY / 1000)
    story.event("other", "shop.OrderPlaced")
    known = story.engine._shards[0].transactions
    story.turn_until(lambda: known.stub("t") is None and known.get("t") is None)
    assert story.state("t") is None
