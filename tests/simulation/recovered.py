"""What comes back: a shard that is taken is what its log says, in the end and at any point before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.testing import MemoryBroker
from kantor_orchestrator.core.transaction import Transaction, Transition
from kantor_orchestrator.engine.memory import Budget
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Means, Taking, take
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.snapshots import Decided
from kantor_orchestrator.store import StoreLostError
from simulation.copied import copy_of
from simulation.instead import Steps
from simulation.ledger import Ledger, fold
from simulation.processes import SCHEMAS, EngineProcess

if TYPE_CHECKING:
    from simulation.world import World


def same_state(world: World) -> Iterator[str]:
    """Live, restored from the changelog, and folded from the history: the same bytes."""
    ledger = world.ledger
    yield from _untrue_snapshots(ledger)
    for id_ in ledger.snapshots:
        told = ledger.transaction(id_)
        if told is not None and ledger.bytes_of(ledger.folded(id_)) != ledger.bytes_of(told):
            yield f"{id_}: its history tells {ledger.folded(id_)}, its snapshot {ledger.transaction(id_)}"
    owners: defaultdict[int, list[Shard]] = defaultdict(list)
    homes = []
    for process in world.processes:
        if isinstance(process, EngineProcess):
            homes.append(process.folder)
            for shard in process.shards():
                owners[shard.number].append(shard)
    for number in range(world.shards):
        if len(owners[number]) != 1:
            yield f"shard {number} has {len(owners[number])} owners in the end"
            continue
        (live,) = owners[number]
        yield from _compare(world, live, "live")
        with suppress(
            StoreLostError
        ):  # whoever took the shard in vain has the store now: the changelog has all
            live.finish(60)
        live.close()
        for text, home in (("from Kafka alone", world.folder / "new"), ("from its store", homes[0])):
            restored = _taken(world, number, home)
            yield from _compare(world, restored, f"restored {text}")
            if restored.marks != live.marks:
                yield f"shard {number} restored {text}: marks {restored.marks}, live {live.marks}"
            if not restored.position <= live.position or _entries(world, restored.position, live):
                yield f"shard {number} restored {text} at {restored.position}, live at {live.position}"
            restored.close()


def _untrue_snapshots(ledger: Ledger) -> Iterator[str]:
    """In the log."""
    for decisions in ledger.decisions.values():
        found: dict[str, Transaction] = {}
        for one in decisions:
            if id_ := one.transaction_id:
                moves = [(one.journal_offset, t) for t in one.transitions]
                found[id_] = fold(found.get(id_, Transaction(id_)), moves)
                if one.snapshot and ledger.bytes_of(one.transaction()) != ledger.bytes_of(found[id_]):
                    yield f"{id_}: entry {one.journal_offset} makes {found[id_]}, its decision says {one.transaction()}"


def _taken(world: World, number: int, home: Path) -> Shard:
    shard = _take(world.broker, number, home)
    while shard.recorded:
        shard.fold(shard.recorded.popleft())
    return shard


def _take(broker: MemoryBroker, number: int, home: Path) -> Shard:
    clients, clock = broker.clients(), broker.clock
    means = Means(
        clients,
        clients.admin(),
        Codec(SCHEMAS),
        home,
        Steps(),
        Budget(1 << 30),
        lambda *_: None,
        clock,
        BrokerTime(clock),
    )
    return take(number, means, Taking(0.0))


def never_contradicted(world: World) -> Iterator[str]:
    """Whoever took a shard held what the valid log said up to then, byte for byte, and so would anybody have who had taken it
    at some other moment of the run; all messages that it did not have to send again had left."""
    yield from world.contradictions


def taken_now(world: World) -> Iterator[str]:
    """What is wrong with taking the shards now: from a copy of what the broker has, so that nobody notices."""
    world.ledger.read()
    for number in range(world.shards):
        with TemporaryDirectory(dir=world.folder) as home:
            shard = _take(copy_of(world.broker), number, Path(home))
            yield from contradictions(world, shard, "if it were taken now")
            shard.close()


def contradictions(world: World, shard: Shard, when: str) -> Iterator[str]:
    """What a shard that was just taken has otherwise than the log before its epoch."""
    ledger, number = world.ledger, shard.number
    ledger.read()
    told = [one for one in ledger.decisions[number] if one.epoch < shard.log.epoch]
    where = f"shard {number} {when}, at {world.clock.monotonic():.3f} s, epoch {shard.log.epoch}"
    behind = [one for one in told if one.journal_offset >= shard.position]
    if behind != list(shard.recorded):
        yield f"{where}: behind its checkpoint the log has {behind}, it has read {list(shard.recorded)}"
    for one in told:
        for message in one.messages if one.journal_offset < shard.position else ():
            if not ledger.has_left(message):
                yield f"{where}: {message.topic} of entry {one.journal_offset} never left, and its checkpoint is at {shard.position}"
    moves, ahead = _moves(told), _moves(shard.recorded)
    with suppress(StoreLostError):  # another one has the store: it is retaken
        for id_, all_ in moves.items():
            txn, found = fold(Transaction(id_), all_), ledger.held_by(shard, id_)
            found = fold(Transaction(id_) if found is None else found.copy(), ahead[id_])
            if ledger.bytes_of(found) != ledger.bytes_of(txn):
                yield f"{where}: {id_} is {found}, its log tells {txn}"


def _moves(decisions: Iterable[Decided]) -> defaultdict[str, list[tuple[int, Transition]]]:
    """By transaction, with the entries that they are of."""
    found: defaultdict[str, list[tuple[int, Transition]]] = defaultdict(list)
    for decision in decisions:
        found[decision.transaction_id] += [(decision.journal_offset, t) for t in decision.transitions]
    found.pop("", None)
    return found


def _compare(world: World, shard: Shard, what: str) -> Iterator[str]:
    ledger = world.ledger
    for id_ in ledger.snapshots:
        if shard_of(id_, world.shards) != shard.number:
            continue
        found, told = ledger.held_by(shard, id_), ledger.transaction(id_)
        if (found and ledger.bytes_of(found)) != (told and ledger.bytes_of(told)):
            yield f"{id_} {what} is {found}, its snapshot {told}"


def _entries(world: World, position: int, live: Shard) -> list[int]:
    """Entries that could have changed something, between a restored position and the live one."""
    found, _, _ = world.broker.log((topics.JOURNAL, live.number)).read(
        position, 100_000, 1e12, committed=True
    )
    return [entry.offset() for entry in found if entry.key() is not None and entry.offset() < live.position]
