"""The budget of an expression: where its limits lie, and what people are told of one that exceeds them."""

from __future__ import annotations

import pytest

from kantor_orchestrator.definitions.expressions import EvaluationError, Formula
from kantor_orchestrator.definitions.metering import SIZE, STEPS, BudgetError, Meter
from unit.core_kit import Story
from unit.saga_kit import begun, build, command, reply

#: Goes through as many items as there are, for each of them.
EACH_WITH_EACH = "start.lines.all(a, start.lines.exists_one(b, a == b))"
BUILDS = "start.lines.map(a, start.lines)"


def test_steps_have_a_limit_that_may_be_reached() -> None:
    """Not passed, however few each operation takes."""
    meter = Meter()
    meter.spend(STEPS - 1)
    meter.spend(1)
    with pytest.raises(BudgetError, match="it takes more than 500,000 steps; let it go through less"):
        meter.spend(1)


def test_a_text_that_is_gone_through_costs_by_its_length() -> None:
    """A step for each 256 characters, or bytes, and one for the operation."""
    meter = Meter()
    meter.spend(STEPS - 5)
    meter.read("x" * 1_023)  # 4 steps
    meter.read(b"")
    with pytest.raises(BudgetError, match="steps"):
        meter.read("")


def test_what_is_built_has_a_limit_that_may_be_reached() -> None:
    """As much as a transaction may keep; steps are counted apart."""
    meter = Meter()
    meter.spend(STEPS)
    meter.build(SIZE)
    with pytest.raises(
        BudgetError, match="it builds more than 262,144 characters and values; let it build less"
    ):
        meter.build(1)


def test_each_evaluation_has_a_budget_of_its_own() -> None:
    """What an expression took before does not count: an engine evaluates it for ever. Other data may exceed it, and the same
    expression goes on with what is within it."""
    ask = Formula(EACH_WITH_EACH)
    within = {"start": {"lines": [str(n) for n in range(300)]}}
    beyond = {"start": {"lines": [str(n) for n in range(400)]}}
    for _ in range(3):
        assert ask(within) is True
        with pytest.raises(EvaluationError, match="steps"):
            ask(beyond)


def over_budget(story: Story) -> list[tuple[str, str]]:
    return [(one.step, one.reason) for one in story.txn.incidents]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (EACH_WITH_EACH, "it takes more than 500,000 steps; let it go through less"),
        (BUILDS, "it builds more than 262,144 characters and values; let it build less"),
    ],
)
@pytest.mark.parametrize("place", ["guard", "field"])
def test_an_expression_over_budget_is_an_incident_of_its_step(place: str, text: str, why: str) -> None:
    """It names the step, the expression and the limit; the command does not leave, other steps go on, and so does every
    transaction whose data are within the budget."""
    ask = Formula(text)
    heavy = command("a", when=ask) if place == "guard" else command("a", sends={"x": ask})
    saga = build(heavy, command("b"))
    story = begun(saga, lines=[str(n) for n in range(600)])
    ((step, reason),) = over_budget(story)
    assert (step, repr(text) in reason, why in reason) == ("a", True, True)
    assert story.sent() == ["DoB"]
    reply(story, "BDone", "b")
    assert (len(over_budget(story)), story.steps["b"], str(story.status)) == (1, "succeeded", "running")
    assert begun(build(heavy, command("b")), lines=["1"]).txn.incidents == []
