"""Trouble of the rarer kinds. Each is drawn from a stream of its own, so that what a seed stood for before stays what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from kantor.envelope import child_id
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.act_kinds import KINDS
from kantor_orchestrator.formats import topics
from simulation.faults import Act, Ahead, Fault, Hostile, MadeAgain, Refuse, Retold
from simulation.plan import Started, instances
from simulation.sagas import topics as topics_of
from simulation.shapes import Shape

#: In plans of which focus there is such trouble, and how often. (Where one kind of process is in trouble alone, it stays so.)
_SHARES = {"all": 0.3, "people": 0.5, "view": 0.2}


_Draw = Callable[[Random, Shape, tuple[Started, ...]], Iterator[Fault]]

#: Seeds from this one on have the newest kinds, too: what those below stand for, mutations and old failures, stays what it was.
NEWEST = 5_000_000


def more(seed: int, focus: str, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """What goes wrong besides."""
    random, share = Random(seed + 3), _SHARES.get(focus, 0.0)
    draws: tuple[_Draw, ...] = (_refusals, _acts)
    if seed >= NEWEST:
        draws = (_refusals_of_children, _acts, _hostility, _retelling, _deletions, _leaps)
    for draw in draws:
        own = Random(random.random())
        if own.random() < share:
            yield from draw(own, shape, transactions)


def _refusals_of_children(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """Also of what sagas and their children say to each other."""
    has_children = any(step.child is not None for step in shape.every)
    return _refusals(random, shape, transactions, [topics.OWN_COMMANDS] * 2 if has_children else [])


def _refusals(
    random: Random, shape: Shape, transactions: tuple[Started, ...], also: Sequence[str] = ()
) -> Iterator[Fault]:
    """Not where the shop writes: nobody would start anything."""
    del transactions
    services = sorted(set(shape.services))
    able = [*(f"cmd.{service}.v1" for service in services), *(f"evt.{service}.v1" for service in services)]
    if shape.example:
        able = [f"cmd.{service}.v1" for service in services]
    for _ in range(random.choice([1, 1, 2])):
        topic = random.choice([*able, topics.ENDED, *also])
        yield Refuse(topic, random.choice([0.0, random.uniform(0, 10)]), random.choice([0.1, 2.0, 15.0]))


def _acts(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """Any operator action, on whatever there is or is not."""
    for _ in range(random.choice([1, 2, 4])):
        one = random.choice(transactions)
        paths = [path for path, _, _ in instances(shape.steps, one.lines)]
        children = [
            child_id(one.id, path, 1) for path, _, step in instances(shape.steps, one.lines) if step.child
        ]
        transaction = random.choice([one.id, one.id, one.id, *children, "nobody"])
        act = random.choice([*KINDS, acts.START])
        step = random.choice(["", *paths, "nowhere"])
        entry = random.choice(["own", "another", "none"]) if act == acts.START else ""
        yield Act(random.uniform(0, random.choice([1, 5, 20])), act, transaction, step, entry)


def _hostility(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    del transactions
    sources = [topic for topic in topics_of(shape) if not topic.startswith("dlq")]
    for _ in range(random.choice([1, 3, 8])):
        ours = random.random() < 0.3
        topic = random.choice(sources) if ours or random.random() < 0.7 else ""
        yield Hostile(topic, random.randrange(10_000), random.uniform(0, random.choice([1, 10])), ours)


def _retelling(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """Not of what other services react to: to them it is another fact, and nobody could tell."""
    del transactions
    heard = {step.trigger for one in shape.family for step in one.every}
    able = [step.service for step in shape.acting if step.name not in heard and not shape.example]
    for _ in range(random.choice([1, 2]) if able else 0):
        names = random.choice(["cause", "key", "nothing"])
        at = random.uniform(0, random.choice([1, 10, 30]))
        yield Retold(f"evt.{random.choice(able)}.v1", random.randrange(1_000), at, names)


def _deletions(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """Not of starts: what nobody has read yet is gone for good."""
    del transactions
    able = [f"{kind}.{service}.v1" for service in shape.services for kind in ("evt", "cmd")]
    able = sorted(set(able) & set(topics_of(shape)))
    for _ in range(random.choice([1, 1, 2]) if able else 0):
        yield MadeAgain(random.choice(able), random.uniform(0, random.choice([0.1, 1, 10])))


def _leaps(random: Random, shape: Shape, transactions: tuple[Started, ...]) -> Iterator[Fault]:
    """What is set up meanwhile goes off so much later: not too much, or the run does not see it."""
    del shape, transactions
    yield Ahead(
        random.uniform(0, 20), random.choice([0.5, 5.0, 20.0]), random.choice([0.5, 5.0, 60.0, 150.0])
    )
