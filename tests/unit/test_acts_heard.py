"""An answer to an operator action counts only if it is of the engine that has the shard (view-17)."""

from __future__ import annotations

import pytest

from kantor.clients import Record
from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Kind, Transaction, Transition
from kantor_orchestrator.formats.history import Epoch
from kantor_orchestrator.formats.snapshots import decision_record
from kantor_orchestrator.operations.acts import Heard, refusal
from kantor_schemas import system

CODEC = Codec(MemorySchemas())


class Written:
    """A record of the history of shard 0: an epoch, or what an engine made of an entry under one."""

    def __init__(
        self, offset: int, under: int = -1, entry: int = -1, id_: str = "", reason: str = ""
    ) -> None:
        self._offset, self._is_epoch = offset, under < 0
        if not self._is_epoch:
            act, moves = Entry("act", 0, "retry", id_), [Transition(Kind.IGNORED, 0, reason=reason)]
            record = decision_record(Transaction("t"), act, moves, [], under, entry)
            self._value = CODEC.encoder(system("Decision"), "h")(record)

    def topic(self) -> str:
        return "sys.kantor.history"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return None if self._is_epoch else b"t"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return [("ce_type", b"kantor.Epoch")] if self._is_epoch else None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


def heard(*records: Record, since: int) -> list[str]:
    """The answers to ``a-1``."""
    found = Heard(CODEC, {"a-1"}, {0: since})
    for record in records:
        found.take(record)
    return [move["reason"] for move in found.moves.get("a-1", {}).get(0, [])]


STALE, TRUE = (0, 7, "a-1", "stale"), (5, 7, "a-1", "true")


@pytest.mark.parametrize(
    "before",
    [
        (Written(5),),  # somebody has taken the shard: nothing since then
        (Written(5), Written(6, 5, 6, "x")),
        (Written(6, 5, 6, "x"),),  # the epoch's own record was not read any more
        (Written(4, 0, 4, "x"), Written(5), Written(6, 0, 6, "x")),  # a straggler
    ],
)
def test_what_an_engine_says_that_has_lost_the_shard_is_no_answer(before: tuple[Record, ...]) -> None:
    """It is waited for the one that counts."""
    assert heard(*before, Written(7, *STALE), since=7) == []
    assert heard(*before, Written(7, *STALE), Written(8, *TRUE), since=7) == ["true"]


def test_a_shard_that_is_taken_while_one_waits_is_told_apart() -> None:
    """The epoch comes between the operator action and its answer."""
    assert heard(Written(1, 0, 4, "x"), Written(5), Written(6, *STALE), Written(7, *TRUE), since=2) == [
        "true"
    ]


def test_what_was_said_before_the_act_was_written_is_no_answer() -> None:
    """The same operator action, given again: the engine answers that it was done."""
    before = Written(6, 5, 6, "a-1", "the first time")
    assert heard(Written(5), before, Written(7, *TRUE), since=7) == ["true"]


def test_the_latest_epoch_counts_where_the_beginning_is_gone() -> None:
    """The first record there is a straggler's: what is valid must not be void because of it."""
    epoch = Epoch()
    assert [epoch.takes(3, 1), epoch.takes(9, 2), epoch.takes(3, 3), epoch.takes(9, 4)] == [
        True,
        True,
        False,
        True,
    ]


def test_a_journal_that_was_recreated_is_decided_on_from_its_first_entry() -> None:
    """Its offsets begin again, under a new epoch; within one, an entry counts once."""
    epoch = Epoch()
    epoch.begin(5)
    assert [epoch.takes(5, 900), epoch.takes(5, 900)] == [True, False]
    epoch.begin(8)
    assert [epoch.takes(8, 0), epoch.takes(8, 1), epoch.takes(8, 1), epoch.takes(5, 901)] == [
        True,
        True,
        False,
        False,
    ]


def test_no_decision_counts_that_names_an_epoch_nobody_has_begun() -> None:
    """Where the epoch in force is known."""
    epoch = Epoch()
    epoch.begin(5)
    assert [epoch.takes(6, 1), epoch.takes(4, 2), epoch.takes(5, 3)] == [False, False, True]


def test_what_every_shard_refuses_alike_is_told_once() -> None:
    """Of a release of what is not held, 24 shards would say the same."""
    one = {"kind": "ignored", "code": "act_impossible", "reason": "order is not held"}
    other = one | {"reason": "only all sagas together are held"}
    assert refusal([one, one, other, one]) == "order is not held; only all sagas together are held"
