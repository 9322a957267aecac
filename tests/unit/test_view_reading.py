"""Reading the history fast, with the codec's meaning; folding it, with the engine's (view-1)."""

from __future__ import annotations

import copy
from contextlib import suppress
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kantor.codec import Codec, MemorySchemas
from kantor.errors import UndecodableError
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Early, Kind, SentCommand, Transaction, Transition, evolve
from kantor_orchestrator.formats.snapshots import Outgoing, decision_record
from kantor_orchestrator.view.facts import frame, frames
from kantor_orchestrator.view.reading import HistoryReader, Said
from kantor_orchestrator.view.rows import Folded
from kantor_schemas import Schema, system
from unit.test_decide_any import SEEDS, chaos

SCHEMAS = MemorySchemas()
CODEC = Codec(SCHEMAS)
ENCODE = CODEC.encoder(system("Decision"), "sys.kantor.history")
ENTRY = Entry("event", 7, "a.B", "m-1", "a", origin="evt.a.b.v1/0/1")


def written(
    moves: list[Transition], txn: Transaction | None = None, schema: Schema | None = None, **more: Any
) -> bytes:
    """A decision of these transitions; ``more``: fields that its schema has besides."""
    message = Outgoing("cmd.a.v1", b"tx", [("ce_id", b"c-1")], b"payload")
    record = decision_record(txn or Transaction("tx", saga="s", version=3), ENTRY, moves, [message], 41, 17)
    encode = ENCODE if schema is None else CODEC.encoder(schema, "sys.kantor.history")
    return encode(record | more)


def read(value: bytes | None) -> Said:
    return HistoryReader(CODEC, SCHEMAS).read(value)


def seen(txn: Transaction) -> Transaction:
    """Without what nobody is shown, and the view does not keep."""
    found = txn.copy()
    found.captured, found.fingerprints, found.entries = {}, set(), 0
    found.early = [
        Early(
            e.kind, e.type, e.id, e.source, e.causation_id, e.at, e.origin, {}, e.sent_at, e.idempotency_key
        )
        for e in txn.early
    ]
    return found


@settings(derandomize=True, max_examples=60, deadline=None)
@given(SEEDS)
def test_what_the_view_folds_is_what_the_engine_has(seed: int) -> None:
    """Whatever happens to a transaction: read from its decisions as they are written, it stands where it stands, and its open
    incidents are those that are listed."""
    story = chaos(seed)
    live, folded = Transaction(story.txn.id), Folded(story.txn.id)
    for _, moves in groupby(story.log, key=lambda move: (move.at, move.actor)):
        group = list(moves)
        for move in group:
            evolve(live, move)
        record = decision_record(live, Entry("event", group[0].at, actor=group[0].actor), group, [], 1, 2)
        said = read(ENCODE(record))
        folded.fold(said)
        assert seen(folded.txn) == seen(live)
        assert list(folded.open.values()) == live.incidents
        assert max(folded.open, default=-1) < folded.incident_count


@settings(derandomize=True, max_examples=20, deadline=None)
@given(SEEDS, st.integers(0, 40_000))
def test_what_is_stored_of_a_record_lacks_its_messages_and_its_snapshot_alone(seed: int, size: int) -> None:
    """They are the larger half of it, and nobody is shown them."""
    message = Outgoing("cmd.a.v1", b"tx", [("ce_id", b"c-1")], b"p" * size)
    messages, snapshot = [message] * (seed % 2), b"s" * (size * (seed % 3))
    record = decision_record(Transaction("tx"), ENTRY, chaos(seed).log, messages, 41, 17, snapshot)
    value = ENCODE(record)
    assert CODEC.decode(read(value).record) == CODEC.decode(value) | {"messages": b"", "snapshot": b""}


def test_what_was_captured_is_told_apart() -> None:
    """People search by it; the folded transaction does not keep it."""
    said = read(written([Transition(Kind.STARTED, 7, saga="s", scope="start", captured={"sku": "chair"})]))
    assert said.captured == [{"sku": "chair"}]
    assert said.moves[0].captured is None


def test_fields_that_another_schema_has_are_passed_over() -> None:
    """A history of several schemas is read with the schema that each record was written with."""
    schema = copy.deepcopy(system("Decision"))
    schema["fields"][1:1] = [{"name": "cluster", "type": "string"}, {"name": "wide", "type": "long"}]
    schema["fields"].append({"name": "labels", "type": {"type": "map", "values": "string"}})
    more: dict[str, Any] = {"cluster": "c" * 99, "wide": 2**40, "labels": {"a": "b"}}
    record = written([Transition(Kind.STARTED, 7, saga="s")], schema=schema, **more)
    said = read(record)
    assert (said.transaction_id, said.journal_offset, said.moves[0].saga) == ("tx", 17, "s")
    assert said.record == record


