"""Records of the journal as entries."""

from __future__ import annotations

from typing import Any

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor.envelope import TRANSACTION_ENDED
from kantor.testing.log import LOG_APPEND_TIME, Entry
from kantor_orchestrator import journal
from kantor_orchestrator.core.entry import Entry as JournalEntry
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.entries import PayloadReader, message_entry
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


def _read(value: bytes, codec: Any) -> JournalEntry:
    """An end of some child, as it is read."""
    definitions = Definitions()
    definitions.captures = {TRANSACTION_ENDED: frozenset({"status", "reference"})}
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
