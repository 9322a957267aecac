"""How transactions end: with all of their effects, or with none, or visibly waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kantor.envelope import child_id
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.decide import EXPIRED
from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.refusals import REFUSED
from kantor_orchestrator.core.transaction import (
    AFTER_CLOSE,
    AFTER_PIVOT,
    ENDED,
    POISON,
    SECOND_EFFECT,
    TIMED_OUT,
    Kind,
    Status,
    StepStatus,
    Transaction,
    evolve,
)
from simulation.faults import Act, Ahead, Hostile, Refuse, Retold, Told
from simulation.judge import Judge
from simulation.ledger import Ledger
from simulation.plan import INTAKES, PROMPT, Started, instances
from simulation.services import effects
from simulation.world import ROUNDS, World

#: The code of what a person vouches for.
BY_HAND = "by_hand"
#: What a person may have to care for after a transaction's end: its announcement may be refused, a message unreadable; and after a close.
_ENDED = (REFUSED, POISON)
LATE = (AFTER_CLOSE, SECOND_EFFECT, "compensation_failed", *_ENDED)
#: Members that a composite is decided with.
_COUNTED = (StepStatus.SUCCEEDED, StepStatus.SKIPPED)


def all_or_nothing(world: World) -> Iterator[str]:
    """An ended transaction has all effects that it needs, or none is left that can be compensated."""
    ledger, shape = world.ledger, world.plan.shape
    for one, judge in _judges(world):
        families = [(one.id, shape)]
        for path, _, step in instances(shape.steps, one.lines):
            if step.child is not None:
                families += [(child_id(one.id, path, n), step.child) for n in range(1, ROUNDS)]
        for id_, whose in families:
            if id_ in judge.in_hand:
                continue
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
    in_hand = {id_ for id_ in ledger.history if _is_in_hand(ledger, id_)}
    by_hand = [
        (id_, move) for id_, moves in ledger.history.items() for move in moves if move["code"] == BY_HAND
    ]
    hands = {(id_, move["step"]) for id_, move in by_hand}
    done = {(id_, move["step"]) for id_, move in by_hand if move["kind"] == Kind.SKIPPED}
    for one in world.plan.transactions:
        yield one, Judge(net, one.amount, one.lines, hands, done, in_hand, _signalled(world), ROUNDS)


def _is_in_hand(ledger: Ledger, id_: str) -> bool:
    """Whether a transaction's effects are a person's to know: it was closed, a message that may have told of one was done
    without, or waits behind what can't be read."""
    moves = ledger.history[id_]
    if moves[-1]["status"] == Status.CLOSED or any(move["kind"] == Kind.DROPPED for move in moves):
        return True
    found = ledger.transaction(id_)
    return found is not None and bool(found.put_off and found.incidents)


def _signalled(world: World) -> set[tuple[str, str]]:
    """The signals that were given: (transaction, name of the step)."""
    found = set()
    for fault in world.plan.faults:
        if isinstance(fault, Told):
            found.add((fault.transaction, fault.type.split(".")[-2]))
        elif isinstance(fault, Act) and fault.act == acts.SIGNAL:
            found.add((fault.transaction, fault.step.rpartition(".")[2]))
    return found


def no_orphan(world: World) -> Iterator[str]:
    """Every transaction ends, or waits visibly for a person; and only for reasons that the plan gave."""
    steps = [step for one in world.plan.shape.family for step in one.every]
    expected = {"compensation_failed", AFTER_CLOSE}
    if any(step.pivot for step in steps):
        expected.add(AFTER_PIVOT)
    if any(step.in_doubt != "compensate" for step in steps):
        expected.add("no_answer")
    if any(isinstance(fault, Refuse) for fault in world.plan.faults):
        expected.add(REFUSED)
    for fault in world.plan.faults:
        if isinstance(fault, Hostile) or (isinstance(fault, Act) and fault.act == acts.START):
            expected.add(POISON)
        elif isinstance(fault, Retold):
            expected |= {SECOND_EFFECT, POISON}  # within an ``each`` nobody knows whose it is
    for id_ in world.transactions():
        found = world.ledger.transaction(id_)
        if not world.ledger.is_settled(id_):
            yield f"{id_} is {found.status if found else 'unknown'} in the end, and waits for nobody"
            continue
        if found is None:  # closed long ago
            continue
        late = [
            i for i in found.incidents if i.kind not in (LATE if found.status is Status.CLOSED else _ENDED)
        ]
        if found.status in ENDED and (timers_of(found) or late):
            yield f"{id_} is {found.status}, but has {timers_of(found)} and {found.incidents}"
        for incident in found.incidents:
            if incident.kind not in expected:
                yield f"{id_} has an incident: {incident.kind}: {incident.reason}"


def no_haste(world: World) -> Iterator[str]:
    """Lag never compensates (watermarks-1, watermarks-2): where nothing but intake had trouble, nothing times out."""
    told = [fault for fault in world.plan.faults if not isinstance(fault, Told | Ahead)]
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
    times = Counter(command.id for command in world.ledger.commands)
    # Who has no inbox does not know that it has answered what comes again, too late.
    repeated = {command.transaction for command in world.ledger.commands if times[command.id] > 1}
    for id_, moves in world.ledger.history.items():
        for move in moves:
            if move["code"] == TIMED_OUT or (move["code"] == EXPIRED and id_ not in repeated):
                yield f"{id_}: {move['step']} timed out, but its service had answered"
