"""How the tests read the decision log, and what they then say of the messages that left."""

from __future__ import annotations

from typing import Any

import pytest

from integration.decisions import (
    Message,
    contradictions,
    every_logged_message_was_sent,
    every_message_is_logged,
    logged,
    sent_by_kantor,
)
from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Transaction
from kantor_orchestrator.formats.snapshots import Outgoing, decision_record
from kantor_schemas import system


class Written:
    """A record as the client gives it."""

    def __init__(
        self, offset: int, value: bytes, *headers: tuple[str, bytes], topic: str = "h", key: bytes = b""
    ) -> None:
        self._topic, self._offset, self._value, self._headers, self._key = topic, offset, value, headers, key

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def headers(self) -> Any:
        return list(self._headers)

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


CODEC = Codec(MemorySchemas())
FROM_KANTOR = ("ce_source", b"kantor")
SENT = Message("cmd.shipping.v1", b"t", (FROM_KANTOR, ("ce_id", b"c-1")), b"please")


def epoch(offset: int) -> Written:
    value = CODEC.encoder(system("Epoch"), "h")({"shard": 0, "owner": "e", "at": 0, "position": 0})
    return Written(offset, value, ("ce_type", b"kantor.Epoch"))


def decision(offset: int, under: int, *messages: Message) -> Written:
    sent = [Outgoing(m.topic, m.key, list(m.headers), m.value) for m in messages]
    record = decision_record(Transaction("t"), Entry("event", 0), [], sent, under, 1)
    return Written(offset, CODEC.encoder(system("Decision"), "h")(record))


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ([epoch(0), decision(1, 0, SENT)], [SENT]),
        ([epoch(0), epoch(1), decision(2, 0, SENT)], []),  # a straggler
        ([epoch(0), decision(1, 0, SENT), epoch(2), decision(3, 0, SENT)], [SENT]),
        ([decision(7, 5, SENT)], [SENT]),  # its epoch is before what is read
    ],
)
def test_what_counts_is_under_the_newest_epoch(history: list[Written], found: list[Message]) -> None:
    """Whatever an engine wrote after another one took its shard is void."""
    assert list(logged(CODEC, history)) == found


def test_what_leaves_must_be_logged_byte_for_byte() -> None:
    """The same id with other bytes is not the message that was logged."""
    other = SENT._replace(value=b"other")
    assert every_message_is_logged([SENT, SENT], [SENT]) == []
    assert every_message_is_logged([SENT, other], [SENT]) == ["cmd.shipping.v1: c-1 is in no valid decision"]


def test_what_is_logged_must_leave() -> None:
    """To the topics that were read."""
    second = SENT._replace(headers=(("ce_id", b"c-2"),))
    elsewhere = SENT._replace(topic="evt.kantor.transaction.v1")
    assert every_logged_message_was_sent([SENT], [SENT, second, elsewhere]) == [
        "cmd.shipping.v1: c-2 never left"
    ]


def test_a_repeated_message_is_the_same() -> None:
    """Said with what differs."""
    other = SENT._replace(value=b"other")
    assert contradictions([SENT, SENT]) == []
    (said,) = contradictions([SENT, other])
    assert said.startswith("c-1 is value: ")


def test_only_what_kantor_sent_is_looked_at() -> None:
    """Others may write commands, too."""
    ours = Written(0, b"please", *SENT.headers, topic=SENT.topic, key=SENT.key)
    others = Written(1, b"please", ("ce_source", b"somebody"), topic=SENT.topic)
    assert sent_by_kantor([ours, others]) == [SENT]
