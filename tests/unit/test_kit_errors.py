"""Failing handlers, late commands, unreadable records: what is answered, and that nothing waits for them (kit-9, kit-10,
kit-18 to kit-21).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from kantor import Retryable, Service
from kantor.envelope import event_id, unreadable
from kantor_examples.checkout.messages import BookShipment, PaymentCaptured, ShipmentBooked, StockReserved
from unit.kit_harness import Desk, FakeRecord
from unit.kit_services import BOOK, BOOKED, CAPTURED, RESERVED, shipping


def charging(action: Callable[[StockReserved], object]) -> Desk:
    """A service that reacts to an event with ``action``, and then answers."""
    service = Service("payment", retry_events_for=5.0)

    @service.on(StockReserved)
    def charge(event: StockReserved) -> PaymentCaptured:
        action(event)
        return CAPTURED

    return Desk(service)


def booking(error: BaseException | None = None) -> Desk:
    """A service that carries out a command, or raises."""
    service = Service("shipping")

    @service.handles(BookShipment)
    def book(command: BookShipment) -> ShipmentBooked:
        if error is not None:
            raise error
        return BOOKED

    return Desk(service)


def raises(*errors: Exception) -> Callable[[StockReserved], object]:
    """Raises these, one a call; then does nothing."""
    left = list(errors)

    def action(_: StockReserved) -> None:
        if left:
            raise left.pop(0)

    return action


# -- commands


def test_a_retryable_command_failure() -> None:
    """A command's retryable failure is reported at once: retries are the orchestrator's."""
    desk = booking(Retryable("carrier is down", code="carrier"))
    (answer,) = desk.send(BOOK, id_="a1")
    assert answer.record.topic == "evt.shipping.failure.v1"
    assert answer.envelope.causation_id == "a1"
    assert answer.message.code == "carrier"
    assert answer.message.message == "carrier is down"
    assert answer.message.retryable
    assert answer.message.handling == "shipping.BookShipment"
    assert desk.slept == []


def test_an_unexpected_command_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Any other exception of a command is logged with its traceback and reported as retryable: it may pass."""
    (answer,) = booking(ZeroDivisionError("by zero")).send(BOOK)
    assert answer.message.code == "error"
    assert answer.message.message == "ZeroDivisionError: by zero"
    assert answer.message.retryable
    (record,) = caplog.records
    assert (record.levelno, vars(record)["action"]) == (logging.WARNING, "handler_failed")
    assert record.exc_info is not None


def test_an_expired_command() -> None:
    """A command past its expiry is not carried out, and the answer is final."""
    (answer,) = booking().send(BOOK, expires_in=-1)
    assert (answer.message.code, answer.message.retryable) == ("expired", False)


def test_a_command_in_time() -> None:
    """A command is carried out until the very moment it expires."""
    (answer,) = booking().send(BOOK, expires_in=0)
    assert answer.message == BOOKED


def test_expiry_is_not_stored(tmp_path: object) -> None:
    """An expired attempt says nothing about the next one."""
    assert hasattr(tmp_path, "joinpath")
    desk = Desk(shipping(tmp_path))  # type: ignore[arg-type]
    desk.send(BOOK, id_="a1", key="k1", expires_in=-1)
    (answer,) = desk.send(BOOK, id_="a2", key="k1", expires_in=1)
    assert answer.message == BOOKED
    desk.close()


def test_an_expired_attempt_of_an_answered_command(tmp_path: object) -> None:
    """What was done is told, even to an attempt that comes too late."""
    desk = Desk(shipping(tmp_path))  # type: ignore[arg-type]
    desk.send(BOOK, id_="a1", key="k1")
    (answer,) = desk.send(BOOK, id_="a2", key="k1", expires_in=-1)
    assert answer.message == BOOKED
    desk.close()


def test_an_event_does_not_expire() -> None:
    """Expiry is for commands; what has happened does not expire."""
    (answer,) = charging(raises()).send(RESERVED, expires_in=-1)
    assert answer.message == CAPTURED


# -- events


def test_a_retryable_event_is_tried_again() -> None:
    """An event whose handler says ``Retryable`` is tried again after growing pauses."""
    desk = charging(raises(*[Retryable("down")] * 3))
    (answer,) = desk.send(RESERVED)
    assert answer.message == CAPTURED
    assert desk.slept == [0.01, 0.02, 0.04]
    assert desk.outcomes("kantor_kit_retries") == {"inventory.StockReserved": 3}