def test_each_schema_is_reported_once() -> None:
    """It is stored beside the records, so that they can be decoded when somebody looks."""
    reported: list[Schema] = []
    reader = HistoryReader(CODEC, SCHEMAS, lambda _, schema: reported.append(schema))
    record = written([])
    reader.read(record)
    reader.read(record)
    assert reported == [system("Decision")]


@pytest.mark.parametrize("length", [0, 4, 6, 20, 60, 100])
def test_bytes_that_are_cut_off_are_undecodable(length: int) -> None:
    """Nothing is made up for what is missing."""
    record = written([Transition(Kind.IGNORED, 7, reason="r" * 100)])
    with pytest.raises(UndecodableError):
        read(record[:length])


def test_a_tombstone_is_undecodable() -> None:
    """The history has none; one that is there is no decision."""
    with pytest.raises(UndecodableError):
        read(None)


def test_what_is_no_decision_is_undecodable() -> None:
    """A foreign record of a schema that is known, even one with the same fields."""
    encode = CODEC.encoder({**system("Decision"), "namespace": "com.acme"}, "sys.kantor.history")
    record = decision_record(Transaction("tx"), ENTRY, [], [], 41, 17)
    with pytest.raises(UndecodableError, match=r"com\.acme\.Decision"):
        read(encode(record))


@pytest.mark.parametrize(
    "move",
    [
        Transition(Kind.STARTED, 7, step="a", saga="s"),
        Transition(Kind.COMMAND_SENT, 7, step="a"),
        Transition(Kind.COMPENSATION_SENT, 7, step="a"),
        Transition(Kind.KEPT, 7),
    ],
)
def test_moves_that_no_engine_makes_are_undecodable(move: Transition) -> None:
    """Whoever may write into the history can't end the view with it."""
    with pytest.raises(UndecodableError):
        read(written([move]))


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(5, 400))
def test_any_bytes_are_read_or_undecodable(noise: bytes, at: int) -> None:
    """Noise, and noise within what was a decision: nothing else is raised."""
    command = SentCommand("c", "a.B", "cmd.a.v1", "action", "k", "m", {})
    record = written([Transition(Kind.COMMAND_SENT, 7, "s", command=command), Transition(Kind.ENDED, 7)])
    for value in (record[:5] + noise, record[:at] + noise, record[:at] + noise + record[at + len(noise) :]):
        with suppress(UndecodableError):
            read(value)


def test_a_gap_in_the_history_does_not_stop_the_fold() -> None:
    """Its beginning is gone: what is left says where the transaction stands."""
    folded = Folded("tx")
    txn = Transaction("tx", saga="s", version=3)
    said = read(written([Transition(Kind.COMPENSATION_CONFIRMED, 7, step="a")], txn))
    folded.fold(said)
    assert (folded.txn.saga, folded.txn.steps["a"].status) == ("s", "compensated")


@pytest.mark.parametrize("kind", [Kind.TAKEN_BACK, Kind.DROPPED])
def test_what_was_put_off_before_the_history_begins(kind: Kind) -> None:
    """Its retention took the beginning; the view goes on."""
    folded = Folded("tx")
    folded.move(Transition(kind, 7, put_off=3))
    folded.move(Transition(Kind.PUT_OFF, 8, put_off=9))
    folded.move(Transition(kind, 9, put_off=3))
    assert folded.txn.put_off == [9]


def test_a_transaction_that_starts_again_is_a_new_one() -> None:
    """The engine forgets what ended long ago; a second start under the same id begins from nothing."""
    folded = Folded("tx")
    command = SentCommand("c", "a.B", "cmd.a.v1", "action", "k", "m", {})
    begun = [Transition(Kind.STARTED, 7, saga="s"), Transition(Kind.ACTIVATED, 7, step="a")]
    for move in [*begun, Transition(Kind.COMMAND_SENT, 7, step="a", attempt=1, command=command)]:
        folded.move(move)
    for move in begun:
        folded.move(move)
    assert list(folded.txn.steps) == ["a"]
    assert folded.txn.steps["a"].attempt == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**63), st.binary())))
def test_decisions_come_out_of_their_frames_as_they_went_in(records: list[tuple[int, bytes]]) -> None:
    """Offsets and bytes survive, empty ones, too."""
    joined = b"".join(frame(offset, len(value)) + value for offset, value in records)
    assert list(frames(joined)) == records
