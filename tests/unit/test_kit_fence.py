"""Compensations and their actions, in every order (kit-14, kit-17)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kantor import Context, Message, Retryable, Service, SqliteStore
from kantor.envelope import EFFECT, KNOWN, choreographed_action, event_id
from kantor_examples.checkout.messages import (
    CancelShipment,
    PaymentCaptured,
    RefundPayment,
    ShipmentBooked,
    StockReserved,
)
from unit.kit_harness import Answer, Desk
from unit.kit_services import (
    BOOK,
    BOOKED,
    CANCEL,
    CANCELLED,
    CAPTURED,
    REFUND,
    REFUNDED,
    RESERVED,
    effects,
    payment,
    shipping,
)

CHARGE = choreographed_action("t1", "payment.PaymentCaptured")
KNOWN_EFFECT = [(EFFECT, KNOWN)]


def fail() -> None:
    raise Retryable("down")


def messages(answers: list[Answer]) -> list[Message]:
    return [answer.message for answer in answers]


@pytest.fixture
def payments(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(payment(tmp_path))
    yield desk
    desk.close()


@pytest.fixture
def parcels(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(shipping(tmp_path))
    yield desk
    desk.close()


def test_an_effect_is_reversed(payments: Desk, tmp_path: Path) -> None:
    """A compensation of an action that took effect is carried out."""
    payments.send(RESERVED)
    assert messages(payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)) == [REFUNDED]
    assert effects(tmp_path) == ["charged o1", "refunded o1"]


def test_a_known_effect_that_the_store_does_not_know_is_not_confirmed(payments: Desk, tmp_path: Path) -> None:
    """Another replica has it, or the store was lost: nothing was reversed, so nobody may say so. Asked again, it is reversed
    once the store knows of it."""
    for attempt in ("c1", "c2"):
        (failed,) = payments.send(REFUND, id_=attempt, key="r1", reverses=CHARGE, extra=KNOWN_EFFECT)
        assert (failed.message.code, failed.message.retryable) == ("unknown_effect", False)
        assert "let one store serve all of payment" in failed.message.message
    assert effects(tmp_path) == []
    payments.send(RESERVED)
    assert messages(payments.send(REFUND, id_="c3", key="r1", reverses=CHARGE, extra=KNOWN_EFFECT)) == [
        REFUNDED
    ]
    assert effects(tmp_path) == ["charged o1", "refunded o1"]
    again = payments.send(REFUND, id_="c4", key="r2", reverses=CHARGE, extra=KNOWN_EFFECT)
    assert messages(again) == [REFUNDED]
    assert effects(tmp_path) == ["charged o1", "refunded o1"]


def test_a_compensation_that_overtakes_its_action(payments: Desk, tmp_path: Path) -> None:
    """A compensation of an unseen action is confirmed without effect, and the action is refused when it comes."""
    assert messages(payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)) == [REFUNDED]
    (refused,) = payments.send(RESERVED)
    assert (refused.message.code, refused.message.retryable) == ("fenced", False)
    assert refused.envelope.causation_id == "m1"
    assert effects(tmp_path) == []


def test_the_fence_stays(payments: Desk, tmp_path: Path) -> None:
    """A refused action is refused again, after a crash too, with the same answer id."""
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    first = payments.send(RESERVED)
    payments.start()
    assert payments.send(RESERVED) == first
    assert effects(tmp_path) == []


def test_a_fenced_command(parcels: Desk, tmp_path: Path) -> None:
    """A command is fenced by its idempotency key."""
    assert messages(parcels.send(CANCEL, id_="c1", key="x1", reverses="k1")) == [CANCELLED]
    (refused,) = parcels.send(BOOK, id_="a1", key="k1")
    assert refused.message.code == "fenced"
    assert effects(tmp_path) == []


def test_another_round_is_not_fenced(parcels: Desk, tmp_path: Path) -> None:
    """A fence stands before one action: the same command in another round is carried out."""
    parcels.send(CANCEL, id_="c1", key="x1", reverses="k1")
    assert messages(parcels.send(BOOK, id_="a2", key="k2")) == [BOOKED]
    assert effects(tmp_path) == ["booked o1"]


def test_another_transaction_is_not_fenced(payments: Desk, tmp_path: Path) -> None:
    """A fence stands in one transaction."""
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    assert messages(payments.send(RESERVED, transaction="t2")) == [CAPTURED]
    assert effects(tmp_path) == ["charged o1"]


def test_a_declined_action_needs_no_compensation(payments: Desk, tmp_path: Path) -> None:
    """An action that declined had no effect: its compensation is confirmed without being carried out."""
    payments.send(replace(RESERVED, amount_cents=5_000))
    assert messages(payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)) == [REFUNDED]
    assert effects(tmp_path) == []


def test_a_failed_action_needs_no_compensation(tmp_path: Path) -> None:
    """An action whose effect was rolled back is not reversed."""
    desk = Desk(shipping(tmp_path, fail))
    desk.send(BOOK, id_="a1", key="k1")
    assert messages(desk.send(CANCEL, id_="c1", key="x1", reverses="k1")) == [CANCELLED]
    assert effects(tmp_path) == []
    desk.close()


def test_a_repeated_compensation(payments: Desk, tmp_path: Path) -> None:
    """All attempts of one compensation get the same confirmation, each as its cause."""
    payments.send(RESERVED)
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    (again,) = payments.send(REFUND, id_="c2", key="r1", reverses=CHARGE)
    assert again.message == REFUNDED
    assert again.envelope.id == event_id("c2", "payment.PaymentRefunded", 0)
    assert effects(tmp_path) == ["charged o1", "refunded o1"]


def test_a_compensation_in_a_later_round(payments: Desk, tmp_path: Path) -> None:
    """Another compensation of the same, already reversed action is confirmed with the first's confirmation."""
    payments.send(RESERVED)
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    (again,) = payments.send(replace(REFUND, amount_cents=1), id_="c2", key="r2", reverses=CHARGE)
    assert again.message == REFUNDED
    assert again.envelope.causation_id == "c2"
    assert effects(tmp_path) == ["charged o1", "refunded o1"]


