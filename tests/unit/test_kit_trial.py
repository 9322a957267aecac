"""A service on trial (docs/testing.md): what its author's tests see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kantor import ConfigError, Retryable, Service, StepFailed
from kantor.errors import EncodingError
from kantor.testing import Trial
from kantor_examples.checkout.messages import BookShipment, PaymentCaptured, ShipmentBooked, StockReserved
from unit.kit_services import (
    BOOK,
    BOOKED,
    CANCEL,
    CANCELLED,
    CAPTURED,
    REFUND,
    REFUNDED,
    RESERVED,
    payment,
    shipping,
)


def effects(trial: Trial) -> list[str]:
    return [what for (what,) in trial.db.execute("SELECT what FROM effects ORDER BY rowid")]


def test_an_event_and_its_compensation(tmp_path: Path) -> None:
    """A compensation is that of what the service did in its transaction."""
    with Trial(payment(tmp_path)) as trial:
        assert trial.send(RESERVED) == [CAPTURED]
        assert trial.send(REFUND) == [REFUNDED]
        assert effects(trial) == ["charged o1", "refunded o1"]
    assert not (tmp_path / "service.db").exists()


def test_a_command_and_its_compensation(tmp_path: Path) -> None:
    """The same for a command; a second compensation finds nothing to reverse."""
    with Trial(shipping(tmp_path)) as trial:
        assert trial.send(BOOK) == [BOOKED]
        assert trial.send(CANCEL, transaction="t2") == [CANCELLED]
        assert effects(trial) == ["booked o1"]
        assert trial.send(CANCEL) == trial.send(CANCEL) == [CANCELLED]
        assert effects(trial) == ["booked o1", "cancelled o1"]


def test_attempts_of_a_command(tmp_path: Path) -> None:
    """Sent twice, a command is asked for twice, and done once; with a key of its own it is another one."""
    with Trial(shipping(tmp_path)) as trial:
        assert trial.send(BOOK) == trial.send(BOOK) == trial.again() == [BOOKED]
        assert effects(trial) == ["booked o1"]
        assert trial.send(BOOK, key="another") == trial.send(BOOK, transaction="t2") == [BOOKED]
        assert effects(trial) == ["booked o1"] * 3


def test_a_command_that_has_expired(tmp_path: Path) -> None:
    """It is refused; one that is in time is carried out."""
    with Trial(shipping(tmp_path)) as trial:
        (answer,) = trial.send(BOOK, expires_in=-1)
        assert isinstance(answer, StepFailed)
        assert answer.code == "expired"
        assert trial.send(BOOK, expires_in=1) == [BOOKED]
        assert effects(trial) == ["booked o1"]


@pytest.mark.parametrize("transactional", [False, True])
def test_time_passes_only_while_a_handler_is_tried_again(*, transactional: bool) -> None:
    """Five seconds of retries take none of the test's."""
    service = Service("payment", transactional=transactional)

    @service.on(StockReserved)
    def charge(event: StockReserved) -> PaymentCaptured:
        raise Retryable("down", code="psp")

    with Trial(service) as trial:
        before = trial.clock.monotonic()
        (answer,) = trial.send(RESERVED)
        assert isinstance(answer, StepFailed)
        assert (answer.code, answer.retryable) == ("psp", False)
        assert trial.clock.monotonic() - before >= 5


def test_a_handler_without_answer() -> None:
    """Nothing comes back."""
    service = Service("shipping")
    seen: list[BookShipment] = []

    @service.handles(BookShipment)
    def book(command: BookShipment) -> None:
        seen.append(command)

    with Trial(service) as trial:
        assert trial.send(BOOK) == []
    assert seen == [BOOK]


def test_what_reads_and_writes_one_topic() -> None:
    """What was sent is no answer."""
    service = Service("payment")

    @service.on(StockReserved, topic=PaymentCaptured.TOPIC)
    def charge(event: StockReserved) -> PaymentCaptured:
        return CAPTURED

    with Trial(service) as trial:
        assert trial.send(RESERVED) == trial.send(RESERVED) == [CAPTURED]


def test_what_can_not_be_sent(tmp_path: Path) -> None:
    """The test is told what is wrong with it."""
    service = Service("shipping")

    @service.handles(BookShipment)
    def book(command: BookShipment) -> ShipmentBooked:
        return BOOKED

    with Trial(service) as trial:
        known = "has no handler for inventory.StockReserved; it has: shipping.BookShipment"
        with pytest.raises(ConfigError, match=re.escape(known)):
            trial.send(RESERVED)
        with pytest.raises(ConfigError, match="nothing was sent yet"):
            trial.again()
        with pytest.raises(ConfigError, match="has no store"):
            trial.db.execute("SELECT 1")
        with pytest.raises(EncodingError, match="32 bits"):
            trial.send(BookShipment(order_id="o1", sku="s1", quantity=2**40))
