"""What comes back: a shard that is taken is what its log says, in the end and at any point before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor_orchestrator import topics
from kantor_orchestrator.brokertime import BrokerTime
from kantor_orchestrator.engine.memory import Budget
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Means, Taking, take
from kantor_orchestrator.store.sqlite import StoreLostError
from simulation.instead import Steps
from simulation.processes import SCHEMAS, EngineProcess
from simulation.world import World


def same_state(world: World) -> Iterator[str]:
    """Live, restored from the changelog, and folded from the history: the same bytes."""
    ledger = world.ledger
    for id_, snapshot in ledger.snapshots.items():
        if snapshot is not None and ledger.bytes_of(ledger.folded(id_)) != snapshot:
            yield f"{id_}: its history tells {ledger.folded(id_)}, its snapshot {ledger.transaction(id_)}"
    owners: defaultdict[int, list[Shard]] = defaultdict(list)
    homes = []
    for process in world.processes:
        if isinstance(process, EngineProcess):
            homes.append(process.folder)
            for number, shard in process.engine._shards.items() if process.engine else ():
                owners[number].append(shard)
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


def _taken(world: World, number: int, home: Path) -> Shard:
    clients = world.broker.clients()
    means = Means(
        clients,
        clients.admin(),
        Codec(SCHEMAS),
        home,
        Steps(),
        Budget(1 << 30),
        lambda *_: None,
        world.clock,
        BrokerTime(world.clock),
    )
    shard = take(number, means, Taking(0.0))
    while shard.recorded:
        shard.fold(shard.recorded.popleft())
    return shard


def _compare(world: World, shard: Shard, what: str) -> Iterator[str]:
    ledger = world.ledger
    for id_, snapshot in ledger.snapshots.items():
        if shard_of(id_, world.shards) != shard.number:
            continue
        found = shard.get(id_)
        if (None if found is None else ledger.bytes_of(found)) != snapshot:
            yield f"{id_} {what} is {found}, its snapshot {ledger.transaction(id_)}"


def _entries(world: World, position: int, live: Shard) -> list[int]:
    """Entries that could have changed something, between a restored position and the live one."""
    found, _, _ = world.broker.log((topics.JOURNAL, live.number)).read(
        position, 100_000, 1e12, committed=True
    )
    return [entry.offset() for entry in found if entry.key() is not None and entry.offset() < live.position]
