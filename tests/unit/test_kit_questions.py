"""Questions about an action, and the action, in every order: one answer, one fact, one effect (kit-16)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kantor import Context, Retryable, Service
from kantor.envelope import event_id
from kantor_examples.checkout.messages import (
    ReleaseStock,
    ShipmentBooked,
    ShipmentUnavailable,
)
from unit.kit_harness import Answer, Desk
from unit.kit_services import BOOK, BOOKED, CANCEL, CANCELLED, effects, shipping

QUESTION = ReleaseStock(order_id="o1")  # any other command: its type does not matter
UNKNOWN = ShipmentUnavailable(order_id="o1", reason="never heard of it")


class Parcels:
    """A shipping service that can be asked; ``says`` is what its question's handler answers."""

    def __init__(
        self, folder: Path, trouble: Callable[[], object] = lambda: None, *, outside: bool = False
    ) -> None:
        self.says: list[ShipmentBooked | ShipmentUnavailable | None] = []
        service = shipping(folder, trouble, outside=outside)
        asking(service, self._answer)
        self.desk = Desk(service)

    def _answer(self) -> ShipmentBooked | ShipmentUnavailable | None:
        return self.says.pop(0)

    def book(self, id_: str = "a1") -> list[Answer]:
        return self.desk.send(BOOK, id_=id_, key="k1")

    def ask(self, id_: str = "q1") -> list[Answer]:
        return self.desk.send(QUESTION, id_=id_, key="x1", extra=[("ce_asks", b"k1")])

    def cancel(self) -> list[Answer]:
        return self.desk.send(CANCEL, id_="c1", key="x2", reverses="k1")


def asking(service: Service, answer: Callable[[], ShipmentBooked | ShipmentUnavailable | None]) -> None:
    @service.handles(ReleaseStock, declines=[ShipmentUnavailable])
    def told(command: ReleaseStock, context: Context) -> ShipmentBooked | ShipmentUnavailable | None:
        return answer()


@pytest.fixture
def parcels(tmp_path: Path) -> Parcels:
    return Parcels(tmp_path)


def test_an_answered_action_answers_the_question(parcels: Parcels) -> None:
    """The question gets the action's stored answer, caused by the question; its handler is not called."""
    (first,) = parcels.book()
    (told,) = parcels.ask()
    assert told.message == first.message == BOOKED
    assert (first.envelope.causation_id, told.envelope.causation_id) == ("a1", "q1")
    assert first.envelope.id != told.envelope.id


def test_two_tellings_are_one_fact(parcels: Parcels) -> None:
    """The answers to the action and to a question about it share the action's key: who reacts to both acts once."""
    (first,) = parcels.book()
    (told,) = parcels.ask()
    fact = event_id("k1", "shipping.ShipmentBooked", 0)
    assert first.envelope.idempotency_key == told.envelope.idempotency_key == fact


def test_who_was_told_no_can_rely_on_it(parcels: Parcels, tmp_path: Path) -> None:
    """The question overtakes its action, and the answer is no: the action, when it comes, is not carried out."""
    parcels.says = [UNKNOWN]
    (told,) = parcels.ask()
    (late,) = parcels.book()
    assert told.message == late.message == UNKNOWN
    assert effects(tmp_path) == []


def test_the_first_answer_is_for_ever(parcels: Parcels) -> None:
    """A question that is asked again has the same answer, also from a process that knows only the store."""
    parcels.says = [UNKNOWN]
    (first,) = parcels.ask("q1")
    parcels.desk.start()
    (again,) = parcels.ask("q2")
    assert again.message == first.message


def test_who_can_not_say_is_asked_again(parcels: Parcels, tmp_path: Path) -> None:
    """A question that is answered with nothing settles nothing: the action is carried out when it comes."""
    parcels.says = [None]
    assert parcels.ask() == []
    assert [answer.message for answer in parcels.book()] == [BOOKED]
    assert effects(tmp_path) == ["booked o1"]


def test_a_failing_question_settles_nothing(tmp_path: Path) -> None:
    """A question's handler that raises is reported as retryable, and the action is as it was."""
    service = shipping(tmp_path)

    def down() -> None:
        raise Retryable("the carrier is down")

    asking(service, down)
    desk = Desk(service)
    (failed,) = desk.send(QUESTION, id_="q1", key="x1", extra=[("ce_asks", b"k1")])
    assert failed.message.retryable
    assert [answer.message for answer in desk.send(BOOK, id_="a1", key="k1")] == [BOOKED]
    desk.close()


@pytest.mark.parametrize(
    ("says", "reversed_"), [(BOOKED, ["cancelled o1"]), (UNKNOWN, [])], ids=["happened", "did not happen"]
)
def test_an_outside_attempt_that_is_asked_about(
    tmp_path: Path, says: ShipmentBooked | ShipmentUnavailable, reversed_: list[str]
) -> None:
    """What an attempt in another system came to is known from the answer: its compensation is carried out, or is not."""

    def crash() -> None:
        raise KeyboardInterrupt

    parcels = Parcels(tmp_path, crash, outside=True)
    with pytest.raises(KeyboardInterrupt):
        parcels.book()
    parcels.desk.start()
    parcels.says = [says]
    parcels.ask()
    assert [answer.message for answer in parcels.cancel()] == [CANCELLED]
    assert effects(tmp_path) == reversed_


def test_an_effect_that_only_the_question_knows_of(parcels: Parcels, tmp_path: Path) -> None:
    """The inbox knows nothing of the action, but the answer is yes: its compensation is carried out."""
    parcels.says = [BOOKED]
    parcels.ask()
    parcels.cancel()
    assert effects(tmp_path) == ["cancelled o1"]


def test_a_service_without_a_store_tells_one_fact(tmp_path: Path) -> None:
    """It remembers nothing, but its answer to a question has the action's key, too."""
    service = Service("shipping")

    @service.handles(ReleaseStock)
    def told(command: ReleaseStock) -> ShipmentBooked:
        return BOOKED

    (answer,) = Desk(service).send(QUESTION, id_="q1", key="x1", extra=[("ce_asks", b"k1")])
    assert answer.envelope.idempotency_key == event_id("k1", "shipping.ShipmentBooked", 0)
