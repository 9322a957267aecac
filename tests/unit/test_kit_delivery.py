"""What is sent and committed in which order, and what a failure at each point leaves: with clients that only take notes
(kit-1, kit-4).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from kantor import clients
from kantor import delivery as module
from kantor.clients import Batch, Partition
from kantor.delivery import AtLeastOnceDelivery, TransactionalDelivery
from kantor.errors import FencedError, KafkaUnavailableError, KantorError
from kantor.kafka import Consumer, Producer
from kantor.metrics import Metrics
from kantor.writing import Outgoing
from unit.kit_harness import FakeRecord

T0: Partition = ("t", 0)
T1: Partition = ("t", 1)
ASIDE: Partition = ("dlq.t", 0)


def record(offset: int, partition: int = 0) -> FakeRecord:
    return FakeRecord(b"", [], "t", partition, offset)


def answer(name: str = "a") -> Outgoing:
    return Outgoing(name, b"v", b"k", [])


class Notes:
    """Consumer and producer in one: notes every call, and fails where told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fails: dict[str, list[KantorError]] = {}
        self.mine = [T0, T1]
        self.generation = 1

    def _note(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if self.fails.get(name):
            raise self.fails[name].pop(0)

    # -- the consumer
    def group_metadata(self) -> int:
        return self.generation

    def poll(self, timeout: float = 0, limit: int = 0) -> Batch:
        self.generation += 1
        return Batch([record(0)], {})

    def assignment(self) -> list[Partition]:
        return self.mine

    def seek(self, partition: Partition, offset: int) -> None:
        self._note("seek", partition, offset)

    # -- the producer
    def produce(self, topic: str, *rest: Any) -> None:
        self._note("produce", topic)

    def flush(self, timeout: float) -> None:
        self._note("flush")

    def done(self) -> int:
        return 0

    def init_transactions(self, timeout: float) -> None:
        self._note("init")

    def begin(self) -> None:
        self._note("begin")

    def send_offsets(self, positions: Mapping[Partition, int], group: int) -> None:
        self._note("send_offsets", dict(positions), group)

    def abort(self) -> None:
        self._note("abort")

    # -- both
    def commit(self, positions: Mapping[Partition, int] | None = None, *, wait: bool = False) -> None:
        self._note("commit", *([] if positions is None else [dict(positions)]), *(["wait"] if wait else []))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def transactional(notes: Notes) -> TransactionalDelivery:
    delivery = TransactionalDelivery(cast("Consumer", notes), cast("Producer", notes), Metrics(), ASIDE)
    delivery.poll(0, 1)
    notes.calls.clear()
    return delivery


@pytest.fixture(autouse=True)
def commits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMMIT_EVERY", -1.0)


@pytest.fixture
def repeating(notes: Notes) -> AtLeastOnceDelivery:
    return AtLeastOnceDelivery(cast("Consumer", notes), cast("Producer", notes), threading.Event())


def names(notes: Notes) -> Sequence[str]:
    return [call[0] for call in notes.calls]


# -- in a Kafka transaction


def test_answers_and_positions_in_one_kafka_transaction(
    transactional: TransactionalDelivery, notes: Notes
) -> None:
    """Answers and the position after the batch are committed together."""
    transactional.finish([record(4), record(5), record(7, 1)], [answer("a"), answer("b")])
    assert notes.calls == [
        ("begin",),
        ("produce", "a"),
        ("produce", "b"),
        ("send_offsets", {T0: 6, T1: 8}, 1),
        ("commit",),
    ]


def test_what_a_crash_has_torn_is_closed_with_each_assignment(notes: Notes) -> None:
    """Positions that were committed, but whose marker the broker has lost, get the marker of an empty Kafka transaction;
    sent as by somebody outside the group, since a member is refused during a rebalance."""
    delivery = TransactionalDelivery(cast("Consumer", notes), cast("Producer", notes), Metrics(), ASIDE)
    delivery.start()
    outside = notes.generation
    delivery.poll(0, 1)
    delivery.assigned([T0])
    assert notes.calls == [("init",), ("begin",), ("send_offsets", {ASIDE: 0}, outside), ("commit",)]


def test_group_metadata_is_older_than_the_records(transactional: TransactionalDelivery, notes: Notes) -> None:
    """The generation sent with the positions is that from before the poll: a rebalance during it is refused."""
    transactional.poll(0, 1)
    assert notes.generation == 3
    transactional.finish([record(0)], [answer()])
    assert ("send_offsets", {T0: 1}, 2) in notes.calls


def test_an_aborted_batch_is_read_again(transactional: TransactionalDelivery, notes: Notes) -> None:
    """A refused batch is aborted, and its partitions are read again from where it began."""
    notes.fails["send_offsets"] = [KafkaUnavailableError("ILLEGAL_GENERATION")]
    transactional.finish([record(4), record(5), record(7, 1)], [answer()])
    assert names(notes) == ["begin", "produce", "send_offsets", "abort", "seek", "seek"]
    assert {call[1:] for call in notes.calls if call[0] == "seek"} == {(T0, 4), (T1, 7)}


def test_a_producer_that_gives_up_twice_in_a_row_is_replaced(
    transactional: TransactionalDelivery, notes: Notes
) -> None:
    """It may be broken for good, so everything is set up again; a batch that was committed between makes it trusted again."""
    notes.fails["send_offsets"] = [KafkaUnavailableError("timed out")]
    transactional.finish([record(4)], [answer()])
    transactional.finish([record(4)], [answer()])
    notes.fails["send_offsets"] = [
        KafkaUnavailableError("ILLEGAL_GENERATION"),
        KafkaUnavailableError("erroneous state"),
    ]
    transactional.finish([record(5)], [answer()])
    notes.calls.clear()
    with pytest.raises(KafkaUnavailableError, match="erroneous state"):
        transactional.finish([record(5)], [answer()])
    assert names(notes) == ["begin", "produce", "send_offsets"]


def test_only_our_partitions_are_read_again(transactional: TransactionalDelivery, notes: Notes) -> None:
    """A partition that went to another member meanwhile is that member's business."""
    notes.mine = [T1]
    notes.fails["send_offsets"] = [KafkaUnavailableError("ILLEGAL_GENERATION")]
    transactional.finish([record(4), record(7, 1)], [answer()])
    assert [call for call in notes.calls if call[0] == "seek"] == [("seek", T1, 7)]


def test_a_commit_without_verdict(transactional: TransactionalDelivery, notes: Notes) -> None:
    """When nobody knows whether the commit happened, the caller must start again; nothing is committed on the way out."""
    notes.fails["commit"] = [KafkaUnavailableError("timed out")]
    transactional.finish([record(3)], [])
    with pytest.raises(KafkaUnavailableError):
        transactional.finish([record(4)], [answer()])
    notes.calls.clear()
    transactional.revoked([T0, T1])
    assert notes.calls == []


def test_fenced(transactional: TransactionalDelivery, notes: Notes) -> None:
    """A fenced producer writes nothing more, not even an abort."""
    notes.fails["begin"] = [FencedError("other")]
    with pytest.raises(FencedError):
        transactional.finish([record(4)], [answer()])
    assert names(notes) == ["begin"]


def test_skipped_positions_go_with_the_next_answers(
    transactional: TransactionalDelivery, notes: Notes
) -> None:
    """Records that were only skipped cost no Kafka transaction of their own."""
    transactional.finish([record(4), record(9, 1)], [])
    assert notes.calls == []
    transactional.finish([record(5)], [answer()])
    assert ("send_offsets", {T0: 6, T1: 10}, 1) in notes.calls


def test_skipped_positions_are_read_again_too(transactional: TransactionalDelivery, notes: Notes) -> None:
    """An aborted batch is read again from the first position that is not committed."""
    transactional.finish([record(4)], [])
    notes.fails["send_offsets"] = [KafkaUnavailableError("ILLEGAL_GENERATION")]
    transactional.finish([record(5)], [answer()])
    assert notes.calls[-1] == ("seek", T0, 4)


def test_skipped_positions_at_a_revoke(transactional: TransactionalDelivery, notes: Notes) -> None:
    """Positions of skipped records are committed before the partition is given away."""
    transactional.finish([record(4), record(9, 1)], [])
    transactional.revoked([T0])
    assert notes.calls == [("begin",), ("send_offsets", {T0: 5}, 2), ("commit",)]


def test_lost_partitions_are_forgotten(transactional: TransactionalDelivery, notes: Notes) -> None:
    """Of a lost partition nothing is committed: another member may have committed more."""
    transactional.finish([record(4)], [])
    transactional.lost([T0])
    transactional.revoked([T0])
    assert notes.calls == []


# -- at least once


def test_answers_before_positions(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """Positions are committed when all answers are delivered."""
    repeating.finish([record(4), record(7, 1)], [answer("a"), answer("b")])
    assert notes.calls == [
        ("produce", "a"),
        ("produce", "b"),
        ("flush",),
        ("commit", {T0: 5, T1: 8}),
    ]


def test_an_outage_is_waited_out(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """While answers can't be delivered nothing is committed, and nothing is given up."""
    notes.fails["flush"] = [KafkaUnavailableError("1 record not delivered")] * 2
    repeating.finish([record(4)], [answer()])
    assert names(notes) == ["produce", "flush", "flush", "flush", "commit"]


def test_a_producer_that_is_stuck_is_given_up(
    repeating: AtLeastOnceDelivery, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nothing is delivered for long, everything is set up again; nothing was committed, so it is all read again."""
    monkeypatch.setattr(clients, "STUCK", -1.0)
    notes.fails["flush"] = [KafkaUnavailableError("1 record not delivered")]
    with pytest.raises(KafkaUnavailableError):
        repeating.finish([record(4)], [answer()])
    assert names(notes) == ["produce", "flush"]


def test_an_outage_while_stopping(notes: Notes) -> None:
    """A service that shall stop does not wait for the broker; what it could not send comes from the inbox next time."""
    stop = threading.Event()
    stop.set()
    delivery = AtLeastOnceDelivery(cast("Consumer", notes), cast("Producer", notes), stop)
    notes.fails["flush"] = [KafkaUnavailableError("1 record not delivered")]
    with pytest.raises(KafkaUnavailableError):
        delivery.finish([record(4)], [answer()])
    delivery.revoked([T0])
    assert ("commit", {T0: 5}) not in notes.calls
    assert ("commit", {T0: 5}, "wait") not in notes.calls


def test_a_refused_answer(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """If an answer is refused for good, its position is not committed."""
    notes.fails["flush"] = [KantorError("refused")]
    with pytest.raises(KantorError):
        repeating.finish([record(4)], [answer()])
    assert names(notes) == ["produce", "flush"]


def test_positions_at_a_revoke(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """Before a partition is given away its position is committed for certain."""
    repeating.finish([record(4), record(7, 1)], [])
    notes.calls.clear()
    repeating.revoked([T1])
    assert notes.calls == [("commit", {T1: 8}, "wait")]


def test_a_failed_commit_at_a_revoke(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """If even that fails, the next owner reads some of it again: no error."""
    repeating.finish([record(4)], [])
    notes.fails["commit"] = [KafkaUnavailableError("no coordinator")]
    repeating.revoked([T0])
    repeating.revoked([T0])
    assert names(notes) == ["commit", "commit", "commit"]


def test_lost_positions_are_forgotten(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """Of a lost partition nothing more is committed."""
    repeating.finish([record(4)], [])
    repeating.lost([T0])
    notes.calls.clear()
    repeating.revoked([T0])
    assert notes.calls == [("commit", {}, "wait")]


def test_a_partition_that_was_lost_and_comes_back(repeating: AtLeastOnceDelivery, notes: Notes) -> None:
    """Also within one poll, whose records are already those of the new assignment: their position is committed."""
    repeating.lost([T0, T1])
    repeating.assigned([T0])
    repeating.finish([record(4), record(7, 1)], [])
    assert notes.calls == [("commit", {T0: 5})]


def test_positions_are_committed_now_and_then(
    repeating: AtLeastOnceDelivery, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not each batch costs a commit; the positions that waited go with the next one."""
    repeating.finish([record(4)], [])
    monkeypatch.setattr(module, "_COMMIT_EVERY", 3600.0)
    repeating.finish([record(5)], [])
    repeating.idle()
    assert notes.calls == [("commit", {T0: 5})]
    monkeypatch.setattr(module, "_COMMIT_EVERY", -1.0)
    repeating.finish([record(7, 1)], [])
    assert notes.calls[1:] == [("commit", {T0: 6, T1: 8})]


def test_positions_that_wait_at_a_revoke(
    repeating: AtLeastOnceDelivery, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that is given away takes its waiting position along; a lost one's is forgotten."""
    monkeypatch.setattr(module, "_COMMIT_EVERY", 3600.0)
    repeating._committed_at = time.monotonic()
    repeating.finish([record(4), record(7, 1)], [])
    repeating.revoked([T0])
    repeating.lost([T1])
    monkeypatch.setattr(module, "_COMMIT_EVERY", -1.0)
    repeating.finish([], [])
    assert notes.calls == [("commit", {T0: 5}, "wait")]
