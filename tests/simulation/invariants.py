"""What must hold after every run, by the names of DESIGN section 11; and one of section 7's rules, *no haste*."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from kantor.codec import Codec
from kantor.envelope import child_id, shard_of
from kantor_orchestrator import topics
from kantor_orchestrator.brokertime import BrokerTime
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.transaction import (
    AFTER_CLOSE,
    AFTER_PIVOT,
    ENDED,
    SECOND_EFFECT,
    TIMED_OUT,
    IllegalTransition,
    Kind,
    Status,
    StepStatus,
    Transaction,
    evolve,
)
from kantor_orchestrator.engine.memory import Budget
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.taking import Means, Taking, take
from kantor_orchestrator.holds import ALL
from kantor_orchestrator.snapshots import Outgoing
from kantor_orchestrator.store.sqlite import StoreLostError
from simulation.instead import Steps
from simulation.judge import Judge
from simulation.order import Order
from simulation.plan import INTAKES, PROMPT, Act, Started, Told, instances
from simulation.processes import SCHEMAS, EngineProcess
from simulation.services import effects
from simulation.view import ViewProcess, disagreements
from simulation.world import ROUNDS, World

#: The code of what a person vouches for.
BY_HAND = "by_hand"
#: What a person who closed a transaction may have to care for afterwards.
LATE = (AFTER_CLOSE, SECOND_EFFECT)
#: Moves that one entry may make more than once.
_SEVERAL = (Kind.IGNORED, Kind.KEPT)
#: Members that a composite is decided with.
_COUNTED = (StepStatus.SUCCEEDED, StepStatus.SKIPPED)
#: Moves of a transaction that stands still: what comes for it is kept.
_STILL = (Kind.STARTED, Kind.KEPT, Kind.HELD, Kind.IGNORED, Kind.EXPIRED)


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
    """An ended transaction has all effects that it needs, or none is left that can be compensated."""
    ledger, shape = world.ledger, world.plan.shape
    for one, judge in _judges(world):
        families = [(one.id, shape)]
        for path, _, step in instances(shape.steps, one.lines):
            if step.child is not None:
                families += [(child_id(one.id, path, n), step.child) for n in range(1, ROUNDS)]
        for id_, whose in families:
            found = ledger.transaction(id_)
            if found is not None and found.status is Status.COMPLETED:
                for text in judge.missing(whose.steps, id_):
                    yield f"{id_} is completed, but {text}"
            elif found is not None and found.status is Status.COMPENSATED:
                for text in judge.left(whose.steps, id_):
                    yield f"{id_} is compensated, but {text}"


def no_surplus(world: World) -> Iterator[str]:
    """Where some members are enough, those that had succeeded when it was decided are its result; of the others nothing is
    left."""
    for one, judge in _judges(world):
        found, kept = Transaction(one.id), dict[str, set[str]]()
        for move in world.ledger.history[one.id]:
            transition = move["transition"]
            if transition.kind is Kind.SUCCEEDED:
                kept[transition.step] = {
                    path for path, state in found.steps.items() if state.status in _COUNTED
                }
            evolve(found, transition)
        if found.status is not Status.COMPLETED:
            continue
        for path, name, step in instances(world.plan.shape.steps, one.lines):
            if step.need and path in kept:
                item = int(name[:-1].partition("[")[2]) if "[" in name else -1
                for text in judge.surplus(step, one.id, path, item, kept[path]):
                    yield f"{one.id} is completed, but {text}, which {path} was decided without"


def _judges(world: World) -> Iterator[tuple[Started, Judge]]:
    ledger, shape = world.ledger, world.plan.shape
    net: Counter[tuple[str, str]] = Counter()
    for effect in effects(shape, world.folder):
        net[effect.transaction, effect.step] += effect.change
    answering = {step.name for step in shape.acting if step.transactional}
    for answer in ledger.done():
        if answer.step.partition("[")[0] in answering:
            net[answer.transaction, answer.step] = 1
    closed = {id_ for id_, moves in ledger.history.items() if moves[-1]["status"] == Status.CLOSED}
    hands = {
        (id_, move["step"])
        for id_, moves in ledger.history.items()
        for move in moves
        if move["code"] == BY_HAND
    }
    for one in world.plan.transactions:
        yield one, Judge(net, one.amount, one.lines, hands, closed, _signalled(world), ROUNDS)


def _signalled(world: World) -> set[tuple[str, str]]:
    """The signals that were given: (transaction, name of the step)."""
    found = set()
    for fault in world.plan.faults:
        if isinstance(fault, Told):
            found.add((fault.transaction, fault.type.split(".")[-2]))
        elif isinstance(fault, Act) and fault.act == acts.SIGNAL:
            found.add((fault.transaction, fault.step.rpartition(".")[2]))
    return found


def once(world: World) -> Iterator[str]:
    """No effect twice, none reversed that was not there; no command and no move twice; what is delivered in Kafka
    transactions is answered once for each record."""
    standing: Counter[tuple[str, str]] = Counter()
    for effect in effects(world.plan.shape, world.folder):
        key = effect.transaction, effect.step
        standing[key] += effect.change
        if standing[key] not in (0, 1):
            yield f"{effect.transaction}: {effect.step} has {standing[key]} effects at moment {effect.moment}"
    first: dict[str, Outgoing] = {}
    for command in world.ledger.commands:
        if first.setdefault(command.id, command.content) != command.content:
            yield f"{command.transaction}: {command.type} {command.id} was sent in two forms: {first[command.id]} {command.content}"
    for id_, moves in world.ledger.history.items():
        offsets = [move["journal_offset"] for move in moves]
        if offsets != sorted(offsets):
            yield f"{id_}: its history is not in the journal's order: {offsets}"
        # A release looks at everything that has waited: several messages at once.
        released = {move["journal_offset"] for move in moves if move["kind"] == Kind.RELEASED}
        seen = Counter(
            (move["journal_offset"], move["kind"], move["step"], move["code"], move["at"])
            for move in moves
            if move["journal_offset"] not in released
        )
        for move, count in seen.items():
            if count > 1 and move[1] not in _SEVERAL:
                yield f"{id_}: {move} is in its history {count} times"
    yield from _answered_once(world)


def _answered_once(world: World) -> Iterator[str]:
    answering = {step.name for step in world.plan.shape.acting if step.transactional}
    if not answering:
        return
    records = world.ledger.records()
    answers = Counter(
        (answer.step, answer.cause)
        for answer in world.ledger.done()
        if answer.step.partition("[")[0] in answering and answer.place not in world.repeated
    )
    for (step, cause), count in answers.items():
        if count > records[cause]:
            yield f"{step} answered {cause} {count} times, which came {records[cause]} times"


def reverse(world: World) -> Iterator[str]:
    """A compensation is sent when those of all later steps that took effect are confirmed, and those in doubt are sent.
    One after the other or all at once, where the saga says so."""
    shapes = {one.name: one for one in world.plan.shape.family} | {"checkout": world.plan.shape}
    for id_, moves in world.ledger.history.items():
        found = Transaction(id_)
        for move in moves:
            transition = move["transition"]
            is_first = transition.kind is Kind.COMPENSATION_SENT and transition.attempt == 1
            if is_first and move["entry_kind"] != "act":
                for text in Order(shapes[found.saga], found).broken_by(transition.step):
                    yield f"{id_}: {text}"
            evolve(found, transition)


def no_orphan(world: World) -> Iterator[str]:
    """Every transaction ends, or waits visibly for a person; and only for reasons that the plan gave."""
    steps = [step for one in world.plan.shape.family for step in one.every]
    expected = {"compensation_failed", AFTER_CLOSE}
    if any(step.pivot for step in steps):
        expected.add(AFTER_PIVOT)
    if any(step.in_doubt != "compensate" for step in steps):
        expected.add("no_answer")
    for id_ in world.transactions():
        found = world.ledger.transaction(id_)
        if not world.ledger.is_settled(id_):
            yield f"{id_} is {found.status if found else 'unknown'} in the end, and waits for nobody"
            continue
        if found is None:  # closed long ago
            continue
        late = [i for i in found.incidents if found.status is not Status.CLOSED or i.kind not in LATE]
        if found.status in ENDED and (timers_of(found) or late):
            yield f"{id_} is {found.status}, but has {timers_of(found)} and {found.incidents}"
        for incident in found.incidents:
            if incident.kind not in expected:
                yield f"{id_} has an incident: {incident.kind}: {incident.reason}"


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


def nothing_leaves_unlogged(world: World) -> Iterator[str]:
    """Every message of the engine is in a valid decision, byte for byte; and what is logged has left."""
    ledger = world.ledger
    logged = {
        (m.topic, m.key, tuple(m.headers), m.value)
        for decisions in ledger.decisions.values()
        for decision in decisions
        for m in decision.messages
    }
    sent = set()
    for command in ledger.commands:
        c = command.content
        found = (c.topic, c.key, tuple(c.headers), c.value)
        sent.add(found)
        if found not in logged:
            yield f"{command.transaction}: {command.type} {command.id} at {command.place} is in no decision"
    for topic, _, headers, _ in logged - sent:
        yield f"{dict(headers)['ce_id']!r} for {topic} is logged, and was never sent"


def in_order(world: World) -> Iterator[str]:
    """The log has one decision for an entry, in the order of the journal."""
    for shard, decisions in world.ledger.decisions.items():
        offsets = [decision.journal_offset for decision in decisions]
        if any(one >= other for one, other in pairwise(offsets)):
            yield f"shard {shard}: the log's decisions are on the entries {offsets}"


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


def no_haste(world: World) -> Iterator[str]:
    """Lag never compensates (section 7, rule 7): where nothing but intake had trouble, nothing times out."""
    told = [fault for fault in world.plan.faults if not isinstance(fault, Told)]
    if any(getattr(fault, "process", "") not in INTAKES for fault in told):
        return
    if world.plan.marker_lag or any(one.behaviours for one in world.plan.transactions):
        return
    steps = {step.name: step for step in world.plan.shape.every}
    if any(step.trigger and steps[step.trigger].guarded for step in steps.values()):
        return  # what is skipped is never heard of
    begun = {one.id: one.at for one in world.plan.transactions}
    signals = [fault for fault in world.plan.faults if isinstance(fault, Told)]
    if any(signal.at > begun.get(signal.transaction, 0.0) + PROMPT for signal in signals):
        return  # the shop itself was late
    given = Counter(signal.transaction for signal in signals)
    for one in world.plan.transactions:
        wanted = sum(step.kind == "signal" for _, _, step in instances(world.plan.shape.steps, one.lines))
        if given[one.id] < wanted:
            return
    for id_, moves in world.ledger.history.items():
        for move in moves:
            if move["code"] in (TIMED_OUT, "expired"):
                yield f"{id_}: {move['step']} timed out, but its service had answered"


INVARIANTS: dict[str, Callable[[World], Iterator[str]]] = {
    "all or nothing": all_or_nothing,
    "no surplus": no_surplus,
    "once": once,
    "reverse": reverse,
    "no orphan": no_orphan,
    "standstill": standstill,
    "nothing leaves unlogged": nothing_leaves_unlogged,
    "in order": in_order,
    "same view": same_view,
    "same state": same_state,
    "no haste": no_haste,
}
