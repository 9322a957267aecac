"""Of any saga: order does not matter, duplicates change nothing, the history tells the same as what was live (saga-2)."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.decide import decide
from kantor_orchestrator.core.entry import Entry, timers_of
from kantor_orchestrator.core.transaction import ENDED, Kind, Status, Transaction, evolve
from kantor_orchestrator.formats.snapshots import (
    decided_from,
    decision_record,
    transaction_from,
    transaction_record,
)
from kantor_schemas import system
from unit.core_kit import Story
from unit.generated_sagas import Drawn, Services, draw

SEEDS = st.integers(0, 2**32)
CODEC = Codec(MemorySchemas())
STATE = CODEC.encoder(system("TransactionState"), "sys.kantor.state")
HISTORY = CODEC.encoder(system("Decision"), "sys.kantor.history")
#: Any operator action, that makes sense or not.
ACTS = [acts.RETRY, acts.SKIP, acts.CANCEL, acts.COMPENSATE, acts.CLOSE, acts.SIGNAL]


def outcome(services: Services, story: Story) -> tuple[Any, ...]:
    """What must not depend on the order: how it ended, whether a person is needed, and what is left of each effect that
    could be reversed. Where some members of several are enough, which of them it is may depend on it."""
    drawn = services.drawn
    left = {
        path: sum(count for (one, _), count in services.effects.items() if one == path)
        for path, step in drawn.saga.steps.items()
        if step.compensation is not None and not is_choice(drawn, path)
    }
    if story.status is not Status.COMPENSATED:  # the others go on, or not, when one of them has failed
        left = {path: count for path, count in left.items() if story.status is Status.COMPLETED}
    return str(story.status), bool(story.txn.incidents), tuple(sorted(left.items()))


def is_choice(drawn: Drawn, path: str) -> bool:
    """Whether it is in something of which a part is enough, or that may fail."""
    step = drawn.saga.steps[path]
    while True:
        if step.optional or step.need is not None:
            return True
        if not step.parent:
            return False
        step = drawn.saga.steps[step.parent]


@settings(derandomize=True, max_examples=60, deadline=None)
@given_any(SEEDS)
def test_any_order_ends_the_same(seed: int) -> None:
    """Whatever order messages arrive in, early, late or twice: the same end, and the same effects left."""
    drawn = draw(Random(seed))
    found = set()
    for order in range(6):
        services = Services(drawn, Random(f"{seed}/{order}"))
        story = services.run()
        assert story.status in ENDED or story.txn.incidents, story.steps
        found.add(outcome(services, story))
    assert len(found) == 1, found


@settings(derandomize=True, max_examples=40, deadline=None)
@given_any(SEEDS)
def test_a_compensated_saga_has_no_effect_left(seed: int) -> None:
    """In whatever order it came to that."""
    drawn = draw(Random(seed))
    services = Services(drawn, Random(seed + 1))
    if services.run().status is Status.COMPENSATED:
        steps = drawn.saga.steps
        assert not {p for (p, _), n in services.effects.items() if n and steps[p].compensation}


@settings(derandomize=True, max_examples=40, deadline=None)
@given_any(SEEDS)
def test_duplicates_change_nothing(seed: int) -> None:
    """Every message that was heard is told once more, in any order, after the end: not a single transition."""
    services = Services(draw(Random(seed)), Random(seed))
    story, heard = services.story, list[Entry]()
    deliver = story.deliver

    def listening(entry: Entry, now: int = 0) -> Story:
        heard.append(entry)
        return deliver(entry, now)

    story.deliver = listening  # type: ignore[method-assign]
    services.run()
    assert heard
    for entry in Random(seed).sample(heard, len(heard)):
        assert decide(story.saga, story.txn, entry, story.at) == []


def chaos(seed: int) -> Story:
    """A transaction to which everything happens: timers whenever they are set, people, a saga that is held."""
    chance = Random(seed)
    services = Services(draw(Random(seed)), chance)
    story = services.story
    for number in range(120):
        what = chance.random()
        if what < 0.75 and not services.step():
            break
        if what >= 0.75:
            timers = sorted(timers_of(story.txn))
            paths = ["", *story.txn.steps]
            if what < 0.9 and timers:
                due, kind, path, round_, attempt = chance.choice(timers)
                story.fire(kind, path, round_, attempt, at=max(due, story.at))
            elif what < 0.97:
                said = {"why": chance.choice(["", "because"]), "fields": {}}
                act, path = chance.choice(ACTS), chance.choice(paths)
                story.deliver(
                    Entry("act", story.at, act, f"act-{number}", "acts", payload=said, step=path, actor="ada")
                )
            else:
                story.hold = "" if story.hold else "held by ada"
            services.take()
    return story


@settings(derandomize=True, max_examples=80, deadline=None)
@given_any(SEEDS)
def test_the_history_is_the_transaction(seed: int) -> None:
    """Whatever happens, ``decide`` raises nothing and changes nothing (``Story`` compares), and folding the history as it
    is written gives the live transaction, byte for byte; so does its snapshot."""
    story = chaos(seed)
    assert story.log
    live, folded = Transaction(story.txn.id), Transaction(story.txn.id)
    entry = Entry("event", 0)
    for transition in story.log:
        evolve(live, transition)
        entry.at, entry.actor = transition.at, transition.actor
        record = HISTORY(decision_record(live, entry, [transition], [], 0, 0))
        (told,) = decided_from(CODEC.decode(record)).transitions
        evolve(folded, told)
    snapshot = STATE(transaction_record(story.txn))
    assert STATE(transaction_record(folded)) == snapshot
    assert STATE(transaction_record(transaction_from(story.txn.id, CODEC.decode(snapshot)))) == snapshot


def test_the_drawn_sagas_are_what_is_meant() -> None:
    """10 to 30 steps, with everything in them; transactions end in every way."""
    drawn = [draw(Random(seed)) for seed in range(60)]
    steps = [step for one in drawn for step in one.saga.steps.values()]
    assert all(10 <= len(one.saga.steps) <= 31 for one in drawn)
    assert {step.kind for step in steps} == {"event", "command", "sleep", "composite"}
    for word in ("when", "optional", "pivot", "each", "need", "in_order", "settle_all"):
        assert any(getattr(step, word) for step in steps), word
    ends = {str(Services(one, Random(1)).run().status) for one in drawn}
    assert {"completed", "compensated", "running"} <= ends
    assert Kind.RELEASED in {t.kind for seed in range(40) for t in chaos(seed).log}
