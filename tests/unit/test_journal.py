"""The journal's own entries, and what is none (journal-2, journal-5)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kantor_orchestrator.engine import entries
from kantor_orchestrator.formats import journal


class FakeRecord:
    """A record as librdkafka hands it over."""

    def __init__(self, value: bytes | None, key: bytes | None = b"t") -> None:
        self._value, self._key = value, key

    def topic(self) -> str:
        return "sys.kantor.journal"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 5

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return []

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_000


def test_a_timer_comes_back_as_it_was() -> None:
    """What it was set for survives the journal."""
    fired = journal.TimerEntry("timeout", "payment", 2, 3, 1_700_000_000_000)
    assert journal.TimerEntry.load(fired.dump()) == fired


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b"\xff", b"[1,2]", b'["a","b","c","d","e"]'])
def test_a_foreign_timer_is_named_malformed(value: bytes | None) -> None:
    """Somebody else's record in the journal must not stop a shard."""
    with pytest.raises(entries.MalformedEntry):
        entries.timer_entry(FakeRecord(value))


@pytest.mark.parametrize("value", [b"[" * 100_000, b'["timeout", "pay", 1, 1, Infinity]', b'{"a":' * 100_000])
@pytest.mark.parametrize("read", [entries.timer_entry, entries.act_entry, entries.refusal_entry])
def test_hostile_json_is_named_malformed(read: Callable[[FakeRecord], object], value: bytes) -> None:
    """Ten thousand brackets, a number without an end: whoever may write into the journal can't stop a shard with them."""
    with pytest.raises(entries.MalformedEntry):
        read(FakeRecord(value))


@pytest.mark.parametrize("part", ["actor", "why", "act", "step", "saga"])
def test_half_a_surrogate_pair_in_an_act_is_replaced(part: str) -> None:
    """A terminal makes it of a byte that is not UTF-8. Nobody could write it into the history: the shard would stand still."""
    act = {
        "id": "a",
        "act": "hold",
        "actor": "ann",
        "why": "so",
        "fields": {"x": ["\udcff"]},
        part: "a\udcff",
    }
    found = journal.ActEntry.load(json.dumps(act).encode())
    assert (getattr(found, part), found.fields) == ("a?", {"x": ["?"]})


def test_half_a_surrogate_pair_in_a_refusal_is_replaced() -> None:
    value = json.dumps({"id": "c", "type": "t", "topic": "x", "why": "\udcff"}).encode()
    assert str((entries.refusal_entry(FakeRecord(value)).payload or {})["reason"]).endswith(": ?")


def test_an_entry_without_a_key_is_named_malformed() -> None:
    """No key, no transaction."""
    with pytest.raises(entries.MalformedEntry):
        entries.transaction_of(FakeRecord(b"", key=None))


@pytest.mark.parametrize(
    "headers", [{}, {"kantor_origin": b"x", "kantor_topicid": b"id"}, {"kantor_origin": b"a/0/1"}]
)
def test_an_entry_without_provenance_is_named_malformed(headers: dict[str, bytes]) -> None:
    """Replays are recognised by their origin: an entry without one can't be from intake."""
    with pytest.raises(entries.MalformedEntry):
        entries.mark_of(headers)


def test_a_mark_names_the_topic_by_its_id() -> None:
    """A topic that was deleted and recreated under the same name starts over."""
    headers = {"kantor_origin": b"evt.a/b/3/17", "kantor_topicid": b"ID"}
    assert entries.mark_of(headers) == ("ID/3", 17)
