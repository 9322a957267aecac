"""Every act of a person in every reachable state of small sagas (``walk``) (saga-31)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from kantor_orchestrator.core import acts
from kantor_orchestrator.core.decision import ANSWER
from kantor_orchestrator.core.transaction import ENDED, Kind, Status, StepStatus
from kantor_orchestrator.view.remedies import remedies
from kantor_orchestrator.view.sagas import SagaFacts
from unit.acts_page import MOST, page
from unit.small_sagas import small_sagas
from unit.walk import SAME, UNKNOWN, Edge, Place, Walk

S = StepStatus
SAGAS = small_sagas()
#: What people may do to what is closed: say that something is dealt with, have it read again, or its parent told. (Of several
#: incidents, some may be nothing that they can do that to.)
_OF_CLOSED = {Kind.RESUMED, Kind.DROPPED, Kind.AGAIN_ASKED, Kind.ANSWERED, Kind.IGNORED}


@cache
def walk(name: str) -> Walk:
    return Walk(SAGAS[name], MOST)


def is_refusal(edge: Edge) -> bool:
    return all(move.kind is Kind.IGNORED for move in edge.moves)


def faults(name: str, broken: Callable[[Edge], str]) -> list[str]:
    return [f"{why}: {tell(edge)}" for edge in walk(name).edges if (why := broken(edge))]


def tell(edge: Edge) -> str:
    txn, entry = edge.before, edge.entry
    steps = {path: str(state.status) for path, state in txn.steps.items()}
    incidents = [(one.kind, one.step) for one in txn.incidents]
    moves = [(str(m.kind), m.step, m.code, m.reason) for m in edge.moves]
    what = entry.type or entry.timer or entry.kind
    return f"{what} {entry.step!r} {entry.causation_id} on {txn.status} {steps} {incidents}: {moves}"


# -- what each edge must keep


def answered(edge: Edge) -> str:
    """An act is carried out, or refused with its reason and nothing changed."""
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
        return "closed, and an act changes more than an incident"
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


@pytest.mark.parametrize("name", SAGAS)
@pytest.mark.parametrize("broken", [answered, closed_is_final, one_effect_one_reversal])
def test_of_every_act(name: str, broken: Callable[[Edge], str]) -> None:
    assert faults(name, broken)[:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_what_a_trace_proposes_is_carried_out(name: str) -> None:
    """Wherever an incident is open something is proposed, and none of it is refused, unless its cause is as it was."""
    found = walk(name)
    facts = SagaFacts.of(found.saga).steps
    wrong = []
    for place in found.places.values():
        if not place.edges:
            continue  # nothing was tried there
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
    assert wrong[:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_what_is_carried_out_for_an_incident_is_proposed(name: str) -> None:
    """Where nothing else has to be done first (a release, what is put off), people are told each ``retry`` and ``skip`` that
    is carried out for a step with an incident."""
    found = walk(name)
    facts = SagaFacts.of(found.saga).steps
    wrong = []
    for place in found.places.values():
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
    assert wrong[:5] == []


def test_the_page_says_what_the_acts_do() -> None:
    """docs/acts.md is what comes of every act in every state. If it differs, make it anew: ``unit.acts_page`` says how."""
    text = (Path(__file__).parents[2] / "docs" / "acts.md").read_text(encoding="utf-8")
    assert text == page(map(walk, SAGAS))


# -- the way forward


@pytest.mark.parametrize("name", SAGAS)
def test_from_every_state_there_is_a_way_to_an_end_besides_close(name: str) -> None:
    found = walk(name)
    lost = set(found.places.values()) - with_a_way(found, lambda edge: edge.act != acts.CLOSE)
    assert [tell_place(place) for place in lost][:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_people_alone_can_deal_with_every_incident(name: str) -> None:
    """By retry and skip, though no service ever answers again."""
    found = walk(name)
    kinds = (acts.RETRY, acts.SKIP)
    good = {place for place in found.places.values() if not place.txn.incidents or not place.edges}
    able = leading_to(found, good, lambda edge: edge.act in kinds and not is_refusal(edge))
    lost = [place for place in found.places.values() if place not in able and not place.txn.held]
    assert [tell_place(place) for place in lost][:5] == []


def with_a_way(found: Walk, counts: Callable[[Edge], bool]) -> set[Place]:
    ended = {
        place
        for place in found.places.values()
        if (place.txn.status in ENDED and not place.txn.incidents and not place.txn.put_off)
        or place.txn.status is Status.OBSERVED
        or not place.edges  # nothing was tried there
    }
    return leading_to(found, ended, counts)


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
    return f"{txn.status} {steps} {incidents} held {place.is_held} {bool(txn.held)} put off {txn.put_off} failing {txn.failing}"