def test_a_later_round_after_a_fence(payments: Desk, tmp_path: Path) -> None:
    """Another compensation of a fenced action is confirmed too."""
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    assert messages(payments.send(REFUND, id_="c2", key="r2", reverses=CHARGE)) == [REFUNDED]
    assert effects(tmp_path) == []


def test_an_action_that_happened_twice(payments: Desk, tmp_path: Path) -> None:
    """Two effects of one name can be reversed twice."""
    payments.send(RESERVED, id_="m1")
    payments.send(RESERVED, id_="m2")
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    payments.send(REFUND, id_="c2", key="r2", reverses=CHARGE)
    assert effects(tmp_path) == ["charged o1", "charged o1", "refunded o1", "refunded o1"]


def test_no_action_after_its_compensation(payments: Desk, tmp_path: Path) -> None:
    """Once reversed, an action is refused: nobody would reverse it again."""
    payments.send(RESERVED, id_="m1")
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    (refused,) = payments.send(RESERVED, id_="m2")
    assert refused.message.code == "fenced"
    assert effects(tmp_path) == ["charged o1", "refunded o1"]


def test_a_late_duplicate_of_a_reversed_action(payments: Desk) -> None:
    """A duplicate of an action that was reversed gets the answer that it got: it did happen."""
    first = payments.send(RESERVED)
    payments.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    assert payments.send(RESERVED) == first


def test_a_compensation_that_names_no_action(payments: Desk, tmp_path: Path) -> None:
    """Without ``ce_reverses`` (a foreign orchestrator) a compensation is a plain command."""
    assert messages(payments.send(REFUND, id_="c1", key="r1")) == [REFUNDED]
    assert effects(tmp_path) == ["refunded o1"]


def test_both_in_one_batch(payments: Desk, tmp_path: Path) -> None:
    """Action and compensation may come in one batch."""
    payments.handle(payments.record(RESERVED), payments.record(REFUND, id_="c1", key="r1", reverses=CHARGE))
    assert effects(tmp_path) == ["charged o1", "refunded o1"]


def test_an_attempt_that_may_have_happened_outside(tmp_path: Path) -> None:
    """A failed attempt of a handler that acts on another system is reversed: it may have happened there."""
    desk = Desk(shipping(tmp_path, fail, outside=True))
    (failed,) = desk.send(BOOK, id_="a1", key="k1")
    assert failed.message.unsure
    desk.send(CANCEL, id_="c1", key="x1", reverses="k1")
    assert effects(tmp_path) == ["cancelled o1"]
    desk.close()


