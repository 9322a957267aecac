"""Transactions as records and back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from msgspec import msgpack

from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import (
    Early,
    Incident,
    Kind,
    SentCommand,
    Status,
    StepState,
    StepStatus,
    Transaction,
    Transition,
    evolve,
)
from kantor_orchestrator.core.values import dump, load
from kantor_orchestrator.formats.snapshots import (
    Decided,
    Outgoing,
    decided_from,
    decision_record,
    transaction_from,
    transaction_record,
    transitions_from,
)
from kantor_schemas import system

VALUES = {
    "text": '£ "quoted" \u2028',
    "bytes": b"\x00\xff",
    "when": datetime(2026, 1, 31, 12, 30, 0, 123000, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "money": Decimal("12.30"),
    "id": UUID(int=7),
    "list": [1, 2.5, None, True, {"nested": [b"x"]}],
    "odd": [
        float("inf"),
        float("-inf"),
        1 << 70,
        -(1 << 63),
        "$bytes",
        {"$bytes": "no base64!"},
        {"$map": {"$int": "5"}},
        (1 << 63) - 1,
    ],
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
    record = codec.decode(encode(transaction_record(a_transaction())))
    assert transaction_from("order-1", record) == a_transaction()


def test_equal_transactions_give_equal_bytes() -> None:
    """Whatever order its set was filled in, byte for byte."""
    encode = Codec(MemorySchemas()).encoder(system("TransactionState"), "sys.kantor.state")
    one, other = a_transaction(), a_transaction()
    other.fingerprints = {5, 0x7FFFFFFFFFFFFFFF, -(2**63)}
    assert encode(transaction_record(one)) == encode(transaction_record(other))


def test_captured_values_keep_their_types() -> None:
    """A command is filled with what the event held: bytes stay bytes, decimals stay decimals."""
    assert load(dump(VALUES)) == VALUES


def test_a_copy_shares_nothing_that_changes() -> None:
    """``decide`` works on a copy: the transaction itself must not see it."""
    original = a_transaction()
    copy = original.copy()
    evolve(copy, Transition(Kind.ENDED, 9, status=Status.CLOSED))  # stops the timers of its steps
    copy.steps["x"] = StepState()
    copy.fingerprints.add(99)
    copy.incidents.clear()
    copy.captured["x"] = {}
    assert original == a_transaction()


def a_decision() -> tuple[Transaction, Entry, list[Transition], list[Outgoing]]:
    command = SentCommand(
        "c-1",
        "payment.Refund",
        "cmd.payment.v1",
        "question",
        "k-1",
        "m-1",
        {"cents": 5},
        asks="k-0",
        held=True,
    )
    sent = SentCommand("c-2", "payment.Refund", "cmd.payment.v1", "compensation", "k-2", "m-1", {"cents": 5})
    early = Early("event", "a.B", "id", "a", "cause", 5, "evt.a.b.v1/0/1", dict(VALUES))
    transitions = [
        Transition(Kind.KEPT, 7, early=early, due=9, fingerprint=-5, actor="ada"),
        Transition(Kind.ENDED, 7, status=Status.COMPLETED, scope="", captured={}, actor="ada"),
        Transition(
            Kind.ASKED, 7, "a[1].b", round=2, attempt=3, timer="question", due=8, command=command, actor="ada"
        ),
        Transition(Kind.COMPENSATION_SENT, 7, "pay", command=sent, code="x", reason="y", actor="ada"),
    ]
    entry = Entry("act", 7, type="retry", id="m-1", source="s", origin="evt.a.b.v1/0/1", actor="ada")
    message = Outgoing("cmd.payment.v1", b"order-1", [("ce_id", b"c-2"), ("empty", b"")], b"\x00bytes")
    return a_transaction(), entry, transitions, [message]


def test_a_decision_comes_back_as_it_was() -> None:
    """Recovery and the view fold what the log says: all transitions, and each message byte for byte. The payload of what
    was sent is in the message alone."""
    codec = Codec(MemorySchemas())
    encode = codec.encoder(system("Decision"), "sys.kantor.history")
    txn, entry, transitions, messages = a_decision()
    found = decided_from(codec.decode(encode(decision_record(txn, entry, transitions, messages, 41, 17))))
    sent = transitions[3].command
    assert sent is not None
    sent.fields = {}
    assert found == Decided(
        txn.id, 41, 17, 7, "act", "m-1", "retry", "evt.a.b.v1/0/1", "ada", "checkout", 3, "compensating", transitions, messages
    )  # fmt: skip


FOREIGN = [
    '[{"kind":"succeeded","at":1,"step":"a","captured":{"f":{"$uuid":1}}}]',
    '[{"kind":"succeeded","at":1,"step":"a","captured":{"f":' + "[" * 100_000,
    '[{"kind":"succeeded","at":1,"step":"a","captured":{"f":' + "[" * 2_000 + "]" * 2_000 + "}}]",
    '[{"kind":"succeeded","at":1,"step":"a","captured":{"f":' + "[" * 201 + "]" * 201 + "}}]",
    "",
    "{}",
    '[{"kind":"sung","at":1}]',
    b"\xff",
    7,
    None,
    [{"kind": "ended"}],
]


@pytest.mark.parametrize("transitions", FOREIGN)
def test_a_foreign_decision_is_a_value_error(transitions: Any) -> None:
    """Whoever may write into the history can't stop an engine that takes the shard: what it did not write is void."""
    record = decision_record(a_transaction(), Entry("event", 7), [], [], 1, 1)
    with pytest.raises(ValueError, match=r"not (a decision|transitions)"):
        decided_from({**record, "transitions": transitions})
    with pytest.raises(ValueError, match="not transitions"):
        transitions_from(transitions)


