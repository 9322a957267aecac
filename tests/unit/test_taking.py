"""Taking a shard: two engines that take one shard at the same time do not both get it (log-6)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from kantor.clients import Partition, TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.errors import FencedError
from kantor.testing import MemoryBroker
from kantor_orchestrator.engine.gauges import Untaken
from kantor_orchestrator.engine.memory import Budget
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Means, Taking, take
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.marks import Shards
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.process.wellness import Wellness

SCHEMAS = MemorySchemas()


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    names = (topics.JOURNAL, topics.STATE, topics.HISTORY)
    broker.clients().admin().create_topics([TopicSpec(name, 1) for name in names])
    return broker


def means(broker: MemoryBroker, folder: Path) -> Means:
    clients = broker.clients()
    return Means(
        clients,
        clients.admin(),
        Codec(SCHEMAS),
        folder,
        ThreadPoolExecutor(1),
        Budget(1 << 20),
        lambda *_: None,
        broker.clock,
        BrokerTime(broker.clock),
    )


def test_who_was_overtaken_while_taking_does_not_get_the_shard(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended after its fence and before its epoch, it has the newest epoch, and an old state: it must not decide."""
    slow, fast = means(broker, tmp_path / "slow"), means(broker, tmp_path / "fast")
    taken: list[Shard] = []
    ends = slow.admin.ends

    def overtaken(partitions: list[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        if not taken:
            taken.append(take(0, fast, Taking(0.0)))
        return ends(partitions, timeout)

    monkeypatch.setattr(slow.admin, "ends", overtaken)
    with pytest.raises(FencedError):
        take(0, slow, Taking(0.0))
    taken[0].close()
    take(0, slow, Taking(0.0)).close()


def test_what_is_committed_is_in_the_store_a_second_later(broker: MemoryBroker, tmp_path: Path) -> None:
    """Also if nothing happens any more: what waits to be stored costs memory, and a restart that much of the changelog."""
    shard = take(0, means(broker, tmp_path), Taking(0.0))
    shard.flush(1.0)
    shard.transactions.committed({"tx": (b"snapshot", None, None)})
    dirty = []
    for now in (1.5, 2.5):
        shard.tend_checkpoint(now)
        dirty.append(shard.transactions.is_dirty)
    assert dirty == [True, False]
    shard.close()


def test_a_stub_expires_by_the_brokers_clock_and_by_this_machines(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    """What is late by the one that is wrong would find nothing, and nobody could bring it back."""
    shard = take(0, means(broker, tmp_path), Taking(0.0))
    expires = broker.clock.now() + 3_600_000
    shard.transactions.committed({"tx": (b"snapshot", None, expires)})
    shard.flush(1.0)

    def dropped(clock: int) -> bool:
        shard.clock = clock
        shard.take_checkpoint(0.0)
        assert shard._checkpoint is not None
        return "tx" in shard._checkpoint.rows

    assert not dropped(expires + 86_400_000)  # the broker's clock leaps ahead
    assert not dropped(expires - 1)
    broker.clock.sleep(3_601)
    assert not dropped(expires - 1)  # this machine's does
    assert dropped(expires + 1)
    shard.close()


def test_entries_that_retention_took_before_an_engine_looked_at_them(
    broker: MemoryBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted and said, and the shard goes on behind them."""
    producer = broker.clients().producer("intake")
    for _ in range(5):
        producer.produce(topics.JOURNAL, b"", b"t", None, 0)
    producer.flush()
    broker.topics[topics.JOURNAL].logs[0].trim(3)
    shard = take(0, means(broker, tmp_path), Taking(0.0))
    assert (shard.position, shard.lost_entries) == (3, 3)
    assert f"{topics.JOURNAL}/0 has lost the entries from 0 to 3" in caplog.text
    shard.close()


def test_decisions_that_are_gone_before_a_checkpoint_contains_them_are_told(
    broker: MemoryBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody has deleted the history's records: what they were about is decided again, and who looks is told."""
    first = take(0, means(broker, tmp_path), Taking(0.0))
    first.close()
    assert first.recreated == []
    log = broker.topics[topics.HISTORY].logs[0]
    log.trim(log.end)
    shard = take(0, means(broker, tmp_path), Taking(0.0))
    assert shard.recreated == [topics.HISTORY]
    assert f"{topics.HISTORY}/0 has lost the decisions from 0 to 1" in caplog.text
    shard.close()


def test_a_shard_that_has_lost_what_nobody_had_read_is_named_by_the_status() -> None:
    """Its log and its metric say so, too; who asks looks here first."""
    said: dict[str, bytes | None] = {}
    watermarks = SimpleNamespace(say=lambda key, value: said.__setitem__(key, value))
    starts = SimpleNamespace(tell=lambda *_: None)
    unsent = SimpleNamespace(look=lambda *_: {})
    gauges = Untaken(watermarks, Wellness(), EngineMetrics(CollectorRegistry()), starts, unsent)  # type: ignore[arg-type]
    shard = SimpleNamespace(
        number=3, recreated=[], lost_entries=7, store_trouble="", waits_since=0.0, not_before=0.0
    )
    shard.committed_position = shard.position = 0
    gauges.taken(shard, 5_000)  # type: ignore[arg-type]
    gauges.tell({3: shard}, {}, 0.0, 5_000, 5_000)  # type: ignore[dict-item]
    (value,) = said.values()
    assert Shards.load(value or b"", 5_000).anew == {f"{topics.JOURNAL}/3": 5_000}
