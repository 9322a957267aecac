"""Mutations that take away what one invariant promises, each to be caught by that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kantor_orchestrator.core.transaction import Transaction
from kantor_orchestrator.engine.appending import Appender
from kantor_orchestrator.engine.ended import Found
from kantor_orchestrator.engine.log import DecisionLog
from kantor_orchestrator.engine.memory import AtRest, Transactions
from kantor_orchestrator.engine.sending import Sender
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.writing import Turn, Writer
from kantor_orchestrator.snapshots import Outgoing
from simulation.mutation import Mutation

# -- the log and the cut


def _without_the_last(read_valid: Any) -> Any:
    return lambda self, position, epoch, end: read_valid(self, position, epoch, end)[:-1]


def _one_too_far(take_cut: Any) -> Any:
    def mutated(self: Shard, now: float) -> None:
        take_cut(self, now)
        if self.pending and self._cut is not None:
            self._cut.position += 1

    return mutated


def _another_byte(send: Any) -> Any:
    def mutated(self: Sender, transaction: str, messages: list[Outgoing]) -> None:
        send(self, transaction, [Outgoing(m.topic, m.key, m.headers, m.value + b"\0") for m in messages])

    return mutated


def _twice(put: Any) -> Any:
    def mutated(self: Writer, item: Any) -> None:
        put(self, item)
        if isinstance(item, Turn) and item.record is not None:
            put(self, Turn(item.transaction, item.record, []))

    return mutated


def _all_of_them(cut: Any) -> Any:
    def mutated(self: Transactions) -> Any:
        for id_, (txn, _) in self._cache.items():
            self.changed.setdefault(id_, txn)
        return cut(self)

    return mutated


def _forgotten(_: Any) -> Any:
    def mutated(
        self: Appender, transaction: str, message: Outgoing, why: str, done: Callable[[], None]
    ) -> None:
        done()

    return mutated


def _one_before(point: Any) -> Any:
    def mutated(self: Transactions, rows: Any) -> None:
        for _, in_log in self._ending.values():
            in_log.offset -= 1
        point(self, rows)

    return mutated


def _without_fingerprints(take_in: Any) -> Any:
    def mutated(self: Transactions, found: Found) -> None:
        for one in found.values():
            if not isinstance(one, str):
                one[0].fingerprints.clear()
        take_in(self, found)

    return mutated


def _unknown(_: Any) -> Any:
    def mutated(self: Shard, id_: str) -> Transaction | None:
        try:
            return self.transactions.get(id_)
        except AtRest:
            return None

    return mutated


# -- what comes from outside


# -- people, reversals


def _from(seed: int) -> range:
    return range(seed, seed + 40)


BUGS = (
    Mutation(
        "recovery misses the last decision",
        (DecisionLog, "read_valid", _without_the_last),
        _from(2),
        "engines",
        "never contradicted",
    ),
    Mutation(
        "a cut claims an entry too many",
        (Shard, "take_cut", _one_too_far),
        _from(0),
        "engines",
        "never contradicted",
    ),
    Mutation(
        "what leaves is not what was logged",
        (Sender, "send", _another_byte),
        _from(0),
        "",
        "nothing leaves unlogged",
    ),
    Mutation(
        "a refused message is forgotten",
        (Appender, "refused", _forgotten),
        _from(0),
        "people",
        "nothing leaves unlogged",
    ),
    Mutation("each decision is logged twice", (Writer, "put", _twice), _from(0), "", "bounded"),
    Mutation(
        "a stub points to another decision", (Transactions, "point", _one_before), _from(1), "", "same state"
    ),
    Mutation(
        "after the end a duplicate is news",
        (Transactions, "take_in", _without_fingerprints),
        _from(5),
        "",
        "same state",
    ),
    Mutation("what has ended is unknown", (Shard, "get", _unknown), _from(1), "all", "once"),
    Mutation("each cut has everything", (Transactions, "cut", _all_of_them), _from(0), "", "bounded"),
)