def test_retries_of_events_are_bounded() -> None:
    """After its time an event is reported as finally failed."""
    desk = charging(raises(*[Retryable("down", code="psp")] * 1000))
    (answer,) = desk.send(RESERVED, id_="m1")
    assert (answer.message.code, answer.message.retryable) == ("psp", False)
    assert answer.envelope.id == event_id("m1", "kantor.StepFailed", 0)
    assert sum(desk.slept) == pytest.approx(5.0, abs=0.01)


def test_others_do_not_wait_for_a_retry() -> None:
    """While one event waits for its next try, other transactions' events are handled."""
    handled: list[str] = []
    down = raises(Retryable("down"))

    def action(event: StockReserved) -> None:
        handled.append(event.order_id)
        if event.order_id == "o1":
            down(event)

    desk = charging(action)
    other = StockReserved(order_id="o2", customer_id="c", sku="s", quantity=1, amount_cents=1)
    desk.handle(desk.record(RESERVED, transaction="t1"), desk.record(other, transaction="t2"))
    assert handled == ["o1", "o2", "o1"]


def test_a_transaction_keeps_its_order() -> None:
    """What comes after a waiting event in the same transaction waits with it."""
    handled: list[str] = []
    down = raises(Retryable("down"))

    def action(event: StockReserved) -> None:
        handled.append(event.order_id)
        down(event)

    desk = charging(action)
    other = StockReserved(order_id="o2", customer_id="c", sku="s", quantity=1, amount_cents=1)
    desk.handle(desk.record(RESERVED, id_="m1"), desk.record(other, id_="m2"))
    assert handled == ["o1", "o1", "o2"]


def test_500_events_wait_together() -> None:
    """A batch whose dependency is down takes the time of one event."""

    def action(_: StockReserved) -> None:
        raise Retryable("down")

    desk = charging(action)
    answers = desk.handle(*[desk.record(RESERVED, id_=f"m{n}", transaction=f"t{n}") for n in range(500)])
    assert len(answers) == 500
    assert sum(desk.slept) == pytest.approx(5.0, abs=0.01)


def test_an_unexpected_event_failure() -> None:
    """Any other exception of an event's handler is final at once."""
    desk = charging(raises(ZeroDivisionError("by zero")))
    (answer,) = desk.send(RESERVED)
    assert (answer.message.code, answer.message.retryable) == ("error", False)
    assert desk.slept == []


def test_a_long_exception_is_cut() -> None:
    """A failure's message has an end, however long the exception's text."""
    (answer,) = charging(raises(ValueError("x" * 10_000))).send(RESERVED)
    assert len(answer.message.message) == 500


# -- dead letters


def spoiled(desk: Desk, **changes: object) -> FakeRecord:
    record = desk.record(RESERVED)
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def replaced(desk: Desk, name: str, value: bytes | None) -> FakeRecord:
    record = desk.record(RESERVED)
    headers = [header for header in record.headers_ or () if header[0] != name]
    record.headers_ = [*headers, (name, value)]
    return record


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda desk: spoiled(desk, value_=b"no Avro"), b"not Avro in Confluent wire format"),
        (lambda desk: spoiled(desk, value_=None), b"null"),
        (lambda desk: spoiled(desk, value_=b"\0\0\0\0\1rest"), b"schema id 1 is unknown"),
        (lambda desk: replaced(desk, "ce_correlationid", None), b"no transaction id"),
        (lambda desk: replaced(desk, "ce_correlationid", b"a b"), b"malformed transaction id"),
        (lambda desk: replaced(desk, "ce_id", None), b"ce_id"),
        (lambda desk: replaced(desk, "ce_source", b""), b"ce_source"),
        (lambda desk: replaced(desk, "ce_id", b"\xff"), b"not UTF-8"),
        (lambda desk: replaced(desk, "ce_specversion", b"0.3"), b"ce_specversion is '0.3'"),
        (
            lambda desk: desk.record(RESERVED, extra=[("ce_correlationid", b"t2")]),
            b"ce_correlationid is present twice",
        ),
        (
            lambda desk: desk.record(RESERVED, extra=[("ce_type", b"x.Other")]),
            b"ce_type is present twice",
        ),
        (
            lambda desk: spoiled(desk, value_=desk.record(BOOK).value_, offset_=0),
            b"is a shipping.BookShipment",
        ),
    ],
)
def test_a_dead_letter(spoil: Callable[[Desk], FakeRecord], reason: bytes) -> None:
    """An unreadable record is dead-lettered with its own key, bytes and headers, and with what is wrong; others go on."""
    desk = charging(raises())
    record = spoil(desk)
    dead, answer = desk.processor.batch([record, desk.record(RESERVED)])
    assert dead.topic == "dlq.payment"
    assert dead.value == record.value()
    assert dead.key == record.key()
    assert dead.headers[: len(record.headers() or ())] == record.headers()
    added = dict(dead.headers[len(record.headers() or ()) :])
    message = added.pop("__dlq.errors.message")
    assert message is not None
    assert reason in message
    assert added == {
        "__dlq.errors.topic": b"evt.inventory.stock.v1",
        "__dlq.errors.partition": b"0",
        "__dlq.errors.offset": b"0",
        "__dlq.errors.group": b"payment",
        "__dlq.errors.delivery.count": b"1",
    }
    assert answer.topic == "evt.payment.payment.v1"


