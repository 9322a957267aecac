"""The inbox: a message's effect and its answer happen together, once (kit-11 to kit-13)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kantor import Context, Retryable, Service, SqliteStore
from kantor.envelope import event_id
from kantor.inbox import KEEP_DAYS, StoreError
from kantor_examples.checkout.messages import PaymentCaptured, StockReserved
from unit.kit_harness import NOON, Desk
from unit.kit_services import BOOK, BOOKED, CAPTURED, DECLINED, RESERVED, effects, payment, shipping

DAY = 86_400_000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(payment(tmp_path))
    yield desk
    desk.close()


def test_a_duplicate_is_answered_identically(desk: Desk, tmp_path: Path) -> None:
    """The same event again gets the same answer, byte by byte, and has no second effect."""
    first = desk.send(RESERVED)
    desk.now += 5_000
    assert desk.send(RESERVED) == first
    assert effects(tmp_path) == ["charged o1"]


def test_answers_survive_a_crash(desk: Desk, tmp_path: Path) -> None:
    """Redelivered after a crash, a message gets the stored answer."""
    first = desk.send(RESERVED)
    desk.start()
    assert desk.send(RESERVED) == first
    assert effects(tmp_path) == ["charged o1"]


def test_another_event_of_the_same_transaction(desk: Desk, tmp_path: Path) -> None:
    """An event with another id is another event."""
    desk.send(RESERVED, id_="m1")
    desk.send(RESERVED, id_="m2")
    assert effects(tmp_path) == ["charged o1", "charged o1"]


def test_a_declined_answer_is_final(desk: Desk) -> None:
    """A decline is stored like a success."""
    dear = replace(RESERVED, amount_cents=5_000)
    assert [answer.message for answer in desk.send(dear)] == [DECLINED]
    assert [answer.message for answer in desk.send(dear)] == [DECLINED]
    assert desk.outcomes() == {"declined": 1, "repeated": 1}


def test_a_second_attempt_is_answered_with_the_stored_answer(tmp_path: Path) -> None:
    """Attempts of a command share a key: the second gets the first's answer, with itself as the cause."""
    desk = Desk(shipping(tmp_path))
    desk.send(BOOK, id_="a1", key="k1")
    (answer,) = desk.send(BOOK, id_="a2", key="k1")
    assert answer.message == BOOKED
    assert answer.envelope.causation_id == "a2"
    assert answer.envelope.id == event_id("a2", "shipping.ShipmentBooked", 0)
    assert effects(tmp_path) == ["booked o1"]
    desk.close()


def test_a_retryable_failure_is_not_stored(tmp_path: Path) -> None:
    """After a retryable failure the next attempt is carried out."""
    troubles = iter([Retryable("carrier is down")])

    def trouble() -> None:
        for error in troubles:
            raise error

    desk = Desk(shipping(tmp_path, trouble))
    (failed,) = desk.send(BOOK, id_="a1", key="k1")
    assert failed.message.retryable
    (answer,) = desk.send(BOOK, id_="a2", key="k1")
    assert answer.message == BOOKED
    assert effects(tmp_path) == ["booked o1"]
    desk.close()


def test_an_attempt_that_failed_is_not_carried_out_later(tmp_path: Path) -> None:
    """Delivered once more, an attempt that was answered as failed gets that answer again, after a crash too."""
    troubles = iter([Retryable("carrier is down")])

    def trouble() -> None:
        for error in troubles:
            raise error

    desk = Desk(shipping(tmp_path, trouble))
    first = desk.send(BOOK, id_="a1", key="k1")
    desk.start()
    assert desk.send(BOOK, id_="a1", key="k1") == first
    assert effects(tmp_path) == []
    assert desk.outcomes()["repeated"] == 1
    desk.close()