def test_a_crash_during_an_outside_attempt(tmp_path: Path) -> None:
    """An attempt that the process did not survive is reversed too."""

    def crash() -> None:
        raise KeyboardInterrupt

    desk = Desk(shipping(tmp_path, crash, outside=True))
    with pytest.raises(KeyboardInterrupt):
        desk.send(BOOK, id_="a1", key="k1")
    desk.start()
    desk.send(CANCEL, id_="c1", key="x1", reverses="k1")
    assert effects(tmp_path) == ["cancelled o1"]
    desk.close()


def test_attempts_of_one_outside_action_are_one_effect(tmp_path: Path) -> None:
    """However many attempts: an outside action is reversed once."""
    desk = Desk(shipping(tmp_path, fail, outside=True))
    desk.send(BOOK, id_="a1", key="k1")
    desk.send(BOOK, id_="a2", key="k1")
    desk.send(CANCEL, id_="c1", key="x1", reverses="k1")
    desk.send(CANCEL, id_="c2", key="x2", reverses="k1")
    assert effects(tmp_path) == ["cancelled o1"]
    desk.close()


def test_an_outside_decline_is_no_effect(tmp_path: Path) -> None:
    """A decline is certain, outside too."""
    desk = Desk(shipping(tmp_path, outside=True))
    desk.send(replace(BOOK, quantity=11), id_="a1", key="k1")
    desk.send(CANCEL, id_="c1", key="x1", reverses="k1")
    assert effects(tmp_path) == []
    desk.close()


def test_an_outside_success_is_reversed_once(tmp_path: Path) -> None:
    """An outside action that succeeded is one effect."""
    desk = Desk(shipping(tmp_path, outside=True))
    desk.send(BOOK, id_="a1", key="k1")
    desk.send(CANCEL, id_="c1", key="x1", reverses="k1")
    desk.send(CANCEL, id_="c2", key="x2", reverses="k1")
    assert effects(tmp_path) == ["booked o1", "cancelled o1"]
    desk.close()


def test_a_confirmation_of_ones_own(tmp_path: Path) -> None:
    """Where an answer can't be filled from the command by name, ``confirm`` builds it."""
    service = Service("payment", store=SqliteStore(str(tmp_path / "service.db")))

    @service.on(StockReserved)
    def charge(event: StockReserved) -> PaymentCaptured:
        return CAPTURED

    @service.handles(
        RefundPayment,
        reverses=charge,
        confirm=lambda command: ShipmentBooked(order_id=command.order_id, tracking="none"),
    )
    def refund(command: RefundPayment, context: Context) -> ShipmentBooked:
        raise AssertionError

    desk = Desk(service)
    (answer,) = desk.send(REFUND, id_="c1", key="r1", reverses=CHARGE)
    assert answer.message == ShipmentBooked(order_id="o1", tracking="none")
    desk.close()


def test_a_confirmation_that_fails(tmp_path: Path) -> None:
    """A ``confirm`` that raises is reported like a handler that raises, and the fence is not up."""
    service = Service("shipping", store=SqliteStore(str(tmp_path / "service.db")))

    @service.on(StockReserved)
    def charge(event: StockReserved) -> PaymentCaptured:
        return CAPTURED

    def broken(command: CancelShipment) -> ShipmentBooked:
        raise ZeroDivisionError

    @service.handles(CancelShipment, reverses=charge, confirm=broken)
    def cancel(command: CancelShipment) -> ShipmentBooked:
        raise AssertionError

    desk = Desk(service)
    (failed,) = desk.send(CANCEL, id_="c1", key="r1", reverses=CHARGE)
    assert (failed.message.code, failed.message.retryable) == ("error", True)
    assert messages(desk.send(RESERVED)) == [CAPTURED]
    desk.close()


def test_processes_that_share_a_store_reverse_what_another_one_did(payments: Desk, tmp_path: Path) -> None:
    """kit-25: nobody knows whether it took effect, but the store does."""
    other = Desk(payment(tmp_path))
    payments.send(RESERVED)
    assert messages(other.send(REFUND, id_="c1", key="r1", reverses=CHARGE)) == [REFUNDED]
    assert effects(tmp_path) == ["charged o1", "refunded o1"]
    other.close()


def test_an_action_that_comes_to_another_process_after_its_compensation_is_refused(
    payments: Desk, tmp_path: Path
) -> None:
    """kit-25: they share a store, so there is one fence."""
    other = Desk(payment(tmp_path))
    assert messages(other.send(REFUND, id_="c1", key="r1", reverses=CHARGE)) == [REFUNDED]
    (refused,) = payments.send(RESERVED)
    assert refused.message.code == "fenced"
    assert effects(tmp_path) == []
    other.close()
