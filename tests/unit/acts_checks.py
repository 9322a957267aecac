"""What must hold of every operator action in every state of a small saga that was tried (``walk``) (saga-31).

A state that was found and not tried is neither good nor bad: what leads there only is *unknown*, and is told as that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kantor_orchestrator.core import acts
from kantor_orchestrator.core.decision import ANSWER
from kantor_orchestrator.core.transaction import ENDED, Kind, Status, StepStatus
from kantor_orchestrator.view.remedies import remedies
from kantor_orchestrator.view.sagas import SagaFacts
from unit.walk import SAME, UNKNOWN, Edge, Place, Walk

S = StepStatus
#: What people may do to what is closed: say that something is dealt with, have it read again, or its parent told. (Of several
#: incidents, some may be nothing that they can do that to.)
_OF_CLOSED = {Kind.RESUMED, Kind.DROPPED, Kind.AGAIN_ASKED, Kind.ANSWERED, Kind.IGNORED}


def is_refusal(edge: Edge) -> bool:
    return all(move.kind is Kind.IGNORED for move in edge.moves)


def tell(edge: Edge) -> str:
    txn, entry = edge.before, edge.entry
    steps = {path: str(state.status) for path, state in txn.steps.items()}
    incidents = [(one.kind, one.step) for one in txn.incidents]
    moves = [(str(m.kind), m.step, m.code, m.reason) for m in edge.moves]
    what = entry.type or entry.timer or entry.kind
    return f"{what} {entry.step!r} {entry.causation_id} on {txn.status} {steps} {incidents}: {moves}"


# -- what each edge must keep


def answered(edge: Edge) -> str:
    """An operator action is carried out, or refused with its reason and nothing changed."""
    if not edge.act:
        return ""
    if not edge.moves:
        return "no answer"
    if not is_refusal(edge):
        return ""
    if edge.end is not edge.start:
        return "refused, and something is changed"
    return "" if all(move.reason for move in edge.moves) else "refused without a reason"


def closed_is_final(edge: Edge) -> str:
    if edge.before.status is not Status.CLOSED:
        return ""
    if edge.after.status is not Status.CLOSED:
        return "not closed any more"
    if edge.act and not is_refusal(edge) and {move.kind for move in edge.moves} - _OF_CLOSED:
        return "closed, and an operator action changes more than an incident"
    if any(move.command and move.command.kind != ANSWER for move in edge.moves):
        return "closed, and something is sent"
    if any(state.timer for state in edge.after.steps.values()) or edge.after.deadline:
        return "closed, and a timer is set"
    return ""


def one_effect_one_reversal(edge: Edge) -> str:
    """A reversal begins (under a new key) only for what is not reversed yet, or for an effect that came after it; again under
    a new key only if its service's last word was no, and a person asks for it."""
    before = edge.before
    for move in edge.moves:
        state = before.steps.get(move.step)
        if state is None:
            continue
        is_new = move.kind is Kind.COMPENSATION_SENT and move.round > state.compensation_round
        is_under_way = state.status in (S.COMPENSATING, S.INCIDENT) and state.compensation_round > 0
        if is_new and is_under_way and not (state.final and edge.act == acts.RETRY):
            confirmed = any(m.kind is Kind.COMPENSATION_CONFIRMED and m.step == move.step for m in edge.moves)
            if not (confirmed and state.again and state.doubtful):
                return "a second reversal while one is under way"
        if is_new and state.status is S.IN_DOUBT and state.is_reversed:
            return "a doubt that was reversed"
        if move.kind is Kind.SUCCEEDED and state.status is S.COMPENSATED and not edge.act:
            if edge.tells == SAME:
                return "an effect that was reversed counts anew"
            if edge.tells == UNKNOWN and state.effect:
                return "reversed on a guess"
    return ""


#: By name: what is wrong with an edge, if anything is.
OF_EVERY_EDGE: dict[str, Callable[[Edge], str]] = {
    "an operator action is carried out, or refused with its reason": answered,
    "closed is final": closed_is_final,
    "one effect, one reversal": one_effect_one_reversal,
}


def faults(found: Walk, broken: Callable[[Edge], str]) -> list[str]:
    return [f"{why}: {tell(edge)}" for edge in found.edges if (why := broken(edge))]


