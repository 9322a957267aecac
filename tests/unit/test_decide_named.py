"""A message that names one of the transaction's own commands is for that command's step, and for no other (saga-8)."""

from __future__ import annotations

from dataclasses import replace

from unit.core_kit import Story
from unit.saga_kit import act, begun, build, command, composite, confirm, event, reply, state


def test_an_answer_to_one_step_is_never_anothers_success() -> None:
    """Tasks and calls share their answers' types: the step that was not done would count as done."""
    story = begun(build(command("a"), command("b")))
    story.when("BDone", causation_id=story.txn.steps["a"].command_id)
    assert (story.steps, story.ignored()) == ({"a": "active", "b": "active"}, ["no_match"])


def test_an_answer_to_one_step_is_never_anothers_failure() -> None:
    story = begun(build(command("a"), command("b")))
    story.when("BFailed", causation_id=story.txn.steps["a"].command_id)
    assert story.steps == {"a": "active", "b": "active"}


def test_what_a_service_tells_besides_of_a_step_that_nobody_asks_for_counts() -> None:
    """It answers the command with both events."""
    story = begun(build(command("a"), event("c")))
    story.when("CDone", causation_id=story.txn.steps["a"].command_id)
    assert story.steps["c"] == "succeeded"


def test_a_confirmation_that_comes_once_more_is_no_success() -> None:
    """A call that compensates a call is confirmed by the same type. Of an earlier round, it looked like another effect."""
    saga = build(command("a", reversible=True, succeeds_on="x.Done"), event("pay"))
    reverse = saga.steps["a"].compensation
    assert reverse is not None
    both = replace(saga.steps["a"], compensation=replace(reverse, confirmed_on="x.Done"))
    story = begun(replace(saga, steps={**saga.steps, "a": both})).when("PayFailed")
    first = story.txn.steps["a"].compensation_id
    confirm(story, "Done", "a")
    assert state(story) == "compensated"
    reply(story, "Done", "a")  # it had been done all the same
    assert state(story) == "compensating"
    story.when("Done", causation_id=first, id="again")
    confirm(story, "Done", "a")
    assert (state(story), story.txn.incidents, story.sent().count("ReverseA")) == ("compensated", [], 2)


def assessed() -> Story:
    """A task that succeeds on what the person fills in; its service may tell only that it was done."""
    return begun(build(command("assess", bare="x.TaskDone"), command("b", after=["assess"])))


def test_a_task_that_is_done_without_its_result_waits_for_a_person() -> None:
    """Nobody was told, and the transaction was reversed when its deadline came."""
    story = reply(assessed(), "TaskDone", "assess")
    (incident,) = story.txn.incidents
    assert (state(story), incident.kind, incident.step) == ("running", "no_result", "assess")
    assert incident.reason == (
        "assess: x says that it is done (x.TaskDone), without x.AssessDone, which the step succeeds on: let it publish that, or ask again"
    )
    reply(story, "AssessDone", "assess")
    assert (story.txn.incidents, story.steps["b"]) == ([], "active")


def test_a_task_without_its_result_is_asked_for_again() -> None:
    story = reply(assessed(), "TaskDone", "assess")
    story.sent()
    act(story, "retry", "assess")
    assert (story.txn.incidents, story.sent()) == ([], ["DoAssess"])
    reply(story, "TaskDone", "assess")
    act(story, "skip", "assess")
    assert (story.txn.incidents, story.steps["assess"], story.steps["b"]) == ([], "skipped", "active")


def test_what_a_task_tells_besides_its_result_means_nothing() -> None:
    story = reply(assessed(), "AssessDone", "assess")
    reply(story, "TaskDone", "assess")
    assert (story.txn.incidents, story.ignored()) == ([], ["already_succeeded"])


def test_a_task_that_is_done_after_its_transaction_was_closed() -> None:
    """Whoever closed it must know (saga-29), whatever the task's service publishes."""
    story = assessed()
    act(story, "close")
    reply(story, "TaskDone", "assess")
    assert [incident.kind for incident in story.txn.incidents] == ["after_close"]


def test_that_something_is_done_without_naming_what_means_nothing() -> None:
    """It is recorded."""
    story = assessed().when("TaskDone", causation_id="")
    assert (story.txn.incidents, story.ignored()) == ([], ["no_match"])


def test_a_handlers_failure_is_no_guess_among_members() -> None:
    """A service that acts by itself names the event that it failed on, not the item: the wrong parcel was cancelled."""
    saga = build(
        composite(
            "all",
            event(
                "all.a",
                reversible=True,
                timeout=10_000,
                match=lambda scope: scope["event"]["line"] == scope["item"],
            ),
            each=lambda _: [1, 2],
            need=1,
        )
    )
    story = begun(saga).fails("all.a")
    assert [story.steps[path] for path in ("all[0].a", "all[1].a")] == ["active", "active"]
    (why,) = [move.reason for move in story.log if move.code == "ambiguous"]
    assert why.startswith("a failure of x names no command, and may be all[0].a's or all[1].a's: ")
    story.when("ADone", causation_id="", payload={"line": 1})
    assert (story.steps["all"], story.steps["all[0].a"], story.steps["all[1].a"]) == (
        "succeeded",
        "succeeded",
        "compensating",
    )


def test_a_handlers_failure_counts_where_it_does_not_matter_whose() -> None:
    """Both are needed, and what the other one does is compensated."""
    story = begun(build(event("a", reversible=True), event("b", reversible=True))).fails("b")
    assert (state(story), sorted(story.steps.values())) == ("compensating", ["compensating", "failed"])
