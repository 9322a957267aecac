"""The plan of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from kantor.envelope import child_id
from simulation import trouble
from simulation.faults import (
    Act,
    Again,
    Compact,
    Crash,
    Fail,
    Fault,
    Freeze,
    Held,
    Hold,
    Lag,
    Skew,
    Stall,
    Stop,
    Told,
)
from simulation.plan import (
    ENGINES,
    INTAKES,
    MOST_LINES,
    PROMPT,
    TROUBLE,
    VIEW,
    Behaviour,
    Plan,
    Started,
    instances,
)
from simulation.sagas import topics as topics_of
from simulation.sagas import triggers
from simulation.shapes import ACTING, Shape, StepShape, checkout, generate

#: Who is in trouble: all, or one kind of process alone. One thing at a time, because more would often hide what the first did.
_FOCUS = {"all": 45, "engines": 15, "services": 12, "intakes": 8, "people": 12, "view": 8}


def plan(seed: int, focus: str = "") -> Plan:
    """The plan of a seed: always the same. ``focus`` (see ``_FOCUS``) is drawn unless given."""
    random = Random(seed)
    focus = focus or random.choices(list(_FOCUS), list(_FOCUS.values()))[0]
    shape = checkout() if random.random() < 0.12 else generate(random)
    transactions = tuple(
        _started(random, f"t{number}-{seed}", shape, undisturbed=focus == "intakes")
        for number in range(random.choice([1, 1, 2, 3, 5]))
    )
    engines, intakes = random.choice([1, 2, 2]), random.choice([1, 2])
    marker_lag = random.choice([0.0, 0.0, 0.05, 1.0])
    services = list(shape.services)
    faults: list[Fault] = []
    if focus == "all":
        view = random.random() < 0.3
        processes = [*ENGINES[:engines] * 2, *INTAKES[:intakes], *services, *([VIEW] if view else [])]
        topics = [topic for topic in topics_of(shape) if not topic.startswith("dlq")]
        faults = [_fault(random, processes, topics) for _ in range(random.choice([0, 1, 2, 3, 4, 6, 9]))]
        for process in dict.fromkeys(processes):
            if random.random() < 0.1:
                faults.append(Skew(process, random.choice([-120.0, -0.2, 0.2, 120.0])))
    else:
        view = focus == "view"
        if focus == "engines":
            engines, processes = 2, list(ENGINES)
        elif focus == "intakes":
            intakes, processes, marker_lag = 2, list(INTAKES), 0.0
        else:
            processes = {"view": [VIEW], "people": [*ENGINES[:engines], *services]}.get(focus, services)
        count = random.choice([1, 1, 2, 3]) - (focus == "people")
        faults = [
            _fault_of_process(random, random.choice(processes), shape)
            for _ in range(count if processes else 0)
        ]
    if focus == "people" or (focus in ("all", "view") and random.random() < 0.3):
        faults += _people(random, shape, transactions)
    faults += _signals(random, shape, transactions, undisturbed=focus == "intakes")
    people = random.choice([(), (), ("retry",), ("retry", "skip"), ("skip",), ("retry", "close"), ("close",)])
    home, lag = random.random() < 0.5, marker_lag
    faults += trouble.more(seed, focus, shape, transactions)
    return Plan(seed, shape, transactions, tuple(faults), engines, intakes, home, lag, people, view)


def _started(random: Random, id_: str, shape: Shape, *, undisturbed: bool) -> Started:
    at = random.choice([0.0, random.uniform(0, 5)])
    amount, lines = random.randint(1, 10), random.choice([0, 1, 2, 2, MOST_LINES])
    found: dict[str, Behaviour] = {}
    for one in shape.family:
        for _, name, step in instances(one.steps, lines):
            behaviour = None if undisturbed or step.kind not in ACTING else _behaviour(random, step)
            if behaviour is not None:
                found[name] = behaviour
    return Started(id_, at, tuple(found.items()), amount, lines)


def _behaviour(random: Random, step: StepShape) -> Behaviour | None:
    if random.random() < 0.65:
        return None
    return Behaviour(
        declines=random.random() < 0.25,
        silent=random.random() < 0.15 and step.kind == "command" and not step.transactional,
        retryable=random.choice([0, 0, 0, 1, 2, 5]),
        broken=random.random() < 0.08,
        reverse_retryable=random.choice([0, 0, 1, 3]),
    )


def _people(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """People who act while everything is under way."""
    for _ in range(random.choice([1, 2, 3])):
        at, one = random.uniform(0, random.choice([3, 15])), random.choice(transactions)
        if random.random() < 0.35:
            seconds = random.choice([0.5, 3.0, 12.0])
            yield Held(at, seconds, random.choice(["", "checkout" if shape.example else "sim"]))
            continue
        places = [(one.id, path) for path, _, _ in instances(shape.steps, one.lines)]
        for path, _, step in instances(shape.steps, one.lines):
            if step.child is not None:
                places += [(child_id(one.id, path, 1), inner.name) for inner in step.child.steps]
        transaction, step_path = random.choice(places)
        act = random.choice(["retry", "retry", "skip", "skip", "cancel", "compensate", "close", "signal"])
        yield Act(at, act, transaction, step_path if act in ("retry", "skip", "signal") else "")


def _signals(
    random: Random, shape: Shape, transactions: tuple[Started, ...], *, undisturbed: bool
) -> Iterator[Fault]:
    for one in transactions:
        for path, _, step in instances(shape.steps, one.lines):
            if step.kind == "signal" and (undisturbed or random.random() < 0.8):
                at = one.at + random.uniform(0, PROMPT if undisturbed else step.timeout * 1.5)
                if random.random() < 0.5 or undisturbed:
                    yield Told(at, f"{step.service}.Given", one.id)
                else:
                    yield Act(at, "signal", one.id, path)
        if shape.cancel_until and not undisturbed and random.random() < 0.5:
            yield Told(one.at + random.choice([0.0, random.uniform(0, 12)]), "sim.shop.Cancelled", one.id)


def _fault_of_process(random: Random, process: str, shape: Shape) -> Fault:
    """Something that happens to one process, and to nothing else."""
    kind, call = random.random(), _call(random)
    if kind < 0.3:
        return Crash(process, call, random.choice([0.05, 4.0, 15.0]), random.random() < 0.3)
    if kind < 0.4:
        return Fail(process, call)
    if kind < 0.75:
        seconds = random.choice([1.0, 7.0, 8.0, 9.0, 14.0])
        if process in ENGINES and random.random() < 0.5:  # where an owner that lost its shard does most harm
            return Stall(process, random.randint(1, 8), seconds, "commit")
        return Stall(process, call, seconds)
    at = random.choice([0.0, random.uniform(0, 5)])
    return Hold(process, random.choice(_read_by(process, shape)), at, random.choice([0.5, 4.0, 12.0, 25.0]))


def _read_by(process: str, shape: Shape) -> list[str]:
    """The topics that make a process act. (A service's compensations come by another one: they overtake.)"""
    if process in ENGINES:
        return ["sys.kantor.journal"]
    if process in INTAKES:
        return [topic for topic in topics_of(shape) if topic.startswith("evt.")]
    if process == VIEW:
        return ["sys.kantor.history", "sys.kantor.journal"]
    return [topic for topic in topics_of(shape) if topic in triggers(shape, process)]


def _fault(random: Random, processes: list[str], topics: list[str]) -> Fault:
    process = random.choice(processes)
    at = random.uniform(0, TROUBLE * random.choice([0.1, 0.3, 0.8]))
    kind = random.random()
    if kind < 0.25:
        return Crash(process, _call(random), random.choice([0.05, 1.0, 4.0, 15.0]), random.random() < 0.3)
    if kind < 0.4:
        return Fail(process, _call(random))
    if kind < 0.45:
        return Freeze(process, at, random.choice([1.0, 5.0, 8.0, 14.0]))
    if kind < 0.6:
        return Stall(process, _call(random), random.choice([1.0, 7.0, 9.0, 14.0]))
    if kind < 0.75:
        at = random.choice([0.0, random.uniform(0, 3), at])
        return Hold(process, random.choice(topics), at, random.choice([0.5, 4.0, 12.0, 25.0]))
    if kind < 0.8:
        return Stop(process, at, random.choice([0.1, 3.0, 12.0]))
    if kind < 0.87:
        topic = random.choice([*topics, "sys.kantor.journal", "sys.kantor.state"])
        return Lag(topic, at, at + random.uniform(0, 10), random.choice([0.01, 0.3, 3.0, 8.0]))
    if kind < 0.97:
        return Again(random.choice(topics), random.randrange(1000), at)
    return Compact(at)


def _call(random: Random) -> int:
    return int(random.expovariate(1 / random.choice([8, 30, 90]))) + 1
