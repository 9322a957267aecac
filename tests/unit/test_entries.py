"""Records of the journal as entries."""

from __future__ import annotations

import pytest

from kantor.testing.log import LOG_APPEND_TIME, Entry
from kantor_orchestrator import journal
from kantor_orchestrator.entries import message_entry


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
