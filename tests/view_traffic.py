"""Records as the view reads them, made by the real core: what intake, the engine and the services would have written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kantor import envelope
from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.decide import decide
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.core.transaction import SentCommand, StepState, Transaction, evolve
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import PREFIX
from kantor_orchestrator.formats.holds import ALL, Holds
from kantor_orchestrator.formats.marks import Mark, Uncorrelated, dump_uncorrelated
from kantor_orchestrator.formats.snapshots import Outgoing, decision_record
from kantor_orchestrator.view.database import Location, ViewWriter
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_schemas import system
from view_records import Written
from view_saga import CHECKOUT

SHARDS = 4
T0 = 1_790_000_000_000  # ms: an instant in 2026


class KnownSagas:
    """Sagas without Kafka."""

    def __init__(self, *sagas: Saga) -> None:
        self._sagas = {(saga.name, saga.version): SagaFacts.of(saga) for saga in sagas}

    def get(self, saga: str, version: int) -> SagaFacts | None:
        return self._sagas.get((saga, version))


class Traffic:
    """Writes what would be in Kafka; ``records`` are in the order of writing, each message 10 ms after the last."""

    def __init__(self, *sagas: Saga, ends: Mapping[tuple[str, int], int] | None = None) -> None:
        """``ends``: where the partitions end that are not empty."""
        self.records: list[Written] = []
        self.now = T0
        self.schemas = MemorySchemas()
        self.codec = Codec(self.schemas)
        self._encode = self.codec.encoder(system("Decision"), topics.HISTORY)
        self._encode_epoch = self.codec.encoder(system("Epoch"), topics.HISTORY)
        #: By shard: the epoch of its owner.
        self.epochs: dict[int, int] = {}
        self.sagas: tuple[Saga, ...] = sagas or (CHECKOUT,)
        self.holds = Holds()
        self._transactions: dict[str, Transaction] = {}
        self._ends: dict[tuple[str, int], int] = dict(ends or {})

    def event(
        self,
        transaction: str,
        type_: str,
        payload: Mapping[str, Any] | None = None,
        *,
        cause: str = "",
        id_: str = "",
        sent_at: int = 0,
    ) -> str:
        """A service's event. Answers with its id."""
        self.now += 10
        service = type_.partition(".")[0]
        id_ = id_ or envelope.derived_id(transaction, type_, str(self.now))
        headers = envelope.Envelope(
            id=id_,
            source=service,
            type=type_,
            correlation_id=transaction,
            causation_id=cause or None,
            time=self.now,
        ).headers()
        origin = f"evt.{service}.{service}.v1/0/{self._next(f'evt.{service}.{service}.v1', 0)}"
        offset = self._journal(
            transaction,
            b"\0\0\0\0\1payload",
            [
                *headers,
                (journal.ENTRY, journal.EVENT),
                (journal.ORIGIN, origin.encode()),
                (journal.TOPIC_ID, b"AAAAAAAAAAAAAAAAAAAAAA"),
                (journal.TIMESTAMP, b"%d" % (self.now - 2)),
                (journal.KEY, transaction.encode()),
            ],
        )
        self._decide(
            transaction,
            offset,
            Entry("event", self.now, type_, id_, service, cause, origin, sent_at or self.now, payload or {}),
        )
        return id_

    def replay(self, transaction: str) -> None:
        """Intake was restarted: it journals the transaction's last event again, and the engine drops it."""
        key = transaction.encode()
        last = [r for r in self.records if r.topic() == topics.JOURNAL and r.key() == key][-1]
        self.now += 10
        self._journal(transaction, last.value() or b"", last.headers() or [])

    def timer(self, transaction: str, timer: str, step: str) -> None:
        """A step's timer goes off when it is due."""
        state = self._transactions[transaction].steps[step]
        compensating = bool(state.compensation_id)
        round_ = state.compensation_round if compensating else state.round
        attempt = state.compensation_attempt if compensating else state.attempt
        self.now = max(self.now, state.due)
        fired = journal.TimerEntry(timer, step, round_, attempt, state.due)
        offset = self._journal(transaction, fired.dump(), list(journal.TIMER_HEADERS))
        self._decide(
            transaction,
            offset,
            Entry("timer", self.now, timer=timer, step=step, round=round_, attempt=attempt),
        )

    def act(self, transaction: str, act: str, step: str = "", why: str = "because") -> None:
        """What a person does to it."""
        self.now += 10
        said = {"act": act, "id": f"act-{self.now}", "actor": "ann", "step": step, "why": why}
        offset = self._journal(transaction, json.dumps(said).encode(), list(journal.ACT_HEADERS))
        payload = {"why": why, "fields": {}}
        entry = Entry("act", self.now, act, said["id"], "acts", payload=payload, step=step, actor="ann")
        self._decide(transaction, offset, entry)

    def watermark(
        self,
        intake: str,
        uncorrelated: dict[str, dict[str, Uncorrelated]],
        refused: dict[str, str] | None = None,
    ) -> None:
        """``uncorrelated``: by topic and reason."""
        for topic, found in uncorrelated.items():
            key = f"uncorrelated/{intake}/{topic}".encode()
            self._write(topics.WATERMARKS, 0, key, dump_uncorrelated(found), [])
        self._write(
            topics.WATERMARKS, 0, f"mark/{intake}".encode(), Mark(self.now, "", refused or {}).dump(), []
        )

    def hold(self, act: str, saga: str = ALL) -> None:
        """A person holds or releases a saga: each shard carries it out; those that stood still go on."""
        self.now += 10
        payload = {"why": "payments are down", "saga": saga}
        entry = Entry("act", self.now, act, f"act-{self.now}", actor="ann", payload=payload)
        done = self.holds.decide(entry)
        self.holds.fold(done, entry.type, entry.id)
        for shard in range(SHARDS):
            offset = self._write(topics.JOURNAL, shard, None, b"{}", list(journal.ACT_HEADERS))
            self.decision(
                shard, decision_record(Transaction(""), entry, [done], [], self.epoch(shard), offset)
            )
        for id_, txn in self._transactions.items():
            if txn.held and not self.holds.of(txn.saga):
                fired = journal.TimerEntry("release", "", 0, 0, 0)
                offset = self._journal(id_, fired.dump(), list(journal.TIMER_HEADERS))
                self._decide(id_, offset, Entry("timer", self.now, timer="release"))

    def take(self, shard: int) -> int:
        """An engine takes this shard. Answers with its epoch."""
        value = self._encode_epoch({"shard": shard, "owner": "engine-1", "at": self.now, "position": 0})
        prefix = self.codec.prefix(system("Decision"), topics.HISTORY)
        headers: list[tuple[str, bytes | None]] = [("ce_type", b"kantor.Epoch"), (PREFIX, prefix)]
        self.epochs[shard] = self._write(topics.HISTORY, shard, None, value, headers)
        return self.epochs[shard]

    def epoch(self, shard: int) -> int:
        return self.epochs[shard] if shard in self.epochs else self.take(shard)

    def decision(self, shard: int, record: dict[str, Any], *, ends: bool = False) -> None:
        """The engine writes into its log."""
        key = record["transaction_id"].encode() or None
        headers: list[tuple[str, bytes | None]] = []
        if ends:
            headers.append(("ce_type", envelope.TRANSACTION_ENDED.encode()))
        self._write(topics.HISTORY, shard, key, self._encode(record), headers)

    def forget(self, transaction: str) -> None:
        """The engine knows nothing of it any more: its retained record has expired."""
        del self._transactions[transaction]

    def step(self, transaction: str, step: str) -> StepState:
        return self._transactions[transaction].steps[step]

    def command_id(self, transaction: str, step: str) -> str:
        return self._transactions[transaction].steps[step].command_id

    def compensation_id(self, transaction: str, step: str) -> str:
        return self._transactions[transaction].steps[step].compensation_id

    def order(self, transaction: str, number: int = 1042) -> str:
        return self.event(
            transaction,
            "shop.OrderPlaced",
            {"order_id": str(number), "customer_id": f"c-{number % 97}", "amount_cents": 4200},
        )

    def completed(self, transaction: str, number: int = 1042) -> None:
        """A checkout that succeeds: 4 events, 1 command."""
        self.booking(transaction, number)
        self.event(transaction, "shipping.ShipmentBooked", cause=self.command_id(transaction, "shipping"))

    def compensated(self, transaction: str, number: int = 1042) -> None:
        """A checkout whose shipment is unavailable: payment and stock are compensated, in this order."""
        self.booking(transaction, number)
        self.event(
            transaction,
            "shipping.ShipmentUnavailable",
            {"reason": "no truck"},
            cause=self.command_id(transaction, "shipping"),
        )
        self.event(transaction, "payment.PaymentRefunded", cause=self.compensation_id(transaction, "payment"))
        self.event(transaction, "inventory.StockReleased", cause=self.compensation_id(transaction, "stock"))

    def booking(self, transaction: str, number: int = 1042) -> None:
        """A checkout whose shipment is asked for, and not answered."""
        cause = self.order(transaction, number)
        cause = self.event(transaction, "inventory.StockReserved", cause=cause)
        self.event(transaction, "payment.PaymentCaptured", {"payment_id": f"p-{number}"}, cause=cause)

    def stuck(self, transaction: str, number: int = 1042) -> None:
        """A checkout whose shipment was asked for twice, and is not answered."""
        self.booking(transaction, number)
        for timer in ("timeout", "retry", "timeout"):
            self.timer(transaction, timer, "shipping")

    def declined(self, transaction: str) -> None:
        """Payment is declined: the stock is being released."""
        cause = self.order(transaction)
        cause = self.event(transaction, "inventory.StockReserved", cause=cause)
        self.event(transaction, "payment.PaymentDeclined", {"reason": "no funds"}, cause=cause)

    def given_up(self, transaction: str) -> None:
        """Inventory can't release the stock: an incident."""
        self.declined(transaction)
        failed = {"code": "closed", "message": "warehouse closed", "retryable": False}
        self.event(transaction, "kantor.StepFailed", failed, cause=self.compensation_id(transaction, "stock"))

    # -- what intake, the engine and the broker do

    def _decide(self, transaction: str, offset: int, entry: Entry) -> None:
        txn = self._transactions.setdefault(transaction, Transaction(transaction))
        saga = next(
            (s for s in self.sagas if s.name == txn.saga or (not txn.saga and s.starts_on == entry.type)),
            None,
        )
        shard = envelope.shard_of(transaction, SHARDS)
        hold = self.holds.of(saga.name) if saga else ""
        transitions = decide(saga, txn, entry, self.now, hold)
        if not transitions:
            return
        messages = []
        for transition in transitions:
            evolve(txn, transition)
            if (sent := transition.command) is not None:
                messages.append(self._message(transaction, sent))
        ends = any(transition.kind == "ended" for transition in transitions)
        record = decision_record(txn, entry, transitions, messages, self.epoch(shard), offset)
        self.decision(shard, record, ends=ends)
        for message in messages:
            self._write(message.topic, 0, message.key, message.value, list(message.headers))

    def _message(self, transaction: str, sent: SentCommand) -> Outgoing:
        headers = envelope.Envelope(
            id=sent.id,
            source=envelope.KANTOR_SOURCE,
            type=sent.type,
            correlation_id=transaction,
            causation_id=sent.causation_id,
            idempotency_key=sent.idempotency_key,
            time=self.now,
        ).headers()
        return Outgoing(
            sent.topic,
            transaction.encode(),
            [(name, value or b"") for name, value in headers],
            b"\0\0\0\0\2payload",
        )

    def _journal(self, transaction: str, value: bytes, headers: list[tuple[str, bytes | None]]) -> int:
        shard = envelope.shard_of(transaction, SHARDS)
        return self._write(topics.JOURNAL, shard, transaction.encode(), value, headers)

    def _write(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        headers: list[tuple[str, bytes | None]],
    ) -> int:
        offset = self._next(topic, partition)
        self.records.append(Written(topic, partition, offset, key, value, headers, self.now))
        return offset

    def _next(self, topic: str, partition: int) -> int:
        offset = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = offset + 1
        return offset