def test_a_malformed_expiry() -> None:
    """A command whose expiry can't be read is dead-lettered: acting on it might be wrong."""
    desk = booking()
    record = desk.record(BOOK, extra=[("ce_expirytime", b"soon")])
    (dead,) = desk.processor.batch([record])
    assert dead.topic == "dlq.shipping"


def test_a_dead_letter_without_headers() -> None:
    """A record whose headers the client can't give is dead-lettered whatever its type, and the letter says what is lost."""
    desk = charging(raises())
    dead, answer = desk.processor.batch(
        [spoiled(desk, headers_=unreadable("a header's name is not UTF-8: b'\\xff'")), desk.record(RESERVED)]
    )
    assert (dead.topic, dead.value, dead.key) == ("dlq.payment", desk.record(RESERVED).value(), b"t1")
    headers = dict(dead.headers)
    assert {name[:13] for name in headers} == {"__dlq.errors."}
    assert (headers["__dlq.errors.message"] or b"").decode() == (
        "the headers can't be read: a header's name is not UTF-8: b'\\xff'; "
        "key and value are the record's own, its headers are lost"
    )
    assert answer.topic == "evt.payment.payment.v1"


def test_a_malformed_record_of_another_type_is_skipped() -> None:
    """What this service does not take is not its business, well formed or not."""
    desk = charging(raises())
    record = replaced(desk, "ce_type", b"x.Other")
    record.headers_ = [*(record.headers_ or ()), ("ce_specversion", b"0.3")]
    assert desk.processor.batch([record]) == []


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise AttributeError("missing")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError: "),
        (GeneratorExit(), "GeneratorExit: "),
        (UnprintableError(), "UnprintableError: (its text is unavailable: AttributeError)"),
        (FileNotFoundError("a\udcff"), "FileNotFoundError: a?"),
    ],
)
def test_what_is_no_ordinary_exception(error: BaseException, message: str) -> None:
    """Whatever a handler raises is a failure of its message; the service goes on with the next one."""
    desk = booking(error)
    for id_ in ("m1", "m2"):
        (answer,) = desk.send(BOOK, id_=id_)
        assert (answer.message.code, answer.message.message) == ("error", message)


def test_ctrl_c_is_a_persons() -> None:
    """It ends the process, not a message."""
    with pytest.raises(KeyboardInterrupt):
        booking(KeyboardInterrupt()).send(BOOK)


def test_a_dead_letter_that_is_larger_than_kafka_takes() -> None:
    """What came compressed may be of any size: its letter says where it is, so that its partition goes on."""
    desk = charging(raises())
    record = spoiled(desk, value_=b"x" * 11_000_000)
    (dead,) = desk.processor.batch([record])
    assert (dead.value, dead.key) == (None, b"t1")
    assert b"so its value and headers are left where they are: at evt.inventory.stock.v1/0/" in (
        dict(dead.headers)["__dlq.errors.message"] or b""
    )
