"""What was decided before its turn lets nothing begin that comes after it (saga-7, saga-9)."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.saga import Saga, Step
from unit.core_kit import Story
from unit.saga_kit import begun, build, command, composite, event, reply, state


def three(prefix: str = "", *, optional: bool = False) -> list[Step]:
    """``b`` acts by itself, and may be heard before ``a``, which it comes after; then ``c``."""
    return [
        command(f"{prefix}a", reversible=True),
        event(f"{prefix}b", after=["a"], optional=optional),
        command(f"{prefix}c", after=["b"], pivot=True),
    ]


def saga(where: str, *, optional: bool = False) -> tuple[Saga, str]:
    """With these steps at the top, in a group, or in the items of an ``each``; and the prefix of their instances."""
    if where == "top":
        return build(*three(optional=optional)), ""
    each = (lambda _: [1]) if where == "each" else None
    inner = three("g.", optional=optional)
    return build(composite("g", *inner, each=each)), "g[0]." if each else "g."


def sent(story: Story) -> list[str]:
    return [name for name in story.sent() if name == "DoC"]


@pytest.mark.parametrize("where", ["top", "group", "each"])
def test_a_success_before_its_turn_lets_nothing_begin(where: str) -> None:
    """A pivot would be asked for though what comes before it may fail yet."""
    made, prefix = saga(where)
    story = begun(made).when("BDone", causation_id="")
    assert (story.txn.steps[f"{prefix}b"].status, sent(story)) == ("succeeded", [])
    reply(story, "ADone", f"{prefix}a")
    assert sent(story) == ["DoC"]
    assert state(reply(story, "CDone", f"{prefix}c")) == "completed"


@pytest.mark.parametrize("where", ["top", "group", "each"])
def test_a_failure_of_an_optional_step_before_its_turn_lets_nothing_begin(where: str) -> None:
    made, prefix = saga(where, optional=True)
    story = begun(made).when("BFailed", causation_id="")
    assert sent(story) == []
    reply(story, "ADone", f"{prefix}a")
    assert sent(story) == ["DoC"]


@pytest.mark.parametrize("where", ["top", "group", "each"])
def test_if_what_comes_before_fails_what_comes_after_never_begins(where: str) -> None:
    made, prefix = saga(where)
    story = begun(made).when("BDone", causation_id="")
    reply(story, "AFailed", f"{prefix}a")
    assert (sent(story), state(story)) == ([], "compensated")


def test_what_comes_after_in_vain_is_no_member_that_can_succeed() -> None:
    """Two of three are needed: one has failed, one succeeded before its turn, and the third never has a turn."""
    story = begun(build(composite("g", *three("g."), need=2))).when("BDone", causation_id="")
    reply(story, "AFailed", "g.a")
    assert (state(story), story.txn.steps["g"].status) == ("compensated", "failed")
