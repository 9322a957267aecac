"""What people see, and what they may rely on."""

from __future__ import annotations

from collections.abc import Iterator

from kantor.envelope import shard_of
from kantor_orchestrator.core.transaction import Kind
from kantor_orchestrator.holds import ALL
from simulation.view import ViewProcess, disagreements
from simulation.world import World

#: Moves of a transaction that stands still: what comes for it is kept.
_STILL = (Kind.STARTED, Kind.KEPT, Kind.HELD, Kind.IGNORED, Kind.EXPIRED)


def same_view(world: World) -> Iterator[str]:
    """What people are shown is what is: the view's database agrees with every transaction."""
    for process in world.processes:
        if isinstance(process, ViewProcess):
            if process.is_behind:
                yield "the view is behind in the end"
                continue
            told = {id_: world.ledger.folded(id_) for id_ in world.ledger.history}
            yield from disagreements(process, told)


def standstill(world: World) -> Iterator[str]:
    """While a person holds a saga, its transactions make no move (section 7, rule 13), unless a person closes one: then
    that act also tells what the messages that were kept tell of."""
    for id_, moves in world.ledger.history.items():
        closing = {
            move["journal_offset"]
            for move in moves
            if move["kind"] == Kind.ENDED and move["code"] == "closed"
        }
        holds = world.ledger.holds[shard_of(id_, world.shards)]
        for move in moves:
            held: set[str] = set()
            for act in holds:
                if act["journal_offset"] < move["journal_offset"] and act["kind"] == Kind.HELD:
                    held.add(act["saga"])
                elif act["journal_offset"] < move["journal_offset"] and act["kind"] == Kind.RELEASED:
                    held.discard(act["saga"])
            if move["journal_offset"] in closing:
                continue
            if held & {ALL, move["saga"]} and move["kind"] not in _STILL and move["code"] != "closed":
                yield f"{id_} is held, but {move['kind']} {move['step']} (entry {move['journal_offset']})"
