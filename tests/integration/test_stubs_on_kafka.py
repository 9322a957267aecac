"""What comes late for an order that has ended, when the engine has nothing of it but the retained record in the state topic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from integration.chaos_services import MoneyTaken, StockTaken
from integration.evidence import pointed_to, wrong_snapshots
from integration.platform_kit import SHARDS, Orders, Platform
from integration.program import Program
from integration.settling import settle
from kantor.envelope import shard_of
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import Stub, state_from
from waiting import PATIENCE


class Ended:
    """A platform on which orders have ended, and an engine that begins with an empty store."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self._lives = platform, 1
        platform.services()
        self.roles = {name: platform.role(name).start() for name in ("intake", "engine", "view")}
        for role in self.roles.values():
            role.await_ready()

    @property
    def engine(self) -> Program:
        return self.roles["engine"]

    def restart(self) -> None:
        self.engine.stop()
        shutil.rmtree(self.platform.folder / "home" / "store")
        self._lives += 1
        self.roles["engine"] = self.platform.role("engine", f"engine-{self._lives}").start()
        self.engine.await_ready()

    def orders(self, count: int, plan: str) -> Orders:
        orders = self.platform.place(count, plan)
        settle(self.platform, orders)
        return orders

    def stub(self, id_: str) -> Stub:
        values = [r.value() for r in self.platform.read(topics.STATE) if r.key() == id_.encode()]
        assert len(values[-1] or b"") <= 120
        found = state_from(id_, self.platform.codec.decode(values[-1]))
        assert isinstance(found, Stub)
        return found

    def late(self, id_: str) -> None:
        """The money was taken after all."""
        value = self.platform.encode(MoneyTaken(order_id=id_, plan="no_money"))
        self.platform.send(MoneyTaken, id_, value)

    def skip(self, id_: str, step: str) -> None:
        """A person says that there is nothing to reverse."""
        act = journal.ActEntry(f"skip-{id_}", "skip", "ann", "it was never taken", step=step)
        producer = self.platform.settings.producer("ann")
        producer.produce(topics.JOURNAL, act.dump(), id_.encode(), journal.ACT_HEADERS, shard_of(id_, SHARDS))
        producer.flush()

    def moves(self, id_: str, kind: str) -> int:
        return sum(move["kind"] == kind for move in self.platform.follower.moves[id_])


@pytest.fixture(scope="module")
def ended(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    with Platform(kafka, tmp_path_factory.mktemp("stubs")) as platform:
        yield Ended(platform)


def test_a_late_effect_is_reversed_from_a_stub(ended: Ended) -> None:
    """An engine whose store is gone reads the snapshot from the log, and has the late effect reversed. Its service never had it, so
    that is a person's to know; then the order ends again."""
    orders = ended.orders(2, "no_money")
    late, other = orders
    before = ended.stub(late)
    assert pointed_to(ended.platform, before).status is Status.COMPENSATED
    ended.restart()
    ended.late(late)
    (incident,) = ended.platform.seen(late, lambda trace: bool(trace.incidents)).incidents
    assert "this store knows nothing of it" in incident.reason
    ended.skip(late, "money")
    ended.platform.until(lambda: ended.moves(late, "ended") == 2, "it has ended again")
    assert ended.moves(late, "reopened") == 1
    assert ended.moves(other, "ended") == 1
    settle(ended.platform, orders)
    assert wrong_snapshots(ended.platform, orders) == []
    assert ended.stub(late).history > before.history


def test_a_duplicate_after_the_end_changes_nothing(ended: Ended) -> None:
    """The start and an answer are told again, at another place: nothing follows, and a later order completes."""
    orders = ended.orders(1, "good")
    (id_,) = orders
    told = [
        r
        for r in ended.platform.read(StockTaken.TOPIC)
        if r.key() == id_.encode() or id_.encode() in (r.value() or b"")
    ]
    moves = list(ended.platform.follower.moves[id_])
    ended.restart()
    for record in told:
        headers = {name: value for name, value in record.headers() or () if value is not None}
        ended.platform.send_to(StockTaken.TOPIC, record.value(), record.key(), headers)
    assert told
    ended.platform.await_journaled(StockTaken.TOPIC)
    settle(ended.platform, ended.orders(4, "good"))
    assert ended.platform.follower.moves[id_] == moves


def test_what_comes_for_a_lost_snapshot_waits_for_a_person(ended: Ended, kafka: str) -> None:
    """The history was cut short behind its end: the message is an incident of its own transaction, which says what is gone, and
    others complete."""
    orders = ended.orders(1, "no_money")
    (id_,) = orders
    place = TopicPartition(topics.HISTORY, shard_of(id_, SHARDS), ended.stub(id_).history + 1)
    ended.restart()
    admin = AdminClient({"bootstrap.servers": kafka})  # it must outlive its futures
    for future in admin.delete_records([place]).values():
        future.result(PATIENCE)
    ended.late(id_)
    reason = ended.platform.incident(id_)
    assert f"{topics.HISTORY}/{place.partition}/{place.offset - 1} is gone" in reason
    assert ended.engine.said("snapshot_lost", transaction=id_)
    assert ended.moves(id_, "reopened") == 0
    ended.platform.await_completed(ended.orders(4, "good"))