def test_an_expired_attempt_is_not_carried_out_by_a_slower_clock(tmp_path: Path) -> None:
    """What was refused as expired stays refused where the clock was set back; the next attempt is carried out."""
    desk = Desk(shipping(tmp_path))
    (refused,) = desk.send(BOOK, id_="a1", key="k1", expires_in=-1)
    desk.now -= 120_000
    assert desk.send(BOOK, id_="a1", key="k1", expires_in=119_999) == [refused]
    assert effects(tmp_path) == []
    (answer,) = desk.send(BOOK, id_="a2", key="k1")
    assert answer.message == BOOKED
    desk.close()


def test_a_failed_handler_leaves_no_effect(tmp_path: Path) -> None:
    """What a handler wrote before it raised is rolled back; the batch's other effects stay."""

    def trouble() -> None:
        raise ZeroDivisionError

    desk = Desk(payment(tmp_path, trouble))
    desk.handle(desk.record(RESERVED, transaction="t1"))
    assert effects(tmp_path) == []
    desk.close()


def test_a_batch_is_one_sql_transaction(desk: Desk, tmp_path: Path) -> None:
    """A batch that the store does not take has no effect at all, and can be given again."""
    assert desk.inbox is not None
    records = [desk.record(RESERVED, id_="m1"), desk.record(RESERVED, id_="m2")]
    other = sqlite3.connect(tmp_path / "service.db")
    other.execute("BEGIN IMMEDIATE")
    desk.inbox.db.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(StoreError, match=r"service\.db: .*locked; another process"):
        desk.handle(*records)
    other.close()
    assert effects(tmp_path) == []
    assert len(desk.handle(*records)) == 2
    assert effects(tmp_path) == ["charged o1", "charged o1"]


def test_with_db_is_harmless(tmp_path: Path) -> None:
    """``with context.db:``, sqlite3's idiom, neither commits nor rolls back the batch."""
    service = Service("payment", store=SqliteStore(str(tmp_path / "service.db")))

    @service.on(StockReserved)
    def charge(event: StockReserved, context: Context) -> PaymentCaptured:
        with context.db as db:
            db.execute("CREATE TABLE things (name TEXT)")
        assert context.db.in_transaction
        return PaymentCaptured(order_id=event.order_id, amount_cents=500)

    desk = Desk(service)
    assert [answer.message for answer in desk.send(RESERVED)] == [CAPTURED]
    desk.close()


def test_a_handlers_row_factory(tmp_path: Path) -> None:
    """How a handler likes its rows is its own business."""
    service = Service("payment", store=SqliteStore(str(tmp_path / "service.db")))

    @service.on(StockReserved)
    def charge(event: StockReserved, context: Context) -> PaymentCaptured:
        context.db.row_factory = lambda cursor, row: {"row": row}
        return PaymentCaptured(order_id=event.order_id, amount_cents=500)

    desk = Desk(service)
    first = desk.send(RESERVED)
    assert desk.send(RESERVED) == first
    desk.close()


def kept(desk: Desk) -> list[str]:
    """The ids of the events whose answers the inbox has."""
    assert desk.inbox is not None
    found = desk.inbox.db.execute("SELECT key FROM kantor_inbox ORDER BY key").fetchall()
    return [key.removeprefix("shop\n") for (key,) in found]


def test_old_answers_are_removed(desk: Desk) -> None:
    """What is older than the longest wait for a duplicate goes, a little with every batch."""
    desk.send(RESERVED, id_="old")
    desk.now = NOON + KEEP_DAYS * DAY
    desk.send(RESERVED, id_="new")
    assert kept(desk) == ["new", "old"]
    desk.now += 1
    desk.send(RESERVED, id_="newer")
    assert kept(desk) == ["new", "newer"]


