"""No transaction grows for ever: whatever brings more than the limits, it is said which, and what to do (shard-14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kantor_orchestrator.core import limits
from kantor_orchestrator.core.saga import Compensation, Saga
from kantor_orchestrator.core.transaction import Kind, Status
from unit.core_kit import Story
from unit.saga_kit import (
    act,
    begun,
    build,
    command,
    composite,
    confirm,
    event,
    fields,
    message,
    reply,
    step,
)

BIG = "x" * 60_000
LIMIT = "more than 262,144 characters and values"


def parcels(**facts: Any) -> Saga:
    """``a`` answers; then one parcel for each of what ``each`` gives, booked with a field of 50 KB each."""
    book = command("parcels.book", sends={"line": lambda s: s["item"], "text": lambda _: "x" * 50_000})
    known: dict[str, Any] = {"each": lambda s: s["start"]["lines"], "after": ("a",)}
    return build(event("a"), composite("parcels", book, **(known | facts)))


def reasons(story: Story) -> list[tuple[str, str]]:
    return [(one.step, one.reason) for one in story.txn.incidents]


def test_a_message_that_is_too_much_is_put_off() -> None:
    """What it would add to has nearly all that may be kept; a person can do without it, and the next one is taken."""
    story = begun(build(event("a"), event("b"), event("c")), line=BIG * 3)
    story.when("ADone", payload={"line": BIG})
    story.when("BDone", payload={"line": BIG})
    ((_, reason),) = reasons(story)
    assert LIMIT in reason
    assert "kantor skip" in reason
    assert (story.steps["a"], story.steps["b"], state(story)) == ("succeeded", "active", "parked")
    act(story, "skip")
    story.when("BDone", payload={"line": "small"})
    assert (story.steps["b"], state(story)) == ("succeeded", "running")


def state(story: Story) -> str:
    return str(story.status)


def test_many_small_messages_are_counted_now_and_then() -> None:
    """Each is too small to look at all that is kept."""
    story = begun(build(event("a", kind="signal")), line="")
    story.txn.entries = 49
    story.txn.captured["before"] = {"line": BIG * 5}
    story.when("ADone", payload={"line": "x"})
    assert LIMIT in reasons(story)[0][1]


def test_a_start_that_is_too_much_starts_nothing() -> None:
    """It is deferred, and listed."""
    story = begun(build(event("a")), line=BIG * 5)
    assert LIMIT in reasons(story)[0][1]
    assert (story.txn.saga, state(story)) == ("", "parked")


def test_early_messages_that_are_too_much_are_put_off() -> None:
    """Nothing has started yet."""
    story = Story(build(event("a")))
    for _ in range(5):
        story.when("ADone", payload={"line": BIG})
    assert len(story.txn.early) == 4
    assert LIMIT in reasons(story)[0][1]


def test_items_that_an_expression_builds_are_an_incident_of_their_step() -> None:
    """The answer that led there is taken: what happened is known, and can be reversed."""
    story = begun(parcels(each=lambda _: [BIG] * 5), lines=[])
    story.when("ADone", payload={})
    ((where, reason),) = reasons(story)
    assert (where, story.steps["a"]) == ("parcels", "succeeded")
    assert LIMIT in reason


def test_what_is_returned_is_counted() -> None:
    """The end waits for a person."""
    saga = build(event("a"), returns=fields(all=lambda _: BIG * 5))
    story = begun(saga).when("ADone", payload={})
    assert LIMIT in reasons(story)[0][1]
    assert state(story) == "running"


def test_a_signal_that_is_too_much_is_refused() -> None:
    """The person who sends it hears the limit."""
    story = begun(build(step("a", kind="signal", succeeds_on="x.ADone")))
    act(story, "signal", "a", text=BIG * 5)
    assert story.log[-1].kind is Kind.IGNORED
    assert LIMIT in story.log[-1].reason
    assert story.steps["a"] == "active"


def test_too_many_messages_are_put_off_but_answers_to_its_own_commands() -> None:
    """Without those it could not end."""
    story = begun(build(command("a"), event("b")))
    story.txn.entries = limits.MOST_ENTRIES
    reply(story, "ADone", "a")
    story.when("BDone")
    assert (story.steps["a"], story.steps["b"]) == ("succeeded", "active")
    assert "10,001 messages count for the transaction already, the most is 10,000" in reasons(story)[0][1]


def test_many_large_commands_go_out_in_portions() -> None:
    """A hundred of 50 KB would not fit into a record of the log: the next begin once the first are answered."""
    story = begun(parcels(), lines=[f"L{n}" for n in range(100)])
    story.when("ADone", payload={})
    first = len(story.commands)
    assert 10 < first < 50
    for number in range(100):
        reply(story, "BookDone", f"parcels[{number}].book")
    assert (len(story.commands), reasons(story), story.status) == (100, [], Status.COMPLETED)


def dear(value: Any) -> Callable[[Any], Any]:
    """An expression that takes 600,000 steps."""

    def evaluate(scope: Any) -> Any:
        scope.cost.steps += 600_000
        return value

    return evaluate


def test_members_whose_expressions_are_dear_begin_in_portions() -> None:
    """The engine's other transactions have their turn in between: the next begin once the first are answered."""
    book = command("parcels.book", sends={"total": dear(1)}, reversible=True)
    story = begun(build(composite("parcels", book, each=lambda s: s["start"]["lines"])), lines=[*"abcdef"])
    assert len(story.commands) == 2
    for number in range(6):
        reply(story, "BookDone", f"parcels[{number}].book")
    assert (len(story.commands), reasons(story), story.status) == (6, [], Status.COMPLETED)


