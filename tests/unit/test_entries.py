"""Records of the journal as entries."""

from __future__ import annotations

from typing import Any

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor.envelope import TRANSACTION_ENDED
from kantor.testing.log import LOG_APPEND_TIME, Entry
from kantor_orchestrator.core.entry import Entry as JournalEntry
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.entries import PayloadReader, message_entry
from kantor_orchestrator.formats import journal
from kantor_schemas import system


@pytest.mark.parametrize("parent", ["", "p-1"])
def test_a_message_that_starts_a_child_names_its_command(parent: str) -> None:
    """The child's end answers that command: by it the parent knows which of its steps has ended."""
    headers = {
        journal.ENTRY: journal.COMMAND,
        journal.ORIGIN: b"cmd.kantor.v1/0/7",
        "ce_id": b"c-1",
        "ce_source": b"kantor",
    }
    if parent:
        headers[journal.PARENT] = parent.encode()
    record = Entry((journal.ENTRY, 0), 9, b"t", b"", list(headers.items()), (LOG_APPEND_TIME, 5), None, 0.0)
    entry = message_entry(record, headers, "a.Begun", 4)
    assert (entry.parent, entry.parent_command) == (parent, "c-1" if parent else "")


_END = {
    "transaction_id": "x",
    "saga": "s",
    "version": 1,
    "status": "completed",
    "started_at": 1,
    "ended_at": 2,
    "reason": None,
    "returns": "",
}


def _read(
    value: bytes | None, codec: Any, captured: frozenset[str] = frozenset({"status", "reference"})
) -> JournalEntry:
    """An end of some child, as it is read."""
    definitions = Definitions()
    definitions.captures, definitions.named = {TRANSACTION_ENDED: captured}, {TRANSACTION_ENDED: 0}
    reader = PayloadReader(codec, definitions, waits=False)
    record = Entry((journal.ENTRY, 0), 9, b"t", value, [], (LOG_APPEND_TIME, 5), None, 0.0)
    entry = JournalEntry(
        "event", 5, type=TRANSACTION_ENDED, id="e", source="kantor", origin="evt.kantor.transaction.v1/0/7"
    )
    reader.read(entry, record, {})
    return entry


@pytest.mark.parametrize(
    ("returns", "error"),
    [
        ("not json", "its `returns` is not JSON"),
        ("[1]", "its `returns` is not a JSON object"),
        ("[" * 5000, "its `returns` is not JSON"),
    ],
)
def test_what_a_child_returns_is_no_json(returns: str, error: str) -> None:
    """Then the entry is an error of its own transaction: anybody may write such a message."""
    codec = Codec(MemorySchemas())
    value = codec.encoder(system("TransactionEnded"), "t")({**_END, "returns": returns})
    assert error in _read(value, codec).error


def test_a_payload_that_nothing_foresees() -> None:
    """Whatever is raised while a payload is read becomes the entry's error, with its place."""

    class Broken:
        def decode(self, *_: object, **__: object) -> None:
            raise RecursionError("too deep")

    entry = _read(b"", Broken())
    assert entry.error == (
        "kantor.TransactionEnded at evt.kantor.transaction.v1/0/7 can't be read: RecursionError: too deep"
    )


def test_defaults_of_the_schema_that_a_saga_was_deployed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that does not know a field yet leaves it to its default."""
    older = system("TransactionEnded")
    newer = {
        **older,
        "fields": [*older["fields"], {"name": "reference", "type": "string", "default": "none"}],
    }
    monkeypatch.setattr(Definitions, "schema", lambda *_: newer)
    codec = Codec(MemorySchemas())
    assert _read(codec.encoder(older, "t")(_END), codec).payload == {
        "status": "completed",
        "reference": "none",
    }


def test_a_payload_of_another_type_than_its_envelope_says() -> None:
    """The entry is an error that names both."""
    codec = Codec(MemorySchemas())
    other = {**system("TransactionEnded"), "name": "SomethingElse"}
    error = _read(codec.encoder(other, "t")(_END), codec).error
    assert "is a kantor.SomethingElse" in error
    assert "not a kantor.TransactionEnded" in error


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "the value is null"),
        (b"", "not Avro in Confluent wire format"),
        (b"complete garbage", "not Avro in Confluent wire format"),
        (b"\0\0\0\0\x07abc", "schema id 7 is unknown"),
        ("another type", "the value is a kantor.SomethingElse"),
        ("cut", "bytes do not fit schema id"),
        ("longer", "1 bytes are left after a record"),
    ],
)
def test_bytes_that_are_none_of_a_type_of_which_nothing_is_captured(value: Any, error: str) -> None:
    """They end no step and confirm no compensation: the entry is an error, as if something was wanted of them."""
    codec = Codec(MemorySchemas())
    good = codec.encoder(system("TransactionEnded"), "t")(_END)
    other = codec.encoder({**system("TransactionEnded"), "name": "SomethingElse"}, "t")(_END)
    value = {"another type": other, "cut": good[:-3], "longer": good + b"\0"}.get(value, value)
    first, again = _read(value, codec, frozenset()), _read(value, codec, frozenset())
    assert error in first.error
    assert again.error == first.error
    assert (_read(good, codec, frozenset()).error, _read(good, codec, frozenset()).payload) == ("", {})


def test_a_payload_that_the_readers_schema_can_not_resolve_and_of_which_nothing_is_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is of its type and readable as written: that is all that is asked of it."""
    written = system("TransactionEnded")
    stricter = {**written, "fields": [*written["fields"], {"name": "new", "type": "string"}]}
    monkeypatch.setattr(Definitions, "schema", lambda *_: stricter)
    codec = Codec(MemorySchemas())
    value = codec.encoder(written, "t")(_END)
    assert _read(value, codec, frozenset()).error == ""
    assert "do not fit" in _read(value, codec).error
