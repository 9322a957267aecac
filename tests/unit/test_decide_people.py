"""What people say and are told, in states that are seldom reached: found by walking all of them (``test_decide_acts``)."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import ASK, OBSERVE, WAIT
from kantor_orchestrator.core.transaction import BY_HAND, Kind, Transaction, Transition
from kantor_orchestrator.formats.snapshots import decision_record
from kantor_orchestrator.operations.acts import Move, moves_of, refusal
from unit.core_kit import BEGIN, Story, seconds
from unit.saga_kit import act, begun, build, command, composite, confirm, message, reply, state, step
from unit.small_sagas import throws

CREDIT = command("credit", after=["reserve"], pivot=True, in_doubt=WAIT)


def unanswered(*, failing: bool) -> Story:
    """The transfer is the pivot, and outcome unknown: no reply; ``failing``: the deadline has passed meanwhile."""
    settle = command("settle", after=["credit"])
    saga = build(command("reserve", reversible=True), CREDIT, settle, deadline=15_000 if failing else 0)
    story = reply(begun(saga), "ReserveDone", "reserve")
    story.wait(seconds(16)).wait(seconds(16))
    assert [incident.kind for incident in story.txn.incidents] == ["no_answer"]
    assert bool(story.txn.failing) is failing
    story.sent()
    return story


def told(story: Story) -> str:
    """What the person is told of the last operator action."""
    return next(t.reason for t in reversed(story.log) if t.kind is Kind.IGNORED)


@pytest.mark.parametrize("failing", [True, False])
def test_a_pivot_that_a_person_says_was_done_is_done(failing: bool) -> None:
    """There is no way back from it: what came before stays, also when a later step fails."""
    story = act(unanswered(failing=failing), "skip", "credit", "transferred, ticket 7")
    assert story.sent() == ["DoSettle"]
    reply(story, "SettleFailed", "settle")
    assert (state(story), story.sent()) == ("running", [])
    assert {incident.kind for incident in story.txn.incidents} == {"after_pivot"}


@pytest.mark.parametrize("failing", [True, False])
def test_a_pivot_that_a_person_says_did_not_happen_lets_the_rest_be_reversed(failing: bool) -> None:
    """``compensate`` says so; ``cancel`` does not, and is refused."""
    story = act(unanswered(failing=failing), "cancel")
    assert (story.ignored(), story.sent()) == (["act_impossible"], [])
    act(story, "compensate", why="no such transfer, ticket 7")
    assert (state(story), story.steps["credit"], story.sent()) == (
        "compensating",
        "failed",
        ["ReverseReserve"],
    )
    assert story.txn.steps["credit"].code == BY_HAND
    confirm(story, "ReserveReversed", "reserve")
    assert state(story) == "compensated"


def test_a_pivot_that_took_effect_in_vain_is_told_of_twice() -> None:
    """The second message tells nothing new; it is not a transition that the table does not have."""
    story = reply(begun(build(command("p", pivot=True, in_doubt=WAIT))), "PFailed", "p")
    reply(story, "PDone", "p")
    assert story.steps["p"] == "incident"
    reply(story, "PDone", "p")
    assert (story.ignored(), len(story.txn.incidents)) == (["already_succeeded"], 1)


def test_a_question_that_can_not_be_asked_again_is_an_answer() -> None:
    """A person has it asked again, and its field throws as before: the person is told so, not left without an answer."""
    ask = message("Ask", x=throws)
    story = begun(build(command("p", pivot=True, in_doubt=ASK, ask=ask))).wait(seconds(11))
    act(story, "retry", "p")
    assert told(story) == (
        "it fails as before (field x of p: ValueError: no such field): fix that first, or skip it"
    )


def test_what_was_told_before_a_person_reversed_it_was_reversed_by_hand() -> None:
    """Its success is read later than the person's word, and is not reversed a second time. One that is told after it is."""
    done = build(command("a", reversible=True), command("z"))
    story = reply(begun(done), "ZFailed", "z")
    story.wait(seconds(1000))
    act(story, "skip", "a", "called back by phone")
    assert state(story) == "compensated"
    by_hand = story.at
    story.when("ADone", sent_at=BEGIN, causation_id=story.txn.steps["a"].command_id)
    assert (state(story), story.ignored()[-1]) == ("compensated", "already_reversed")
    story.sent()
    story.when("ADone", sent_at=by_hand + 1, causation_id=story.txn.steps["a"].command_id)
    assert (state(story), story.sent()) == ("compensating", ["ReverseA"])


def test_a_late_effect_of_what_is_only_observed_ends_as_well() -> None:
    """Nobody confirms a reversal that is not sent: the transaction does not stay open for ever."""
    story = begun(build(command("a", reversible=True), mode=OBSERVE))
    reply(story, "AFailed", "a")
    reply(story, "ADone", "a")
    assert (state(story), story.steps["a"]) == ("compensated", "compensated")


def test_what_is_closed_takes_no_signal() -> None:
    """The person is told that it is closed."""
    story = act(begun(build(step("s", kind="signal", succeeds_on="x.SDone"))), "close")
    act(story, "signal", "s")
    final = "it is closed, and that is final: what is left must be done by hand"
    assert (told(story), story.steps["s"]) == (final, "active")


@pytest.mark.parametrize("what", ["retry", "skip"])
def test_a_step_that_there_is_not(what: str) -> None:
    """The person has mistyped it, or named a member where a step in it is meant."""
    story = begun(build(composite("g", command("g.m"), each=lambda _: [1]), command("z")))
    act(story, what, "gg")
    assert told(story) == "there is no step gg: name another"
    act(story, "retry", "g[0]")
    assert told(story) == "g[0] is a member: name a step in it"


def test_an_act_that_is_carried_out_is_no_refusal_whatever_is_ignored_besides() -> None:
    """A close tells what it makes of the messages that had waited; a retry of everything, what it can't retry."""
    ended = Transition(Kind.ENDED, 7, code="closed", reason="closed by ann: so")
    ignored = Transition(Kind.IGNORED, 7, code="closed", reason="it is closed: x.AFailed changes nothing")

    def moves(*made: Transition) -> list[Move]:
        return moves_of(decision_record(Transaction("t-1"), Entry("act", 7), list(made), [], 0, 0))

    assert refusal(moves(ended, ignored)) == ""
    assert refusal(moves(ignored)) == ignored.reason