# -- what people are told


def refused_though_proposed(found: Walk) -> list[str]:
    """Wherever an incident is open something is proposed, and none of it is refused, unless its cause is as it was."""
    facts = SagaFacts.of(found.saga).steps
    wrong = []
    for place in found.tried:
        proposed = remedies(place.txn, facts, is_held=bool(place.is_held or place.txn.held))
        if bool(proposed) != bool(place.txn.incidents):
            wrong.append(f"{len(proposed)} proposals: {tell_place(place)}")
        named = {(one.act, one.step) for one in proposed}
        wrong += [
            tell(edge)
            for edge in place.edges
            if (edge.act, edge.entry.step) in named
            and (edge.entry.payload or {}).get("why")
            and is_refusal(edge)
            and "it fails as before" not in edge.moves[0].reason
        ]
    return wrong


def carried_out_though_not_proposed(found: Walk) -> list[str]:
    """Where nothing else has to be done first (a release, what is deferred), people are told each ``retry`` and ``skip`` that
    is carried out for a step with an incident."""
    facts = SagaFacts.of(found.saga).steps
    wrong = []
    for place in found.tried:
        txn = place.txn
        if place.is_held or txn.held or txn.put_off:
            continue
        proposed = {(one.act, one.step) for one in remedies(txn, facts, is_held=False)}
        waiting = {one.step for one in txn.incidents}
        wrong += [
            tell(edge)
            for edge in place.edges
            if edge.act in (acts.RETRY, acts.SKIP)
            and edge.entry.step in waiting
            and not is_refusal(edge)
            and (edge.act, edge.entry.step) not in proposed
        ]
    return wrong


# -- the way forward


def to_an_end(found: Walk) -> tuple[list[Place], list[Place]]:
    """From where there is no way to an end besides ``close``; and from where there may be one by states that were not tried."""

    def is_over(place: Place) -> bool:
        txn = place.txn
        is_done = txn.status in ENDED and not txn.incidents and not txn.put_off
        return is_done or txn.status is Status.OBSERVED

    return _without_a_way(found, is_over, lambda edge: edge.act != acts.CLOSE)


def by_people_alone(found: Walk) -> tuple[list[Place], list[Place]]:
    """The same, of incidents that people deal with by ``retry`` and ``skip``, though no service ever answers again."""
    kinds = (acts.RETRY, acts.SKIP)
    lost, unknown = _without_a_way(
        found, lambda place: not place.txn.incidents, lambda edge: edge.act in kinds and not is_refusal(edge)
    )
    return [place for place in lost if not place.txn.held], unknown


def _without_a_way(
    found: Walk, is_good: Callable[[Place], bool], counts: Callable[[Edge], bool]
) -> tuple[list[Place], list[Place]]:
    places = set(found.places.values())
    good = {place for place in places if is_good(place)}
    able = leading_to(found, set(good), counts)
    able_or_unknown = leading_to(found, good | {place for place in places if not place.is_tried}, counts)
    return sorted(places - able_or_unknown, key=_number), sorted(able_or_unknown - able, key=_number)


def _number(place: Place) -> int:
    return place.number


def leading_to(found: Walk, good: set[Place], counts: Callable[[Edge], bool]) -> set[Place]:
    before: dict[Place, list[Place]] = {}
    for edge in found.edges:
        if counts(edge):
            before.setdefault(edge.end, []).append(edge.start)
    for held, free in holds(found):
        before.setdefault(free, []).append(held)
    waiting = list(good)
    while waiting:
        for place in before.get(waiting.pop(), ()):
            if place not in good:
                good.add(place)
                waiting.append(place)
    return good


def holds(found: Walk) -> Iterator[tuple[Place, Place]]:
    for (is_held, key), place in found.places.items():
        if is_held:
            yield place, found.places[False, key]


def tell_place(place: Place) -> str:
    txn = place.txn
    steps = {path: f"{state.status} {state.timer}" for path, state in txn.steps.items()}
    incidents = [(one.kind, one.step) for one in txn.incidents]
    return f"{txn.status} {steps} {incidents} held {place.is_held} {bool(txn.held)} deferred {txn.put_off} failing {txn.failing}"
