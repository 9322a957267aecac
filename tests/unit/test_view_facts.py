"""Reading the beginning of history records, fast and with the codec's meaning."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kantor.codec import Codec, MemorySchemas
from kantor.errors import UndecodableError
from kantor_orchestrator.view.facts import Head, HeadReader, compile_reader, frame, frames
from kantor_schemas import Schema, system

_LONG = st.integers(-(2**63), 2**63 - 1)
_VALUES = {"string": st.text(), "int": st.integers(-(2**31), 2**31 - 1), "long": _LONG}
_RECORDS = st.fixed_dictionaries(
    {f["name"]: _VALUES[f["type"]] for f in system("Transition")["fields"] if isinstance(f["type"], str)}
)


def written(value: dict[str, Any], schema: Schema) -> tuple[bytes, Codec, MemorySchemas]:
    schemas = MemorySchemas()
    codec = Codec(schemas)
    return codec.encoder(schema, "t")(value), codec, schemas


def head(**facts: Any) -> dict[str, Any]:
    """A transition without anything, but for these."""
    empty: dict[str, Any] = {"string": "", "int": 0, "long": 0}
    return {f["name"]: empty.get(str(f["type"]), []) for f in system("Transition")["fields"]} | facts


@settings(deadline=None)  # the first example makes the reader
@given(_RECORDS)
def test_the_fast_reader_agrees_with_the_codec(value: dict[str, Any]) -> None:
    """Whatever is in a record, both read the same."""
    record, codec, schemas = written(value | {"commands": []}, system("Transition"))
    decoded = codec.decode(record)
    assert HeadReader(codec, schemas).read(record) == tuple(decoded[name] for name in Head._fields)


def test_fields_that_a_later_schema_puts_in_between_are_passed_over() -> None:
    """A history of several schemas is read with the schema that each record was written with."""
    schema = copy.deepcopy(system("Transition"))
    schema["fields"][1:1] = [{"name": "cluster", "type": "string"}, {"name": "epoch", "type": "long"}]
    record, codec, schemas = written(
        head(transaction_id="tx", kind="ended", cluster="c" * 99, epoch=2**40), schema
    )
    assert Head(*HeadReader(codec, schemas).read(record)).kind == "ended"


def test_a_schema_beyond_the_fast_reader_is_left_to_the_codec() -> None:
    """An Avro type that nobody thought of costs time, not meaning."""
    schema = copy.deepcopy(system("Transition"))
    schema["fields"].insert(0, {"name": "labels", "type": {"type": "map", "values": "string"}})
    with pytest.raises(LookupError):
        compile_reader(schema)
    record, codec, schemas = written(head(transaction_id="tx", labels={"a": "b"}), schema)
    assert Head(*HeadReader(codec, schemas).read(record)).transaction_id == "tx"


def test_each_schema_is_reported_once() -> None:
    """It is stored beside the records, so that they can be decoded when somebody looks."""
    record, codec, schemas = written(head(), system("Transition"))
    reported: list[Schema] = []
    reader = HeadReader(codec, schemas, lambda _, schema: reported.append(schema))
    reader.read(record)
    reader.read(record)
    assert reported == [system("Transition")]


@pytest.mark.parametrize("length", [0, 4, 6, 20, 60])
def test_bytes_that_are_cut_off_are_undecodable(length: int) -> None:
    """Nothing is made up for what is missing."""
    record, codec, schemas = written(head(transaction_id="t" * 30, reason="r" * 30), system("Transition"))
    with pytest.raises(UndecodableError):
        HeadReader(codec, schemas).read(record[:length])


def test_a_tombstone_is_undecodable() -> None:
    """The history has none; one that is there is no transition."""
    with pytest.raises(UndecodableError):
        HeadReader(Codec(MemorySchemas()), MemorySchemas()).read(None)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**63), st.binary())))
def test_moves_come_out_of_their_frames_as_they_went_in(moves: list[tuple[int, bytes]]) -> None:
    """Offsets and bytes survive, empty ones, too."""
    joined = b"".join(frame(offset, len(value)) + value for offset, value in moves)
    assert list(frames(joined)) == moves
