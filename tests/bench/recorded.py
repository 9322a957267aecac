"""A journal as intake would have written it: entries from what services publish, and checkouts in which every step succeeds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.services import GOOD, order
from kantor import envelope
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.kafka import KafkaSettings
from kantor.messages import Message
from kantor.schemas import schema_store
from kantor.writing import Outgoing, Writer
from kantor_examples.checkout.messages import OrderPlaced, PaymentCaptured, ShipmentBooked, StockReserved
from kantor_orchestrator.formats import journal

#: Transactions under way at the same time: enough that no two entries of one are in the same batch of the engine, which
#: would spare it a snapshot.
UNDER_WAY = 4_000
#: Entries of one transaction.
ENTRIES = 4
_SOURCE_PARTITIONS = 4
#: Where its events are.
TOPICS = [type_.TOPIC for type_ in (OrderPlaced, StockReserved, PaymentCaptured, ShipmentBooked)]

Headers = list[tuple[str, bytes | None]]
#: (value, transaction id, headers, partition), as ``Producer.produce`` takes them.
Entry = tuple[bytes | None, bytes, Headers, int]


class Journaled:
    """Makes entries of messages, as ``Intake`` appends them."""

    def __init__(self, topic_ids: Mapping[str, str], shards: int) -> None:
        """``topic_ids``: of the topics that the messages are on."""
        self._shards = shards
        self.now = int(time.time() * 1000)
        self._offsets: Counter[tuple[str, int]] = Counter()
        self._topic_ids = {name: id_.encode() for name, id_ in topic_ids.items()}

    def __call__(self, record: Outgoing) -> Entry:
        assert record.key is not None
        id_ = record.key.decode()
        partition = shard_of(id_, _SOURCE_PARTITIONS)
        offset = self._offsets[record.topic, partition]
        self._offsets[record.topic, partition] += 1
        headers = [
            *record.headers,
            (journal.ENTRY, journal.EVENT),
            (journal.ORIGIN, f"{record.topic}/{partition}/{offset}".encode()),
            (journal.TOPIC_ID, self._topic_ids[record.topic]),
            (journal.TIMESTAMP, b"%d" % self.now),
            (journal.KEY, record.key),
        ]
        return record.value, record.key, headers, shard_of(id_, self._shards)


class Recording:
    """Makes entries in the order in which a busy platform would journal them: step by step, for many at a time."""

    def __init__(self, codec: Codec, topic_ids: Mapping[str, str], shards: int) -> None:
        self._shop = Writer("shop", codec, [OrderPlaced])
        self._inventory = Writer("inventory", codec, [StockReserved])
        self._payment = Writer("payment", codec, [PaymentCaptured])
        self._shipping = Writer("shipping", codec, [ShipmentBooked])
        self._journaled = Journaled(topic_ids, shards)
        self._now = self._journaled.now

    def entries(self, count: int) -> Iterator[Entry]:
        """``count`` transactions, ``UNDER_WAY`` at a time."""
        for first in range(0, count, UNDER_WAY):
            numbers = range(first, min(count, first + UNDER_WAY))
            stages = zip(*(self._transaction(number) for number in numbers), strict=True)
            for stage in stages:
                for outgoing in stage:
                    yield self._journaled(outgoing)

    def _transaction(self, number: int) -> Sequence[Outgoing]:
        id_ = f"recorded-{number}"
        placed = order("recorded", number, GOOD)
        started = self._shop.start(self._shop.encode(placed, self._now), id_, 0)
        reserved = self._answer(
            self._inventory,
            StockReserved(
                order_id=placed.order_id,
                customer_id=placed.customer_id,
                sku=placed.sku,
                quantity=placed.quantity,
                amount_cents=placed.amount_cents,
            ),
            dict(started.headers),
        )
        captured = self._answer(
            self._payment,
            PaymentCaptured(order_id=placed.order_id, amount_cents=placed.amount_cents),
            dict(reserved.headers),
        )
        asked = envelope.command_id(id_, "shipping", "action", 1, 1).encode()
        booked = self._answer(
            self._shipping,
            ShipmentBooked(order_id=placed.order_id, tracking=f"track-{placed.order_id}"),
            {"ce_id": asked, "ce_correlationid": id_.encode()},
        )
        return started, reserved, captured, booked

    def _answer(self, writer: Writer, message: Message, cause: Mapping[str, bytes | None]) -> Outgoing:
        return writer.answers([writer.encode(message, self._now)], cause)[0]


def fill(settings: KafkaSettings, topics: Sequence[str], shards: int, count: int) -> int:
    """Write ``count`` transactions into each of ``topics``; the number of entries in each."""
    producer = settings.producer("bench-recording")
    ids = settings.admin("bench-recording").topic_ids(TOPICS)
    recording = Recording(Codec(schema_store(settings)), ids, shards)
    written = 0
    for value, key, headers, partition in recording.entries(count):
        for topic in topics:
            producer.produce(topic, value, key, headers, partition)
        written += 1
        if written % 1_000 == 0:
            producer.poll()
    producer.flush(60.0)
    return written
