"""What somebody else wrote into the state topic (which ACLs forbid) counts for nothing, and stops no shard (shard-12)."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import msgpack

from kantor.clients import TopicSpec
from kantor.codec import Codec
from kantor.errors import KantorError
from kantor.testing import MemoryBroker
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Taking, take
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import transaction_record
from kantor_schemas import system
from unit.test_taking import SCHEMAS, means

CODEC = Codec(SCHEMAS)
_encode = CODEC.encoder(system("TransactionState"), topics.STATE)


def with_extension() -> bytes:
    record = transaction_record(Transaction("t", "s", 1, Status.RUNNING))
    facts = msgpack.decode(record["facts"])
    facts[13] = {"a": {"x": msgpack.Ext(5, b"zz")}}
    return _encode({**record, "facts": msgpack.encode(facts)})


def overlong() -> bytes:
    """The version is a number of 31 bytes; what follows is not where it should be."""
    value = _encode(transaction_record(Transaction("t", "s", 1, Status.RUNNING)))
    return value[:7] + b"\x80" * 30 + b"\x01" + value[9:]


FOREIGN = {
    "no avro": (b"t", b"xyz"),
    "an extension": (b"t", with_extension()),
    "a key that is no text": (b"\xff\xfe", b"xyz"),
    "a shard record that is none": (topics.SHARD_KEY, b"xyz"),
    "a shard record that is a transaction": (topics.SHARD_KEY, with_extension()),
    "a mark that is none": (topics.MARK_PREFIX + b"evt.x/0", b"xyz"),
    "a mark whose key is no text": (topics.MARK_PREFIX + b"\xff", with_extension()),
}


def taken(foreign: tuple[bytes, bytes], folder: Path) -> Shard:
    """A shard whose state has a transaction, ``good``, and the foreign record."""
    broker = MemoryBroker()
    names = (topics.JOURNAL, topics.STATE, topics.HISTORY)
    broker.clients().admin().create_topics([TopicSpec(one, 1) for one in names])
    producer = broker.clients().producer("somebody")
    shard_record = {"position": 0, "clock": 17, "history": 0, "epoch": -1, "holds": {}}
    encode_shard = CODEC.encoder(system("ShardRecord"), topics.STATE)
    good = _encode(transaction_record(Transaction("good", "s", 1, Status.RUNNING)))
    for key, value in ((topics.SHARD_KEY, encode_shard(shard_record)), (b"good", good), foreign):
        producer.produce(topics.STATE, value, key, None, 0)
    producer.flush()
    return take(0, means(broker, folder), Taking(0.0))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_record_stops_no_shard(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The shard is taken, what was written before counts, the other transactions are there; and it is said."""
    shard = taken(FOREIGN[name], tmp_path)
    assert shard.clock == 17
    assert shard.get("good") == Transaction("good", "s", 1, Status.RUNNING)
    assert shard.get("t") is None
    assert "is ignored" in caplog.text
    assert list(shard.transactions.due_before(1 << 60)) == []
    shard.close()


def test_an_overlong_number_stops_no_shard(tmp_path: Path) -> None:
    """It means what is left of it in 64 bits: whatever that is, it can be looked at."""
    shard = taken((b"t", overlong()), tmp_path)
    assert shard.get("good") is not None
    shard.get("t")
    assert list(shard.transactions.due_before(1 << 60)) == []
    shard.close()


def test_a_shard_whose_only_record_is_foreign_is_not_begun_anew(tmp_path: Path) -> None:
    """Compaction has taken the engines' own: from the journal's start on, what is in the snapshots would be applied to them again."""
    broker = MemoryBroker()
    names = (topics.JOURNAL, topics.STATE, topics.HISTORY)
    broker.clients().admin().create_topics([TopicSpec(one, 1) for one in names])
    producer = broker.clients().producer("somebody")
    producer.produce(topics.STATE, b"xyz", topics.SHARD_KEY, None, 0)
    producer.flush()
    with pytest.raises(KantorError, match=rf"the shard's position is unknown: {topics.STATE}/0/0"):
        take(0, means(broker, tmp_path), Taking(0.0))


def test_a_state_of_an_unknown_schema_is_named(tmp_path: Path) -> None:
    """It may be an engine's own, whose schema the registry has lost: it is not passed over."""
    shard = taken((b"t", b"\0\x01\x02\x03\x04rest"), tmp_path)
    with pytest.raises(KantorError, match=f"the state of t in {topics.STATE} can't be read: schema"):
        shard.get("t")
    shard.close()
