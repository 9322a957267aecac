"""Transactions as records and back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.transaction import Early, Incident, Status, StepState, StepStatus, Transaction
from kantor_orchestrator.core.values import dump, load
from kantor_orchestrator.snapshots import transaction_from, transaction_record
from kantor_schemas import system

VALUES = {
    "text": '£ "quoted" \u2028',
    "bytes": b"\x00\xff",
    "when": datetime(2026, 1, 31, 12, 30, 0, 123000, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "money": Decimal("12.30"),
    "id": UUID(int=7),
    "list": [1, 2.5, None, True, {"nested": [b"x"]}],
}


def a_transaction() -> Transaction:
    return Transaction(
        id="order-1",
        saga="checkout",
        version=3,
        status=Status.COMPENSATING,
        started_at=1_700_000_000_000,
        updated_at=1_700_000_000_500,
        deadline=1_700_000_900_000,
        reason="payment: declined",
        entries=4,
        steps={
            "stock": StepState(
                StepStatus.COMPENSATING, compensation_round=2, compensation_attempt=1, again=True
            ),
            "payment": StepState(StepStatus.FAILED, code="payment.PaymentDeclined", timer="", due=0),
        },
        captured={"start": dict(VALUES)},
        early=[Early("event", "a.B", "id", "a", "cause", 5, "evt.a.b.v1/0/1", dict(VALUES))],
        fingerprints={-(2**63), 0x7FFFFFFFFFFFFFFF, 5},
        incidents=[Incident("poison", "", "bad bytes", 9)],
    )


def test_a_transaction_comes_back_as_it_was() -> None:
    """Through Avro and back nothing is lost: restored state is live state."""
    codec = Codec(MemorySchemas())
    encode = codec.encoder(system("TransactionState"), "sys.kantor.state")
    assert transaction_from(codec.decode(encode(transaction_record(a_transaction())))) == a_transaction()


def test_equal_transactions_give_equal_bytes() -> None:
    """Whatever order sets and maps were filled in, byte for byte."""
    encode = Codec(MemorySchemas()).encoder(system("TransactionState"), "sys.kantor.state")
    one, other = a_transaction(), a_transaction()
    other.fingerprints = {5, 0x7FFFFFFFFFFFFFFF, -(2**63)}
    other.captured = {"start": dict(reversed(VALUES.items()))}
    assert encode(transaction_record(one)) == encode(transaction_record(other))


def test_captured_values_keep_their_types() -> None:
    """A command is filled with what the event held: bytes stay bytes, decimals stay decimals."""
    assert load(dump(VALUES)) == VALUES


def test_a_copy_shares_nothing_that_changes() -> None:
    """``decide`` works on a copy: the transaction itself must not see it."""
    original = a_transaction()
    copy = original.copy()
    copy.steps["stock"].again = False
    copy.fingerprints.add(99)
    copy.incidents.clear()
    copy.captured["x"] = {}
    assert original == a_transaction()
