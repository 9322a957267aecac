"""What an author's handler does to its service: the store's SQL transaction, processes, Ctrl-C (kit-11, kit-19)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kantor import Context, Service, SqliteStore
from kantor.calling import call
from kantor.inbox import StoreError
from kantor_examples.checkout.messages import PaymentCaptured, StockReserved
from unit.kit_harness import Desk
from unit.kit_services import RESERVED

SCHEMA = "CREATE TABLE IF NOT EXISTS effects (name TEXT); CREATE TABLE IF NOT EXISTS one (id PRIMARY KEY)"
GOOD = replace(RESERVED, order_id="good")


def service(tmp_path: Path, does: Callable[[Any], object]) -> Service:
    """Has an effect, then does this; for the order ``good`` the effect only."""
    made = Service("payment", store=SqliteStore(str(tmp_path / "service.db"), schema=SCHEMA))

    @made.on(StockReserved)
    def charge(event: StockReserved, context: Context) -> PaymentCaptured:
        context.db.execute("INSERT INTO effects VALUES (?)", (event.order_id,))
        if event.order_id != "good":
            does(context.db)
        return PaymentCaptured(order_id=event.order_id, amount_cents=1)

    return made


def effects(tmp_path: Path) -> list[str]:
    db = sqlite3.connect(tmp_path / "service.db")
    names = [name for (name,) in db.execute("SELECT name FROM effects")]
    db.close()
    return names


def set_level(db: Any) -> None:
    db.isolation_level = None


@pytest.mark.parametrize(
    ("does", "remedy"),
    [
        (lambda db: db.commit(), "remove commit()"),
        (lambda db: db.rollback(), "raise instead of rollback()"),
        (lambda db: db.executescript("SELECT 1"), "SqliteStore(schema=...)"),
        (lambda db: db.cursor().executescript("SELECT 1"), "SqliteStore(schema=...)"),
        (lambda db: db.close(), "remove close()"),
        (set_level, "setting isolation_level would commit"),
        (lambda db: db.set_authorizer(None), "remove set_authorizer()"),
        (lambda db: db.set_progress_handler(lambda: 1, 1), "remove set_progress_handler()"),
        (lambda db: db.execute("COMMIT"), "remove COMMIT"),
        (lambda db: db.execute("/* done */ end transaction"), "remove COMMIT"),
        (lambda db: db.cursor().execute("ROLLBACK"), "remove ROLLBACK"),
        (lambda db: db.execute("RELEASE Kantor_Message"), "the kit's savepoint"),
        (lambda db: db.execute("PRAGMA query_only = 1"), "PRAGMA query_only"),
        (lambda db: db.execute("DELETE FROM kantor_inbox"), "kantor_inbox is the kit's"),
        (lambda db: db.execute("DROP TABLE kantor_actions"), "kantor_actions is the kit's"),
    ],
)
def test_what_would_part_effect_and_answer_is_refused(
    tmp_path: Path, does: Callable[[Any], object], remedy: str
) -> None:
    """Whatever would end the batch's SQL transaction, or break the inbox, fails its own message with the remedy; the next one
    is handled."""
    desk = Desk(service(tmp_path, does))
    bad, good = desk.handle(desk.record(RESERVED, id_="m1"), desk.record(GOOD, id_="m2"))
    assert remedy in bad.message.message
    assert good.message.order_id == "good"
    assert effects(tmp_path) == ["good"]
    desk.close()


def rolls_back(db: Any) -> None:
    db.execute("INSERT INTO one VALUES (1)")
    db.execute("INSERT OR ROLLBACK INTO one VALUES (1)")


def rolls_back_and_goes_on(db: Any) -> None:
    with suppress(sqlite3.IntegrityError):
        rolls_back(db)
    db.execute("INSERT INTO effects VALUES ('half')")


def rolls_back_and_hides_it(db: Any) -> None:
    with suppress(Exception):
        rolls_back_and_goes_on(db)


@pytest.mark.parametrize("does", [rolls_back, rolls_back_and_goes_on, rolls_back_and_hides_it])
def test_a_rollback_that_cannot_be_refused_fails_its_own_message_only(
    tmp_path: Path, does: Callable[[Any], object]
) -> None:
    """INSERT OR ROLLBACK takes the batch with it: that is handled again, and the message that did it has failed. Nothing is
    committed by itself."""
    desk = Desk(service(tmp_path, does))
    records = [desk.record(GOOD, id_="m1"), desk.record(RESERVED, id_="m2")]
    with pytest.raises(StoreError, match="OR ROLLBACK"):
        desk.handle(*records)
    assert effects(tmp_path) == []
    good, bad = desk.handle(*records)
    assert good.message.order_id == "good"
    assert "OR ROLLBACK" in bad.message.message
    assert effects(tmp_path) == ["good"]
    desk.close()


def test_a_full_disk_is_not_the_handlers_fault(tmp_path: Path) -> None:
    """SQLite ends the SQL transaction when the disk is full: the message waits, and does not fail."""

    def full(db: Any) -> None:
        if full_now:
            db.is_handlers = False  # as SQLite does it: it asks nobody
            db.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    full_now = [True]
    desk = Desk(service(tmp_path, full))
    for _ in range(2):
        with pytest.raises(StoreError, match="disk is full"):
            desk.send(RESERVED, id_="m1")
    full_now.clear()
    (answer,) = desk.send(RESERVED, id_="m1")
    assert answer.message.order_id == RESERVED.order_id
    desk.close()


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(3)", 3), ("sys.exit('no')", 1), ("1 / 0", 1), ("None", 0)]
)
def test_a_forked_child_ends_with_the_handler(end: str, code: int) -> None:
    """A child that a handler forks never goes on with its service's store: it ends as a process of its own would."""
    program = (
        "import os, sys\n"
        "from kantor.calling import call\n"
        f"call(lambda: os.fork() or {end})\n"
        "print('went on', os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"went on {code}\n"


def interrupts(_: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_of_a_test_leaves_a_handler(tmp_path: Path) -> None:
    """Where nothing else takes SIGINT, KeyboardInterrupt is a person's."""
    desk = Desk(service(tmp_path, interrupts))
    with pytest.raises(KeyboardInterrupt):
        desk.send(RESERVED)
    desk.close()


def test_a_handlers_keyboard_interrupt_is_a_failure(tmp_path: Path) -> None:
    """Where the kit takes SIGINT, only the handler's own code raises KeyboardInterrupt, and the service goes on."""
    desk = Desk(service(tmp_path, interrupts))
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        (answer,) = desk.send(RESERVED)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "KeyboardInterrupt" in answer.message.message
    desk.close()


def test_what_a_handler_raises_is_raised() -> None:
    """In the process that called it, nothing else happens."""
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)
    assert call(os.getpid) == os.getpid()
