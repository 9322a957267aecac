"""What happens once: effects, reversals, commands, transitions; and in which order effects are reversed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from kantor.envelope import idempotency_key
from kantor_orchestrator.core.decision import COMPENSATION
from kantor_orchestrator.core.transaction import Kind, StepStatus, Transaction, evolve
from kantor_orchestrator.formats.snapshots import Outgoing
from simulation.order import Order
from simulation.services import effects
from simulation.world import World

#: Transitions that one entry may make more than once.
_SEVERAL = (Kind.IGNORED, Kind.KEPT)


def once(world: World) -> Iterator[str]:
    """No effect twice, none reversed that was not there; no command and no transition twice; what is delivered in Kafka
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
        # A release looks at everything that has waited: several messages at once. So does a start; two may report one effect.
        released = {move["journal_offset"] for move in moves if move["kind"] == Kind.RELEASED}
        seen = Counter(
            (
                move["journal_offset"], move["kind"], move["step"], move["code"], move["at"], move["put_off"],
                move["transition"].evidence,
            )
            for move in moves
            if move["journal_offset"] not in released
        )  # fmt: skip
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
        if answer.step.partition("[")[0] in answering and answer.place not in world.outside.repeated
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


def one_effect_one_reversal(world: World) -> Iterator[str]:
    """By the keys of the requests that services reversed something for. A step's effect that the engine knows of is there
    when it is reversed, unless people had to do with it: a reversal that finds nothing was the second one. So a service, whose
    store is one and is never lost, knows of each effect that it is told is known."""
    found = effects(world.plan.shape, world.folder)
    reversed_ = Counter(effect.key for effect in found if effect.change < 0)
    for key, count in reversed_.items():
        if count > 1:
            yield f"one request ({key}) reversed {count} effects"
    happened = Counter((effect.transaction, effect.step) for effect in found if effect.change > 0)
    undone = Counter((effect.transaction, effect.step) for effect in found if effect.change < 0)
    for (id_, step), count in undone.items():
        if count > happened[id_, step]:
            yield f"{id_}: {step} took effect {happened[id_, step]} times, and was reversed {count} times"
    acting = {step.name for step in world.plan.shape.acting}
    for id_ in world.transactions():
        moves = world.ledger.history[id_]
        for move in moves:
            if move["kind"] == Kind.COMPENSATION_FAILED and move["code"] == "unknown_effect":
                yield f"{id_}: {move['step']} was to be reversed as known, and its service knows nothing of it"
        for path, round_ in _known_reversals(id_, moves):
            if (
                path.rpartition(".")[2] in acting
                and not reversed_[idempotency_key(id_, path, COMPENSATION, round_)]
            ):
                yield f"{id_}: reversal {round_} of {path} found nothing: what it is for was reversed before"


def _known_reversals(id_: str, moves: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """The compensations, by step and round, of effects that were known, which services confirmed; none of steps that people
    acted on. (An effect that was told only after the reversal of what might have happened may be another one.)"""
    txn, known, told, confirmed = Transaction(id_), dict[str, int](), dict[str, str](), dict[str, str]()
    by_people = {move["step"] for move in moves if move["entry_kind"] == "act"}
    for move in moves:
        t = move["transition"]
        if t.kind is Kind.SUCCEEDED:
            told[t.step] = move["origin"]
        elif t.kind is Kind.COMPENSATION_SENT and txn.steps[t.step].status is StepStatus.SUCCEEDED:
            if t.step not in confirmed or _is_before(told[t.step], confirmed[t.step]):
                known[t.step] = t.round
        elif t.kind is Kind.COMPENSATION_CONFIRMED:
            if t.step in known and t.step not in by_people:
                yield t.step, known[t.step]
            if known.pop(t.step, 0):  # what comes after it is another effect, wherever it was told
                confirmed.pop(t.step, None)
            else:
                confirmed[t.step] = move["origin"]
        evolve(txn, t)


def _is_before(origin: str, other: str) -> bool:
    """Whether both are in one partition (``topic/partition/offset``), in this order. Of what was kept until a release, no transition
    says where it was told."""
    (place, _, offset), (there, _, end) = origin.rpartition("/"), other.rpartition("/")
    return bool(place) and place == there and int(offset) < int(end)
