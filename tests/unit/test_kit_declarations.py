"""Declarations that can't work are refused where they are written, with a remedy (kit-23)."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from kantor import ConfigError, Service, SqliteStore
from kantor_examples.checkout.messages import (
    BookShipment,
    CancelShipment,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
    ShipmentBooked,
    StockReserved,
)
from unit.kit_services import CAPTURED, REFUND, REFUNDED

STORE = SqliteStore(":memory:")


def charge(event: StockReserved) -> PaymentCaptured | PaymentDeclined:
    return CAPTURED


def refund(command: RefundPayment) -> PaymentRefunded:
    return REFUNDED


def unannotated(event: StockReserved):  # type: ignore[no-untyped-def]
    return None


def foreign(event: StockReserved) -> str:
    return ""


async def asynchronous(event: StockReserved) -> None: ...


@functools.wraps(asynchronous)
def wrapped(*given: Any) -> Any:
    return asynchronous(*given)


class Callables:
    def __call__(self, event: StockReserved) -> PaymentCaptured:
        return CAPTURED


def yields(event: StockReserved) -> Iterator[PaymentCaptured]:
    yield CAPTURED


async def yields_later(event: StockReserved) -> AsyncIterator[PaymentCaptured]:
    yield CAPTURED


def too_many(event: StockReserved, context: object, more: object) -> None: ...


def none() -> None: ...


def unresolvable(event: StockReserved) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unannotated, "no return annotation"),
        (foreign, "which is not a message"),
        (asynchronous, "is async"),
        (wrapped, "is async"),
        (yields_later, "is async"),
        (yields, "has a `yield`"),
        (Callables(), "is not a function"),
        (functools.partial(charge), "is not a function"),
        (too_many, "takes 3 parameters"),
        (none, "takes 0 parameters"),
        (refund, "is declared for inventory.StockReserved, but its first parameter is"),
        (unresolvable, "Nowhere"),
    ],
)
def test_a_handler_that_cannot_work(function: Callable[..., Any], message: str) -> None:
    """A handler's signature is checked at its declaration."""
    with pytest.raises(ConfigError, match=message):
        Service("payment").on(StockReserved)(function)


def test_answers_are_read_from_the_annotation() -> None:
    """The types that a handler can answer with are those of its return annotation."""
    service = Service("payment")
    service.on(StockReserved)(charge)
    assert service.handlers[0].answers == (PaymentCaptured, PaymentDeclined)


def test_lists_are_read_too() -> None:
    """A list's, tuple's or optional's members count."""

    def several(event: StockReserved) -> list[PaymentCaptured | PaymentDeclined] | None:
        return None

    service = Service("payment")
    service.on(StockReserved)(several)
    assert service.handlers[0].answers == (PaymentCaptured, PaymentDeclined)


def test_the_function_stays_itself() -> None:
    """A decorated handler is still the plain function: tests call it directly."""
    assert Service("payment").on(StockReserved)(charge) is charge


def test_a_command_is_not_an_event() -> None:
    """``on`` refuses a command, and names ``handles``."""
    with pytest.raises(ConfigError, match=r"is a command .* declare it with .handles"):
        Service("payment").on(RefundPayment)(refund)


def test_an_event_is_not_a_command() -> None:
    """``handles`` refuses an event, and names ``on``."""
    with pytest.raises(ConfigError, match=r"is an event .* declare it with .on"):
        Service("payment").handles(StockReserved)(charge)


def test_one_handler_for_a_type() -> None:
    """A second handler for a type is refused: their answers could not be told apart."""
    service = Service("payment")
    service.on(StockReserved)(charge)
    with pytest.raises(ConfigError, match=r"both take inventory\.StockReserved"):
        service.on(StockReserved)(charge)


def test_declines_must_be_answers() -> None:
    """What a handler declines with must be among its answers."""
    with pytest.raises(ConfigError, match=r"declines with shipping\.ShipmentBooked"):
        Service("payment").on(StockReserved, declines=[ShipmentBooked])(charge)


def test_reverses_needs_a_store() -> None:
    """A compensation needs a memory of what took effect."""
    service = Service("payment")
    service.on(StockReserved)(charge)
    with pytest.raises(ConfigError, match="has no store"):
        service.handles(RefundPayment, reverses=charge)(refund)


def test_reverses_names_a_handler() -> None:
    """``reverses`` names a handler of the same service."""
    with pytest.raises(ConfigError, match="not a handler declared above"):
        Service("payment", store=STORE).handles(RefundPayment, reverses=charge)(refund)


def test_a_confirmation_is_filled_by_name() -> None:
    """A compensation's confirmation takes its fields from the command."""
    service = Service("payment", store=STORE)
    service.on(StockReserved)(charge)
    service.handles(RefundPayment, reverses=charge)(refund)
    confirm = service.handlers[1].confirm
    assert confirm is not None
    assert confirm(REFUND) == REFUNDED


def test_a_confirmation_that_cannot_be_filled() -> None:
    """A confirmation with a field that the command lacks is refused, with the remedy."""

    def cancel(command: CancelShipment) -> ShipmentBooked:
        raise NotImplementedError

    service = Service("shipping", store=STORE)
    service.on(StockReserved)(charge)
    with pytest.raises(
        ConfigError, match=r"no field for shipping\.ShipmentBooked\.tracking; give cancel confirm="
    ):
        service.handles(CancelShipment, reverses=charge)(cancel)


def test_a_confirmation_that_is_not_one_type() -> None:
    """With two possible confirmations the author says which."""

    def either(command: RefundPayment) -> PaymentRefunded | PaymentCaptured:
        raise NotImplementedError

    service = Service("payment", store=STORE)
    service.on(StockReserved)(charge)
    with pytest.raises(ConfigError, match="give either confirm="):
        service.handles(RefundPayment, reverses=charge)(either)


def test_outside_needs_a_store() -> None:
    """Without a store nothing remembers an attempt."""

    def book(command: BookShipment) -> ShipmentBooked:
        raise NotImplementedError

    with pytest.raises(ConfigError, match="outside"):
        Service("shipping").handles(BookShipment, outside=True)(book)


@pytest.mark.parametrize("name", ["", "Payment", "pay ment", "kantor", "x" * 65])
def test_service_names(name: str) -> None:
    """A service's name is used in topics and groups: plain, and not ours."""
    with pytest.raises(ConfigError, match="not a service name"):
        Service(name)


def test_a_store_is_not_transactional() -> None:
    """An SQL commit is no part of a Kafka transaction: who asks for both is told."""
    with pytest.raises(ConfigError, match="drop transactional=True"):
        Service("payment", store=STORE, transactional=True)


def test_nothing_to_run() -> None:
    """A service without handlers has nothing to run."""
    from kantor.kafka import KafkaSettings
    from kantor.runner import Runner

    with pytest.raises(ConfigError, match="no handlers"):
        Runner(Service("payment"), KafkaSettings("nowhere:1")).run()