@pytest.mark.parametrize("set_by", [400 * DAY, -400 * DAY, -NOON], ids=["ahead", "back", "1970"])
def test_a_clock_that_is_set_drops_no_answer(desk: Desk, tmp_path: Path, set_by: int) -> None:
    """Whatever the clock says when an answer is kept, or later, and however often the service is started: it is kept while the service
    runs for so many days, and no longer. Its duplicate is answered, and has no second effect."""
    desk.send(RESERVED, id_="before")
    desk.set_by += set_by
    desk.send(RESERVED, id_="meanwhile")
    desk.start()
    desk.set_by -= set_by
    desk.send(RESERVED, id_="after")
    desk.now += (KEEP_DAYS - 1) * DAY
    done = effects(tmp_path)
    assert [answer.message for answer in desk.send(RESERVED, id_="meanwhile")] == [CAPTURED]
    assert kept(desk) == ["after", "before", "meanwhile"]
    assert effects(tmp_path) == done
    desk.set_by += set_by
    desk.now += 2 * DAY
    for _ in range(2):  # a little with every batch
        desk.send(RESERVED, id_="last")
    assert kept(desk) == ["last"]


def test_time_in_which_the_service_does_not_run_makes_nothing_old(desk: Desk) -> None:
    """Nobody can tell it from a clock that was set. A second that a crash forgets keeps an answer a second longer."""
    desk.send(RESERVED, id_="old")
    desk.close()
    desk.now += 400 * DAY
    desk.start()
    desk.now += KEEP_DAYS * DAY - 1
    desk.send(RESERVED, id_="new")
    assert kept(desk) == ["new", "old"]
    desk.start()
    desk.now += 1_000
    desk.send(RESERVED, id_="newer")
    assert kept(desk) == ["new", "newer"]


def test_two_processes_with_one_store_let_time_pass_once(desk: Desk) -> None:
    """While one takes over from the other, say."""
    desk.send(RESERVED, id_="old")
    other = Desk(desk.service)
    for _ in range(KEEP_DAYS * 2 - 2):
        for one in (desk, other):
            one.now += DAY // 2
            one.send(RESERVED, id_="again")
    desk.start()
    desk.send(RESERVED, id_="again")
    assert kept(desk) == ["again", "old"]
    other.close()


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """A store in a folder that does not exist is refused, with its path."""
    with pytest.raises(StoreError, match=r"nowhere.*; the folder must exist"):
        SqliteStore(str(tmp_path / "nowhere" / "service.db")).open()


@pytest.mark.parametrize("with_", [None, b"SQLite format 3\0"])
def test_a_store_whose_file_is_gone_takes_nothing(desk: Desk, tmp_path: Path, with_: bytes | None) -> None:
    """Deleted or replaced while the service runs: what is done would be lost with it, so nothing is, and the error says what to do."""
    desk.send(RESERVED, id_="m1")
    (tmp_path / "service.db").rename(tmp_path / "moved.db")
    if with_ is not None:
        (tmp_path / "service.db").write_bytes(with_)
    with pytest.raises(StoreError, match=r"service\.db: .*replaced while the service runs; put it back"):
        desk.send(RESERVED, id_="m2")
    (tmp_path / "moved.db").rename(tmp_path / "service.db")
    assert len(desk.send(RESERVED, id_="m2")) == 1
    assert len(effects(tmp_path)) == 2


def test_a_file_that_is_no_store_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """It is left as it is."""
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(StoreError, match=r"text: .*; give the store a file of its own"):
        SqliteStore(str(tmp_path / "text")).open()


def test_both_answers_to_a_command_tell_one_fact(tmp_path: Path) -> None:
    """Two attempts are answered by two events, with ids of their own and one idempotency key."""
    desk = Desk(shipping(tmp_path))
    first, second = (desk.send(BOOK, id_=id_, key="k1")[0].envelope for id_ in ("c1", "c2"))
    assert first.id != second.id
    assert first.idempotency_key == second.idempotency_key == event_id("k1", BOOKED.TYPE, 0)
    desk.close()


def test_a_fact_that_is_told_twice_has_one_effect(desk: Desk, tmp_path: Path) -> None:
    """Whoever reacts to a step that was asked for twice acts once, and hands the key down."""
    first = desk.send(RESERVED, id_="m1", key="k1")
    second = desk.send(RESERVED, id_="m2", key="k1")
    assert effects(tmp_path) == ["charged o1"]
    assert [a.envelope.idempotency_key for a in first + second] == [event_id("k1", CAPTURED.TYPE, 0)] * 2
