"""What must hold after every run, by the names of DESIGN section 11; and one of section 7's rules, *no haste*."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor_orchestrator import topics
from kantor_orchestrator.core.transaction import (
    ENDED,
    TIMED_OUT,
    IllegalTransition,
    Kind,
    Status,
    StepStatus,
    Transaction,
    evolve,
)
from kantor_orchestrator.shard import Shard
from kantor_orchestrator.snapshots import transition_from
from simulation.plan import INTAKES
from simulation.processes import SCHEMAS, EngineProcess
from simulation.sagas import Shape
from simulation.services import effects
from simulation.world import World

_KNOWN = (StepStatus.SUCCEEDED, StepStatus.IN_DOUBT)
_UNDER_WAY = (StepStatus.COMPENSATING, StepStatus.INCIDENT)


def check(world: World) -> list[str]:
    """Every invariant that is broken: its name, and how. Ends the engines."""
    world.ledger.read()
    found = []
    for name, holds in INVARIANTS.items():
        try:
            found += [f"{name}: {text}" for text in holds(world)]
        except IllegalTransition as error:
            found.append(f"{name}: a history can't be folded: {error}")
    return found


def all_or_nothing(world: World) -> Iterator[str]:
    """An ended transaction has all effects, or none is left that can be compensated."""
    net: Counter[tuple[str, str]] = Counter()
    for effect in effects(world.plan.shape, world.folder):
        net[effect.transaction, effect.step] += effect.change
    for one in world.plan.transactions:
        found = world.ledger.transaction(one.id)
        if found is None or found.status not in ENDED:
            continue
        for step in world.plan.shape.steps:
            left = net[one.id, step.name]
            if found.status is Status.COMPLETED and left != 1:
                yield f"{one.id} is completed, but {step.name} has {left} effects"
            if found.status is Status.COMPENSATED and step.is_compensated and left:
                yield f"{one.id} is compensated, but {step.name} has {left} effects left"


def once(world: World) -> Iterator[str]:
    """No effect twice, none reversed that was not there; no command and no move twice."""
    standing: Counter[tuple[str, str]] = Counter()
    for effect in effects(world.plan.shape, world.folder):
        key = effect.transaction, effect.step
        standing[key] += effect.change
        if standing[key] not in (0, 1):
            yield f"{effect.transaction}: {effect.step} has {standing[key]} effects at moment {effect.moment}"
    sent = Counter(command.id for command in world.ledger.commands if command.place not in world.repeated)
    for command in world.ledger.commands:
        if sent.pop(command.id, 0) > 1:
            yield f"{command.transaction}: {command.type} {command.id} was sent twice"
    for id_, moves in world.ledger.history.items():
        offsets = [move["journal_offset"] for move in moves]
        if offsets != sorted(offsets):
            yield f"{id_}: its history is not in the journal's order: {offsets}"
        seen = Counter((move["journal_offset"], move["kind"], move["step"], move["at"]) for move in moves)
        for move, count in seen.items():
            if count > 1 and move[1] != Kind.IGNORED:
                yield f"{id_}: {move} is in its history {count} times"


def reverse(world: World) -> Iterator[str]:
    """A compensation is sent when those of all later steps that took effect are confirmed, and those in doubt are sent."""
    compensated = {step.name for step in world.plan.shape.steps if step.is_compensated}
    after = _after(world.plan.shape)
    for id_, moves in world.ledger.history.items():
        found = Transaction(id_)
        for move in moves:
            transition = transition_from(move)
            if transition.kind is Kind.COMPENSATION_SENT and transition.attempt == 1:
                for later in sorted(after[transition.step] & compensated):
                    state = found.steps.get(later)
                    if state is None:
                        continue
                    held = state.status in _UNDER_WAY and not state.doubtful
                    if state.status in _KNOWN or held:
                        yield f"{id_}: {transition.step} is compensated while {later}, after it, is {state.status}"
            evolve(found, transition)


def _after(shape: Shape) -> dict[str, set[str]]:
    """By step: all that come after it, directly or not. (Not asked of the saga: that might be wrong.)"""
    found: dict[str, set[str]] = {step.name: set() for step in shape.steps}
    for step in shape.steps:  # in topological order
        for earlier, later in found.items():
            if earlier in step.after or later & set(step.after):
                later.add(step.name)
    return found


def no_orphan(world: World) -> Iterator[str]:
    """Every transaction ends, or waits visibly for a person; and only for reasons that the plan gave."""
    for one in world.plan.transactions:
        if not world.ledger.is_settled(one.id):
            found = world.ledger.transaction(one.id)
            yield f"{one.id} is {found.status if found else 'unknown'} in the end, and waits for nobody"
            continue
        found = world.ledger.transaction(one.id)
        for incident in found.incidents if found else ():
            if incident.kind != "compensation_failed":
                yield f"{one.id} has an incident: {incident.kind}: {incident.reason}"


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
        live.close(clean=True)
        for text, home in (("from Kafka alone", world.folder / "new"), ("from its store", homes[0])):
            clients = world.broker.clients()
            restored = Shard(number, clients, clients.admin(), Codec(SCHEMAS), home, world.clock)
            yield from _compare(world, restored, f"restored {text}")
            if restored.marks != live.marks:
                yield f"shard {number} restored {text}: marks {restored.marks}, live {live.marks}"
            if not restored.position <= live.position or _entries(world, restored.position, live):
                yield f"shard {number} restored {text} at {restored.position}, live at {live.position}"
            restored.close(clean=True)


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


def no_haste(world: World) -> Iterator[str]:
    """Lag never compensates (section 7, rule 7): where nothing but intake had trouble, nothing times out."""
    if any(getattr(fault, "process", "") not in INTAKES for fault in world.plan.faults):
        return
    if world.plan.marker_lag or any(one.behaviours for one in world.plan.transactions):
        return
    for id_, moves in world.ledger.history.items():
        for move in moves:
            if move["code"] in (TIMED_OUT, "expired"):
                yield f"{id_}: {move['step']} timed out, but its service had answered"


INVARIANTS: dict[str, Callable[[World], Iterator[str]]] = {
    "all or nothing": all_or_nothing,
    "once": once,
    "reverse": reverse,
    "no orphan": no_orphan,
    "same state": same_state,
    "no haste": no_haste,
}
