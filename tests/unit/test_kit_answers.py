"""What the kit fills in around a handler's answers, and what it gives to the handler (kit-2, kit-22, wire-15)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kantor import Context, Service, SqliteStore, envelope
from kantor.codec import Codec, MemorySchemas
from kantor.errors import EncodingError
from kantor.writing import Writer
from kantor_examples.checkout.messages import (
    BookShipment,
    OrderPlaced,
    PaymentCaptured,
    PaymentDeclined,
    ShipmentBooked,
    ShipmentUnavailable,
    StockReserved,
)
from unit.kit_harness import NOON, Desk
from unit.kit_services import BOOK, BOOKED, CAPTURED, DECLINED, RESERVED

TRACE = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", b"a=b")]


def answering(*answers: Any) -> Desk:
    """A service whose handler returns the given list, or its only entry."""
    service = Service("payment")

    @service.on(StockReserved)
    def charge(event: StockReserved) -> list[PaymentCaptured | PaymentDeclined] | PaymentCaptured | None:
        return answers[0] if len(answers) == 1 else list(answers)

    return Desk(service)


def test_the_envelope_is_filled_in() -> None:
    """An answer belongs to its cause's transaction and trace, names its cause, and has a derived id."""
    (answer,) = answering(CAPTURED).send(RESERVED, id_="m1", transaction="t1", extra=TRACE)
    assert answer.envelope == envelope.Envelope(
        id=envelope.event_id("m1", "payment.PaymentCaptured", 0),
        source="payment",
        type="payment.PaymentCaptured",
        correlation_id="t1",
        causation_id="m1",
        time=NOON,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="a=b",
    )


def test_a_trace_of_any_length_is_not_handed_on() -> None:
    """With it the answer might be larger than its topic takes, and the service would send it again for ever."""
    long = b"x" * 1_000_000
    (answer,) = answering(CAPTURED).send(RESERVED, extra=[TRACE[0], ("tracestate", long)])
    assert (answer.envelope.traceparent is not None, answer.envelope.tracestate) == (True, None)
    (answer,) = answering(CAPTURED).send(RESERVED, extra=[("traceparent", long), TRACE[1]])
    assert (answer.envelope.traceparent, answer.envelope.tracestate) == (None, None)


def test_what_has_an_id_of_any_length_is_a_dead_letter() -> None:
    """An answer would name it as its cause."""
    desk = answering(CAPTURED)
    (letter,) = desk.processor.batch([desk.record(RESERVED, id_="m" * 1_025)])
    assert letter.topic == "dlq.payment"
    assert dict(letter.headers)["__dlq.errors.message"] == b"ce_id has more than 1024 bytes"


def test_the_record() -> None:
    """An answer goes to its type's topic, with the transaction id as key, as Avro."""
    (answer,) = answering(CAPTURED).send(RESERVED, transaction="t1")
    assert answer.record.topic == "evt.payment.payment.v1"
    assert answer.record.key == b"t1"
    assert ("content-type", b"application/avro") in answer.record.headers
    assert ("ce_specversion", b"1.0") in answer.record.headers
    assert answer.message == CAPTURED


def test_no_answer() -> None:
    """A handler may return None: nothing is sent."""
    assert answering(None).send(RESERVED) == []


def test_an_empty_list() -> None:
    """A handler may return an empty list: nothing is sent."""
    assert answering().send(RESERVED) == []


def test_several_answers_are_numbered_by_type() -> None:
    """Answers of one type are told apart by their number within that type."""
    answers = answering(CAPTURED, DECLINED, CAPTURED).send(RESERVED, id_="m1")
    assert [answer.envelope.id for answer in answers] == [
        envelope.event_id("m1", "payment.PaymentCaptured", 0),
        envelope.event_id("m1", "payment.PaymentDeclined", 0),
        envelope.event_id("m1", "payment.PaymentCaptured", 1),
    ]


def test_answers_come_in_the_order_of_their_causes() -> None:
    """A batch's answers keep its order."""
    desk = answering(CAPTURED)
    answers = desk.handle(*[desk.record(RESERVED, id_=f"m{n}") for n in range(5)])
    assert [answer.envelope.causation_id for answer in answers] == ["m0", "m1", "m2", "m3", "m4"]


def test_an_undeclared_answer() -> None:
    """An answer that the annotation does not name is not sent; the failure says what to change."""
    (answer,) = answering(BOOKED).send(RESERVED)
    assert answer.message.code == "error"
    assert "charge returned ShipmentBooked, but its annotation says" in answer.message.message


@pytest.mark.parametrize("answers", [[CAPTURED, DECLINED], [DECLINED, CAPTURED, DECLINED]])
def test_a_success_and_a_decline(tmp_path: Path, answers: list[PaymentCaptured | PaymentDeclined]) -> None:
    """A handler that says both has failed: neither is sent or kept, its effect is rolled back, and the failure says what to do."""
    schema = "CREATE TABLE IF NOT EXISTS charges (order_id TEXT)"
    service = Service("payment", store=SqliteStore(str(tmp_path / "p.db"), schema=schema))

    @service.on(StockReserved, declines=[PaymentDeclined])
    def charge(event: StockReserved, context: Context) -> list[PaymentCaptured | PaymentDeclined]:
        context.db.execute("INSERT INTO charges VALUES (?)", (event.order_id,))
        return answers

    desk = Desk(service)
    for _ in range(2):  # the second time it comes from the inbox
        (answer,) = desk.send(RESERVED)
        assert (answer.message.code, answer.message.retryable) == ("error", False)
        assert answer.message.message == (
            "ContradictoryAnswerError: charge returned payment.PaymentDeclined, which says that nothing was done, together with "
            "payment.PaymentCaptured; return one or the other, or name payment.PaymentCaptured in declines= if it says the same"
        )
    assert desk.inbox is not None
    assert desk.inbox.db.execute("SELECT * FROM charges").fetchall() == []
    desk.close()