def in_order(traffic: Traffic, records: Iterable[Written]) -> list[Written]:
    """The same records with the offsets that this order gives, also in what they say of each other."""
    ends: dict[tuple[str, int], int] = {}
    moved: dict[tuple[str, int, int], int] = {}
    encode = traffic.codec.encoder(system("Decision"), topics.HISTORY)
    found = []
    for r in records:
        partition = (r.topic(), r.partition())
        offset = ends.get(partition, 0)
        ends[partition] = offset + 1
        moved[*partition, r.offset()] = offset
        value = r.value()
        if r.topic() == topics.HISTORY and "transitions" in (said := traffic.codec.decode(value)):
            said["epoch"] = moved[topics.HISTORY, r.partition(), said["epoch"]]
            said["journal_offset"] = moved[topics.JOURNAL, r.partition(), said["journal_offset"]]
            value = encode(said)
        found.append(Written(*partition, offset, r.key(), value, r.headers() or [], r.timestamp()[1]))
    return found


def project(
    traffic: Traffic,
    place: Location,
    records: Sequence[Written] | None = None,
    *,
    batch: int = 1_000,
    looked_at: bool = True,
) -> None:
    """Project ``records`` (all of them) into the database at ``place``, going on after what is there already. Each batch
    starts from the database alone, as after a crash. ``looked_at``: the engine's group says that it is past all of them."""
    records = traffic.records if records is None else records
    sagas = KnownSagas(*traffic.sagas)
    writer = ViewWriter(place)
    try:
        for start in range(0, len(records), batch):
            positions = {partition: position for partition, (position, _) in writer.positions().items()}
            projector = Projector(
                traffic.codec,
                traffic.schemas,
                sagas,
                writer.find,
                writer.next_no(),
                positions,
                epochs=writer.epochs(),
            )
            part = records[start : start + batch]
            if writer.is_remote:
                writer.expect(projector.unknown(part))
            writer.store(projector.project(part), {})
        if looked_at:
            ends = {r.partition(): r.offset() + 1 for r in records if r.topic() == topics.JOURNAL}
            writer.looked_at(ends)
    finally:
        writer.close()
