"""What a seed stands for: a saga, its transactions, and everything that goes wrong.

A :class:`Plan` is data, so a failing one can be shrunk: faults and transactions are taken out one by one while it still
fails. What is left of chance (whose turn it is, how much time passes) comes from the seed as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from simulation.sagas import Shape, StepShape, checkout, generate

#: After this (s) nothing goes wrong any more: what is still open then must come to its end by itself.
TROUBLE = 40.0
ENGINES, INTAKES = ("engine-1", "engine-2"), ("intake-1", "intake-2")


@dataclass(frozen=True, slots=True)
class Crash:
    """The process dies at this call (odd: before it takes effect, even: after, and nobody is told)."""

    process: str
    call: int
    down: float
    wipe: bool = False  # its disk is lost, too


@dataclass(frozen=True, slots=True)
class Fail:
    """This call, or the next one that can, reports a failure (odd: and did nothing, even: but took effect)."""

    process: str
    call: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """The process stands still and does not know it."""

    process: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """The process stands still in the middle of this call (odd: before it takes effect, even: after), or before the
    ``call``-th one of this name."""

    process: str
    call: int
    seconds: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """The process gets nothing of the topic for a while; others do."""

    process: str
    topic: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is stopped in good order, and started later."""

    process: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Lag:
    """What is written to the topic meanwhile is read later."""

    topic: str
    at: float
    until: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Again:
    """One of the topic's records, chosen by ``number``, is written a second time."""

    topic: str
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class Compact:
    """The cleaner runs over the state topic."""

    at: float


Fault = Crash | Fail | Freeze | Stall | Hold | Stop | Lag | Again | Compact


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a step's service does with one transaction, in its action and in its compensation."""

    declines: bool = False
    silent: bool = (
        False  # it acts, and never says so (asked by a command: of what else it did, nobody would ever know)
    )
    retryable: int = 0  # so often it fails before
    broken: bool = False  # it always fails, after it acted (its effect is rolled back)
    reverse_retryable: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """One transaction: when it begins (s), and who behaves how (by step; else all goes well)."""

    id: str
    at: float
    behaviours: tuple[tuple[str, Behaviour], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    shape: Shape
    transactions: tuple[Started, ...]
    faults: tuple[Fault, ...]
    engines: int = 2
    intakes: int = 2
    shared_home: bool = True
    marker_lag: float = 0.0  # s, at most


def plan(seed: int, focus: str = "") -> Plan:
    """The plan of a seed: always the same. ``focus`` is drawn unless given: trouble for all, for the engines, for the
    services or for the intakes alone. One thing at a time, because more would often hide what the first did."""
    random = Random(seed)
    focus = focus or random.choices(["all", "engines", "services", "intakes"], [55, 20, 15, 10])[0]
    shape = checkout() if random.random() < 0.25 else generate(random)
    undisturbed = focus == "intakes"
    transactions = tuple(
        Started(
            f"t{number}-{seed}",
            random.choice([0.0, random.uniform(0, 5)]),
            ()
            if undisturbed
            else tuple((step.name, b) for step in shape.steps if (b := _behaviour(random, step)) is not None),
        )
        for number in range(random.choice([1, 1, 2, 3, 5]))
    )
    engines, intakes = random.choice([1, 2, 2]), random.choice([1, 2])
    marker_lag = random.choice([0.0, 0.0, 0.05, 1.0])
    services = [step.service for step in shape.steps]
    if focus == "all":
        processes = [*ENGINES[:engines] * 2, *INTAKES[:intakes], *services]
        topics = [topic for topic in shape.topics if not topic.startswith("dlq")]
        count = random.choice([0, 1, 2, 3, 4, 6, 9])
        faults = tuple(_fault(random, processes, topics) for _ in range(count))
    else:
        if focus == "engines":
            engines, processes = 2, list(ENGINES)
        elif focus == "intakes":
            intakes, processes, marker_lag = 2, list(INTAKES), 0.0
        else:
            processes = services
        count = random.choice([1, 1, 2, 3])
        faults = tuple(_fault_of_process(random, random.choice(processes), shape) for _ in range(count))
    return Plan(seed, shape, transactions, faults, engines, intakes, random.random() < 0.5, marker_lag)


def _behaviour(random: Random, step: StepShape) -> Behaviour | None:
    if random.random() < 0.6:
        return None
    return Behaviour(
        declines=random.random() < 0.25,
        silent=random.random() < 0.1 and step.kind == "command",
        retryable=random.choice([0, 0, 0, 1, 2, 5]),
        broken=random.random() < 0.08,
        reverse_retryable=random.choice([0, 0, 1, 3]),
    )


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
        return [topic for topic in shape.topics if topic.startswith("evt.")]
    return [topic for topic in shape.topics if topic in shape.triggers(process)]


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