def test_compensations_whose_expressions_are_dear_are_sent_in_portions() -> None:
    """As commands are."""
    back = Compensation(command=message("ReverseBook", total=dear(1)), confirmed_on="x.BookReversed")
    book = command("parcels.book", compensation=back)
    saga = build(
        composite("parcels", book, each=lambda s: s["start"]["lines"]), event("z", after=["parcels"])
    )
    story = begun(saga, lines=[*"abcdef"])
    for number in range(6):
        reply(story, "BookDone", f"parcels[{number}].book")
    story.when("ZFailed")
    assert len(story.commands) == 6 + 2
    for number in reversed(range(6)):
        confirm(story, "BookReversed", f"parcels[{number}].book")
    assert (len(story.commands), reasons(story), story.status) == (12, [], Status.COMPENSATED)


def test_more_steps_than_one_entry_may_take_are_one_incident() -> None:
    """Nothing is under way that could wake it: a person is told the step, the limit and what to do; ``retry`` goes on from there."""
    item = event("parcels.sent", when=dear(False))
    saga = build(composite("parcels", item, each=lambda s: s["start"]["lines"]))
    story = begun(saga, lines=[*"abcdefghijklmnopqrst"])
    ((where, reason),) = reasons(story)
    assert where == "parcels[9].sent"
    assert (
        "guard of parcels[9].sent: the expressions that one message leads to took more than 5,000,000 steps"
        in reason
    )
    assert "kantor retry" in reason
    act(story, "retry")
    ((where, _),) = reasons(story)
    assert where == "parcels[18].sent"
    act(story, "retry")
    assert (reasons(story), story.status) == ([], Status.COMPLETED)


def test_a_message_that_takes_too_many_steps_to_find_its_member_is_put_off() -> None:
    """Whose it is can't be said: a person can do without it."""
    sent = event("parcels.sent", match=dear(False))
    story = begun(
        build(composite("parcels", sent, each=lambda s: s["start"]["lines"])), lines=[*"abcdefghijkl"]
    )
    story.when("SentDone", payload={"line": "a"})
    ((_, reason),) = reasons(story)
    assert (
        "match of parcels[9].sent: the expressions that one message leads to took more than 5,000,000 steps"
        in reason
    )


@pytest.mark.parametrize("how_many", [0, 100])
def test_what_only_observes_does_not_wait_for_answers_to_commands_that_are_not_sent(how_many: int) -> None:
    """Whether so many are known to have happened, or may have. Nobody answers them: it goes on as far as one record of the log takes them, and then a person lets it go on."""
    back = Compensation(
        command=message("ReverseBook", text=lambda _: "x" * 50_000), confirmed_on="x.BookReversed"
    )
    book = command("parcels.book", compensation=back)
    parcels = composite("parcels", book, each=lambda s: s["start"]["lines"])
    saga = build(parcels, event("z", after=["parcels"]), mode="observe")
    story = begun(saga, lines=[f"L{number}" for number in range(100)])
    for number in range(how_many):
        reply(story, "BookDone", f"parcels[{number}].book")
    story.when("ZFailed")
    ((_, reason),) = reasons(story)
    assert "has, with what goes out beside it, more than 3,145,728 characters and values" in reason
    act(story, "retry")
    assert (reasons(story), story.status) == ([], Status.COMPENSATED)


def test_one_command_that_is_too_large_is_an_incident_of_its_step() -> None:
    """It says for which step, and what to do."""
    sends = {f"f{n}": lambda _: "x" * 200_000 for n in range(20)}
    story = begun(build(command("a", sends=sends)))
    ((where, reason),) = reasons(story)
    assert where == "a"
    assert "more than 3,145,728 characters and values: send fewer fields" in reason


def test_a_long_reason_is_cut() -> None:
    """The whole text is in the message itself."""
    story = begun(build(event("a")))
    story.when("AFailed", payload={"reason": "x" * 1_000_000})
    assert len(story.txn.steps["a"].reason) == limits.MOST_TEXT
