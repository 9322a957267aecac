"""Mutations of the view: each shows people something that is not so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from kantor_orchestrator.core.transaction import Transition
from kantor_orchestrator.view import projector, remedies, shown, trace
from kantor_orchestrator.view.database import ViewWriter
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.remedies import Remedy
from kantor_orchestrator.view.rows import Folded, RowChanges, TransactionRow
from kantor_orchestrator.view.trace import Message
from simulation.mutation import Mutation, near


def _keeps_incidents(fold: Any) -> Any:
    def mutated(self: Folded, said: Any) -> bool:
        before = dict(self.open)
        found: bool = fold(self, said)
        self.open = before | self.open
        return found

    return mutated


def _closed_at_once(store: Any) -> Any:
    def mutated(self: ViewWriter, changes: RowChanges, ids: Any) -> None:
        changes.incidents_closed = [(0, no, number) for _, no, number in changes.incidents_closed]
        store(self, changes, ids)

    return mutated


def _all_are_one_topic(_: Any) -> Any:
    return lambda topic: 1


def _copies_count(numbers: Any) -> Any:
    return (*numbers[:2], "no such header")


def _nothing(_: Any) -> Any:
    return lambda *args: None


def _on_the_one_before(timeline: Any) -> Any:
    def mutated(*args: Any) -> list[Message]:
        found: list[Message] = timeline(*args)
        for one, other in pairwise(found):
            one.moves, other.moves = other.moves, one.moves
        return found

    return mutated


def _in_order_of_time(timeline: Any) -> Any:
    return lambda *args: sorted(timeline(*args), key=lambda message: message.sent_at or message.at)


def _no_children(_: Any) -> Any:
    return lambda told: []


def _errors_stay(move: Any) -> Any:
    def mutated(self: Folded, said: Transition) -> None:
        before = dict(self.troubles)
        move(self, said)
        self.troubles = before | self.troubles

    return mutated


def _without_values(keys_in: Any) -> Any:
    return lambda captured, names: [(name, "-") for name, _ in keys_in(captured, names)]


def _retry_of_all(_: Any) -> Any:
    return lambda txn, state, kind, step: True


def _skip_alone(_: Any) -> Any:
    return lambda txn, path, kind, step: [Remedy("skip", path, "it was done by hand")]


def _services_wait(_: Any) -> Any:
    return lambda path, state, facts: facts.owner


def _of_the_last(load: Any) -> Any:
    def mutated(
        self: Projector, id_: str, shard: int, at: int, *facts: bool, **named: bool
    ) -> TransactionRow:
        row: TransactionRow = load(self, id_, shard, at, *facts, **named)
        row.updated_at = at
        return row

    return mutated


def _bug(name: str, change: tuple[Any, str, Any], seed: int) -> Mutation:
    return Mutation(name, change, near(seed), "view", ("same view",))


VIEW_BUGS = (
    _bug("the view closes no incident", (Folded, "fold", _keeps_incidents), 3),
    _bug("the view forgets when an incident was closed", (ViewWriter, "store", _closed_at_once), 3),
    _bug("a topic that was recreated is the old one", (projector, "crc32", _all_are_one_topic), 5_000_002),
    _bug("a copy counts as journaled again", (projector, "_NUMBERS", _copies_count), 5_000_047),
    _bug("the view reads no commands' places", (Projector, "_command", _nothing), 0),
    _bug("transitions hang on the message before", (trace, "_timeline", _on_the_one_before), 0),
    _bug("a timeline is in the order of sending", (trace, "_timeline", _in_order_of_time), 0),
    _bug("the view has no children", (trace, "_children", _no_children), 4),
    _bug("what has been overcome is still the last error", (Folded, "move", _errors_stay), 0),
    _bug("keys have no values", (projector, "keys_in", _without_values), 0),
    _bug("whatever waits is said to be retried", (remedies, "_can_be_retried", _retry_of_all), 3),
    _bug("nothing but a skip is proposed", (remedies, "_of_step", _skip_alone), 29),
    _bug("a service is waited for during its pause", (shown, "_who", _services_wait), 3),
    _bug("the last record has the last word on the time", (Projector, "_transaction", _of_the_last), 0),
)