def test_a_decision_is_read_as_deep_as_it_may_be_written() -> None:
    """200 lists in one another: one more is refused by whoever writes and by whoever reads, on every Python."""
    value: object = "$"
    for _ in range(200):
        value = [value]
    transition = Transition(Kind.SUCCEEDED, 1, step="a", captured={"f": value})
    (found,) = transitions_from(
        decision_record(a_transaction(), Entry("event", 7), [transition], [], 1, 1)["transitions"]
    )
    assert found == transition


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (15, b"123456789"),
        (13, {"a": {"f": {"$uuid": {}}}}),
        (13, {"a": 7}),
        (13, 7),
        (0, "then"),
        (12, {"a": [7]}),
    ],
)
def test_a_foreign_snapshot_is_a_value_error(place: int, value: object) -> None:
    """Each of its fields may be anything."""
    record = transaction_record(a_transaction())
    facts = msgpack.decode(record["facts"])
    facts[place] = value
    with pytest.raises(ValueError, match="not a transaction"):
        transaction_from("order-1", {**record, "facts": msgpack.encode(facts)})


@pytest.mark.parametrize("facts", [b"", b"\xc1", b"\x91" * 100_000, 7, None])
def test_facts_that_are_none_are_a_value_error(facts: Any) -> None:
    with pytest.raises(ValueError, match="not a transaction"):
        transaction_from("order-1", {**transaction_record(a_transaction()), "facts": facts})


def test_fields_whose_only_name_is_a_tag() -> None:
    """They are fields: only values are tagged."""
    txn = Transaction("t", captured={"a": {"$bytes": "eA=="}, "b": {"$map": {"$int": "5"}}})
    assert transaction_from("t", transaction_record(txn)) == txn


def _with_facts(place: int, value: object) -> dict[str, Any]:
    record = transaction_record(a_transaction())
    facts = msgpack.decode(record["facts"])
    facts[place] = value
    return {**record, "facts": msgpack.encode(facts)}


@pytest.mark.parametrize(
    ("place", "value"),
    [(13, {"a": {"x": msgpack.Ext(5, b"zz")}}), (0, (1 << 64) - 1), (4, -(1 << 63))],
    ids=["an extension", "a time of 64 bits", "a time before all others"],
)
def test_a_foreign_snapshot_is_told(place: int, value: object) -> None:
    """It could be neither written again nor put into the store."""
    with pytest.raises(ValueError, match="not a transaction's record"):
        transaction_from("t", _with_facts(place, value))
