"""Whose a message is (saga-8): the one step's whose command it names, or else the only one's that may have asked for it."""

from __future__ import annotations

from typing import Any

from kantor.envelope import idempotency_key
from kantor_orchestrator.core.decision import COMPENSATION
from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story
from unit.saga_kit import act, begun, build, command, composite, confirm, event, reply, state


def two(**facts: Any) -> Story:
    """A command for each of two items, both asked."""
    return begun(
        build(
            composite("all", command("all.a", reversible=True, **facts), each=lambda _: [1, 2]), event("pay")
        )
    )


def reversing() -> Story:
    """Both have succeeded, and are reversed."""
    story = two()
    for path in ("all[0].a", "all[1].a"):
        reply(story, "ADone", path)
    return story.when("PayFailed")


def test_a_success_that_names_no_command_is_nobodys_where_two_have_asked() -> None:
    """A guess would reverse the wrong one later. It waits for a person, by name, and what the step asks goes on after that."""
    story = two().when("ADone", causation_id="")
    (incident,) = story.txn.incidents
    assert (state(story), incident.kind) == ("parked", "poison")
    assert incident.reason.endswith(
        "x.ADone from x names no command, and may be for all[0].a or all[1].a: let its service answer with ce_causationid or the "
        "command's idempotency key, or give the step a `match`"
    )
    act(story, "skip")
    assert (state(story), [story.txn.steps[p].status for p in ("all[0].a", "all[1].a")]) == (
        "running",
        ["active"] * 2,
    )
    reply(story, "ADone", "all[1].a")
    reply(story, "ADone", "all[0].a")
    assert story.txn.steps["all"].status == "succeeded"
    assert story.replayed() == story.txn


def test_it_is_no_less_a_guess_when_one_of_them_has_answered() -> None:
    """It may tell once more, under another id, what that one has told."""
    story = reply(two(), "ADone", "all[0].a").when("ADone", causation_id="")
    assert (state(story), story.txn.steps["all[1].a"].status) == ("parked", "active")


def test_a_failure_that_names_no_command_is_nobodys_where_two_have_asked() -> None:
    story = two().when("AFailed", causation_id="")
    assert (state(story), [i.kind for i in story.txn.incidents]) == ("parked", ["poison"])


def test_two_steps_that_share_a_type_are_told_apart_by_their_commands() -> None:
    """As the members of an ``each``."""
    story = begun(build(command("a", succeeds_on="x.Done"), command("b", succeeds_on="x.Done"))).when(
        "Done", causation_id=""
    )
    assert "may be for a or b: " in story.txn.incidents[0].reason
    act(story, "skip")
    reply(story, "Done", "b")
    assert {path: step.status for path, step in story.txn.steps.items()} == {"a": "active", "b": "succeeded"}


def test_a_match_tells_whose_it_is() -> None:
    story = two(match=lambda scope: scope["event"]["line"] == scope["item"])
    story.when("ADone", causation_id="", payload={"line": 2})
    assert [story.txn.steps[p].status for p in ("all[0].a", "all[1].a")] == ["active", "succeeded"]


def test_an_answer_to_an_earlier_round_is_its_steps() -> None:
    """Which has begun again since, as a person wanted."""
    story = two()
    late = story.txn.steps["all[1].a"].command_id
    reply(story, "AFailed", "all[1].a")
    act(story, "skip", "all[1].a")
    assert story.when("ADone", causation_id=late).txn.put_off == []


def test_the_only_step_that_has_asked_is_meant() -> None:
    """By services that can't name a cause (wire-15)."""
    story = begun(build(command("a", succeeds_on="x.Done"), command("b", succeeds_on="x.Done", after=["a"])))
    assert story.when("Done", causation_id="").txn.steps["a"].status == "succeeded"


def test_progress_that_names_no_command_holds_nobody_up() -> None:
    """Which of the timeouts begins again can't be said: none does, and nothing waits for it."""
    story = two(progress_on="x.AGoesOn")
    due = [story.txn.steps[path].due for path in ("all[0].a", "all[1].a")]
    story.when("AGoesOn", causation_id="")
    assert (state(story), story.ignored()) == ("running", ["no_progress"])
    assert [story.txn.steps[path].due for path in ("all[0].a", "all[1].a")] == due


def test_a_confirmation_that_names_no_command_confirms_nothing_where_two_are_reversed() -> None:
    """A guess would call an effect reversed that is still there."""
    story = reversing().when("AReversed", causation_id="")
    (incident,) = story.txn.incidents
    assert (state(story), incident.kind) == ("compensating", "poison")
    assert "may be for all[0].a or all[1].a" in incident.reason
    act(story, "skip")
    confirm(story, "AReversed", "all[1].a")
    assert story.txn.steps["all[0].a"].status == "compensating"
    assert state(confirm(story, "AReversed", "all[0].a")) == "compensated"
    assert story.replayed() == story.txn


def test_a_confirmation_may_name_its_commands_key() -> None:
    story = reversing()
    for path in ("all[1].a", "all[0].a"):
        key = idempotency_key(story.txn.id, path, COMPENSATION, 1)
        story.when("AReversed", causation_id="", idempotency_key=key)
        assert story.txn.steps[path].status == "compensated"
    assert state(story) == "compensated"


def test_a_key_that_is_nobodys_is_no_key() -> None:
    """Steps that have not begun have none."""
    story = begun(build(command("a", succeeds_on="x.Done"), command("b", succeeds_on="x.Done", after=["a"])))
    story.when("Done", causation_id="", idempotency_key="somebody's")
    assert story.txn.steps["a"].status == "succeeded"


def test_after_a_close_it_is_said_that_nobody_knows_whose_effect_it_is() -> None:
    story = act(two(), "close").when("ADone", causation_id="")
    (incident,) = story.txn.incidents
    assert (story.status, incident.kind) == (Status.CLOSED, "after_close")
    assert "whose it is can't be said" in incident.reason