def test_a_success_and_a_decline_to_a_command() -> None:
    """The failure of a command's handler that says both is retryable, as any of its failures."""
    service = Service("shipping")
    unavailable = ShipmentUnavailable(order_id="o1", reason="too heavy")

    @service.handles(BookShipment, declines=[ShipmentUnavailable])
    def book(command: BookShipment) -> list[ShipmentBooked | ShipmentUnavailable]:
        return [BOOKED, unavailable]

    (answer,) = Desk(service).send(BOOK)
    assert (answer.message.code, answer.message.retryable) == ("error", True)
    assert "together with shipping.ShipmentBooked" in answer.message.message


def test_several_declines() -> None:
    """A handler may answer with several declines."""
    service = Service("payment")

    @service.on(StockReserved, declines=[PaymentDeclined])
    def charge(event: StockReserved) -> list[PaymentDeclined]:
        return [DECLINED, DECLINED]

    desk = Desk(service)
    assert [answer.message for answer in desk.send(RESERVED)] == [DECLINED, DECLINED]
    assert desk.outcomes() == {"declined": 1.0}


def test_an_answer_that_does_not_fit_its_schema() -> None:
    """An answer that can't be encoded is not sent; the failure names the type."""
    (answer,) = answering(PaymentCaptured(order_id="o1", amount_cents="much")).send(RESERVED)  # type: ignore[arg-type]
    assert "EncodingError: payment.PaymentCaptured" in answer.message.message


def test_an_answer_that_is_too_large() -> None:
    """An answer larger than what brokers take becomes a failure, and blocks nothing."""
    (answer,) = answering(PaymentCaptured(order_id="o" * 1_000_000, amount_cents=1)).send(RESERVED)
    assert "EncodingError: payment.PaymentCaptured" in answer.message.message


def test_other_types_are_skipped() -> None:
    """Records of types without a handler are skipped, whatever their bytes are."""
    desk = answering(CAPTURED)
    other = desk.record(BOOK)
    other.value_ = b"no Avro"
    nameless = desk.record(RESERVED)
    nameless.headers_ = None
    assert desk.handle(other, nameless) == []
    assert desk.metrics.registry.get_sample_value("kantor_kit_skipped_total") == 2


def test_the_context() -> None:
    """A handler that takes a second parameter is told what is known about the message."""
    seen: list[Context] = []
    service = Service("shipping")

    @service.handles(BookShipment)
    def book(command: BookShipment, context: Context) -> ShipmentBooked:
        seen.append(context)
        return BOOKED

    desk = Desk(service)
    time = [("ce_time", b"2026-01-31T12:00:00.000Z"), ("x-mine", b"1")]
    desk.send(BOOK, id_="a1", transaction="t1", key="k1", expires_in=1000, extra=time)
    (context,) = seen
    assert context.service == "shipping"
    assert context.transaction_id == "t1"
    assert context.message_id == "a1"
    assert context.idempotency_key == "k1"
    assert context.time == NOON
    assert context.headers["x-mine"] == b"1"
    assert context.envelope.expiry_time == NOON + 1000


def test_no_database_without_a_store() -> None:
    """``context.db`` without a store is an error that says how to get one."""
    service = Service("payment")

    @service.on(StockReserved)
    def charge(event: StockReserved, context: Context) -> PaymentCaptured:
        context.db.execute("SELECT 1")
        raise AssertionError

    (answer,) = Desk(service).send(RESERVED)
    assert "store=SqliteStore" in answer.message.message


def test_the_database(tmp_path: Path) -> None:
    """``context.db`` has the tables of the store's schema."""
    schema = "CREATE TABLE IF NOT EXISTS charges (order_id TEXT)"
    service = Service("payment", store=SqliteStore(str(tmp_path / "p.db"), schema=schema))

    @service.on(StockReserved)
    def charge(event: StockReserved, context: Context) -> None:
        context.db.execute("INSERT INTO charges VALUES (?)", (event.order_id,))

    desk = Desk(service)
    desk.send(RESERVED)
    assert desk.inbox is not None
    assert desk.inbox.db.execute("SELECT * FROM charges").fetchall() == [("o1",)]
    desk.close()


def test_a_start_has_an_id_derived_from_its_transaction() -> None:
    """A message that starts a transaction has an id derived from it: starting twice is a duplicate."""
    writer = Writer("shop", Codec(MemorySchemas()), [OrderPlaced])
    order = OrderPlaced(order_id="o1", customer_id="c1", sku="s1", quantity=1, amount_cents=1)
    record = writer.start(writer.encode(order, NOON), "t1", 0)
    found = envelope.read(record.headers)
    assert found == envelope.Envelope(
        id=envelope.event_id("t1", "shop.OrderPlaced", 0),
        source="shop",
        type="shop.OrderPlaced",
        correlation_id="t1",
        time=NOON,
    )
    assert (record.topic, record.key) == ("evt.shop.order.v1", b"t1")


def test_encoding_error_at_a_start() -> None:
    """A message that does not fit its schema is refused where it is published."""
    writer = Writer("shop", Codec(MemorySchemas()), [OrderPlaced])
    order = OrderPlaced(order_id="o1", customer_id="c1", sku="s1", quantity=2**40, amount_cents=1)
    with pytest.raises(EncodingError, match="32 bits"):
        writer.encode(order, NOON)
