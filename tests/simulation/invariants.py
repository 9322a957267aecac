"""What must hold after every run, by name; each says what it promises, and the module that it is in has how that is told.

Nothing here asks the engine whether it was right: effects are counted in the services' databases, messages and records read
from the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kantor_orchestrator.core.transaction import IllegalTransition
from simulation import logged, outcomes, people, recovered, reversals, waits
from simulation.world import World


@dataclass(frozen=True, slots=True)
class Invariant:
    """``broken`` tells each way in which a run broke it."""

    name: str
    promise: str
    broken: Callable[[World], Iterator[str]]


#: The last ones end the engines.
INVARIANTS = (
    Invariant(
        "all or nothing",
        "An ended transaction has all effects that it needs, or none is left that can be compensated.",
        outcomes.all_or_nothing,
    ),
    Invariant(
        "no surplus",
        "Where some members are enough, nothing is left of those that it was decided without.",
        outcomes.no_surplus,
    ),
    Invariant(
        "one effect, one reversal",
        "An effect is reversed once at most; what is known to have happened is there when it is reversed.",
        reversals.one_effect_one_reversal,
    ),
    Invariant("once", "No effect, no command and no transition comes twice.", reversals.once),
    Invariant("reverse", "Effects are reversed in the saga's order, the last one first.", reversals.reverse),
    Invariant(
        "no orphan",
        "Every transaction ends, or waits visibly for a person, for a reason that the plan gave.",
        outcomes.no_orphan,
    ),
    Invariant("standstill", "While a saga is held, its transactions make no transition.", people.standstill),
    Invariant(
        "closed is final",
        "A transaction that a person closed gets no command, no announcement and no other status.",
        people.closed_is_final,
    ),
    Invariant(
        "a way forward",
        "From every incident of a quiet world an operator action besides `close` is carried out.",
        people.a_way_forward,
    ),
    Invariant(
        "nothing leaves unlogged",
        "What the engine sent is in a valid decision, byte for byte, and what is in one was sent.",
        logged.nothing_leaves_unlogged,
    ),
    Invariant("in order", "The log has one decision for an entry, in the journal's order.", logged.in_order),
    Invariant(
        "never contradicted",
        "A shard that is taken at any moment is what the valid log says up to then.",
        recovered.never_contradicted,
    ),
    Invariant(
        "nobody waits",
        "An entry is processed within seconds of its shard's engine being up, whatever the others do.",
        waits.nobody_waits,
    ),
    Invariant(
        "bounded", "Records and bytes written for an entry have a bound, whatever it is.", logged.bounded
    ),
    Invariant(
        "same view", "What people are shown agrees with what every transaction's log tells.", people.same_view
    ),
    Invariant("no haste", "Where nothing but intake has trouble, nothing times out.", outcomes.no_haste),
    Invariant(
        "same state",
        "Live, restored from the changelog, and folded from the log: the same bytes.",
        recovered.same_state,
    ),
)


def check(world: World) -> list[str]:
    """Every invariant that is broken: its name, and how. Ends the engines."""
    world.ledger.read()
    found = []
    for one in INVARIANTS:
        try:
            found += [f"{one.name}: {text}" for text in one.broken(world)]
        except IllegalTransition as error:
            found.append(f"{one.name}: a history can't be folded: {error}")
    return found
