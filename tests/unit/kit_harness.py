"""A service at a desk: its messages come and go by hand, time stands still until it is moved. No Kafka."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kantor import Message, Service
from kantor.codec import Codec, MemorySchemas
from kantor.envelope import Envelope, header_map, read, rfc3339
from kantor.inbox import Inbox
from kantor.metrics import Metrics
from kantor.processing import Processor
from kantor.records import StepFailed
from kantor.writing import Outgoing, Writer
from kantor_examples.checkout import messages

#: What desks have opened since the last test: Python complains of what is not closed. See ``conftest.py``.
OPENED: list[Inbox] = []
#: 2026-01-31T12:00:00Z
NOON = 1_769_860_800_000

TYPES: dict[str, Any] = {
    type_.TYPE: type_ for type_ in (*vars(messages).values(), StepFailed) if hasattr(type_, "TYPE")
}


@dataclass
class FakeRecord:
    """What a consumer hands out."""

    value_: bytes | None
    headers_: list[tuple[str, bytes | None]] | None
    topic_: str = "evt.inventory.stock.v1"
    partition_: int = 0
    offset_: int = 0
    key_: bytes | None = b"t1"

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.headers_

    def timestamp(self) -> tuple[int, int]:
        return 1, NOON


@dataclass
class Answer:
    """An outgoing record, read again."""

    message: Any
    envelope: Envelope
    record: Outgoing


@dataclass
class Desk:
    service: Service
    now: int = NOON
    #: By how much the clock is wrong (ms).
    set_by: int = 0
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schemas = MemorySchemas()
        self.metrics = Metrics()
        self._codec = Codec(self.schemas)
        self._writer = Writer("shop", self._codec, TYPES.values())
        self._offsets = itertools.count()
        self.inbox: Inbox | None = None
        self.start()

    def start(self) -> None:
        """(Again:) as after a crash, nothing but the store is left."""
        self.close()
        self.inbox = self.service.store.open() if self.service.store else None
        if self.inbox is not None:
            OPENED.append(self.inbox)
        self.processor = Processor(
            self.service,
            Codec(self.schemas),
            self.metrics,
            self.inbox,
            clock=lambda: self.now + self.set_by,
            sleep=self._sleep,
            timer=lambda: self.now / 1000,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1000)

    def close(self) -> None:
        if self.inbox is not None:
            self.inbox.close()

    def record(
        self,
        message: Message,
        *,
        id_: str = "m1",
        transaction: str = "t1",
        key: str | None = None,
        expires_in: int | None = None,
        reverses: str | None = None,
        extra: Sequence[tuple[str, bytes | None]] = (),
    ) -> FakeRecord:
        """A message as it would come in. ``key``: idempotency key; ``expires_in``: milliseconds from now."""
        headers: list[tuple[str, bytes | None]] = [
            ("ce_id", id_.encode()),
            ("ce_source", b"shop"),
            ("ce_type", message.TYPE.encode()),
            ("ce_correlationid", transaction.encode()),
            *extra,
        ]
        if key is not None:
            headers.append(("ce_idempotencykey", key.encode()))
        if expires_in is not None:
            headers.append(("ce_expirytime", rfc3339(self.now + expires_in).encode()))
        if reverses is not None:
            headers.append(("ce_reverses", reverses.encode()))
        value = self._writer.encode(message, self.now).value
        return FakeRecord(
            value, headers, message.TOPIC, offset_=next(self._offsets), key_=transaction.encode()
        )

    def send(self, message: Message, **options: Any) -> list[Answer]:
        """Handle one message."""
        return self.handle(self.record(message, **options))

    def handle(self, *records: FakeRecord) -> list[Answer]:
        """Handle one batch."""
        return [self._read(record) for record in self.processor.batch(records)]

    def outcomes(self, name: str = "kantor_kit_messages") -> dict[str, float]:
        """Messages by outcome, from the metrics."""
        found: dict[str, float] = {}
        for metric in self.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name == f"{name}_total":
                    label = sample.labels.get("outcome", sample.labels.get("type", ""))
                    found[label] = found.get(label, 0) + sample.value
        return found

    def _read(self, record: Outgoing) -> Answer:
        envelope = read(record.headers)
        payload = None
        if not record.topic.startswith("dlq."):
            payload = TYPES[envelope.type].from_avro(
                self._codec.decode(record.value, header_map(record.headers))
            )
        return Answer(payload, envelope, record)
