"""What happens once: effects, reversals, commands, moves; and in which order effects are reversed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kantor_orchestrator.core.transaction import Kind, Transaction, evolve
from kantor_orchestrator.snapshots import Outgoing
from simulation.order import Order
from simulation.services import effects
from simulation.world import World

#: Moves that one entry may make more than once.
_SEVERAL = (Kind.IGNORED, Kind.KEPT)


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
