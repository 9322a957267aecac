"""What the simulation found: groups that are bound by a pivot, steps that are waited for, composites not begun."""

from __future__ import annotations

from kantor_orchestrator.core.entry import TIMEOUT, Entry, timers_of
from kantor_orchestrator.core.saga import ROOT, SEQUENTIAL, WAIT, Command, Compensation, Retry, Saga, Step
from unit.core_kit import Story, seconds

START = "x.Begun"


def step(path: str, *after: str, **facts: object) -> Step:
    """A command, compensated unless it is a pivot."""
    name, parent = path.rpartition(".")[2], path.rpartition(".")[0]
    reverse = Compensation(command=Command(f"{name}.Reverse", "cmd"), confirmed_on=f"{name}.Reversed")
    known: dict[str, object] = {
        "path": path,
        "parent": parent,
        "after": after,
        "kind": "command",
        "command": Command(f"{name}.Do", "cmd"),
        "succeeds_on": f"{name}.Done",
        "fails_on": (f"{name}.Refused",),
        "timeout": seconds(5),
        "compensation": None if facts.get("pivot") else reverse,
        "in_doubt": WAIT if facts.get("pivot") else "compensate",
    }
    return Step(**(known | facts))  # type: ignore[arg-type]


def group(path: str, *inside: str, **facts: object) -> Step:
    parent = path.rpartition(".")[0]
    return Step(path=path, parent=parent or ROOT, kind="composite", steps=inside, **facts)  # type: ignore[arg-type]


def begun(*steps: Step, **facts: object) -> Story:
    saga = Saga("s", 1, START, {one.path: one for one in steps}, **facts)  # type: ignore[arg-type]
    story = Story(saga)
    return hear(story, START)


def hear(story: Story, type_: str, of: str = "") -> Story:
    """An event; ``of``: the type of the command that it answers (the last one of it)."""
    cause = next((c.id for c in reversed(story.commands) if c.type == of), "")
    number = len(story.log)
    return story.deliver(Entry("event", story.at + 10, type_, f"{type_}-{number}", "x", cause, payload={}))


def act(story: Story, what: str, path: str = "") -> Story:
    number = len(story.log)
    return story.deliver(
        Entry("act", story.at, what, f"a-{number}", "acts", payload={"why": "so"}, step=path, actor="ann")
    )


def test_an_early_effect_in_a_composite_that_never_begins_is_reversed() -> None:
    """A service acts by itself before the composite is reached that its step is in."""
    early = step("g.b", command=None, kind="event")
    story = begun(step("a"), group("g", "g.b", after=("a",)), early)
    hear(story, "b.Done")
    hear(story, "a.Refused", "a.Do")
    assert story.sent() == ["Do", "Reverse"]
    assert (story.status, story.steps["g.b"]) == ("compensating", "compensating")


def test_a_group_whose_pivot_is_under_way_is_not_reversed_yet() -> None:
    """Its answer decides: the effects before it stay, or are reversed."""
    for answer, then in (("p.Done", "completed"), ("p.Refused", "compensating")):
        steps = (group("g", "g.a", "g.p"), step("g.a"), step("g.p", "g.a", pivot=True), step("z"))
        story = begun(*steps)
        hear(story, "a.Done", "a.Do")
        hear(story, "z.Refused", "z.Do")
        assert (story.status, story.steps["g.a"]) == ("compensating", "succeeded")
        hear(story, answer, "p.Do")
        kept = then == "completed"
        assert story.steps["g.a"] == ("succeeded" if kept else "compensating")
        assert story.status == ("compensated" if kept else "compensating")


def test_a_member_that_its_pivot_binds_goes_on_when_nobody_needs_it() -> None:
    """The transaction ends after it; a refusal reverses what the member did before."""
    story = begun(
        group("g", "g.a", "g.p", each=lambda _: [1, 2], need=1),
        step("g.a"),
        step("g.p", "g.a", pivot=True),
    )
    for command in [c for c in story.commands if c.type == "a.Do"]:
        story.deliver(Entry("event", story.at, "a.Done", command.id, "a", command.id, payload={}))
    one, other = [c for c in story.commands if c.type == "p.Do"]
    story.deliver(Entry("event", story.at, "p.Done", "1", "p", one.id, payload={}))
    assert (story.status, story.steps["g"]) == ("running", "succeeded")
    story.deliver(Entry("event", story.at, "p.Refused", "2", "p", other.id, payload={}))
    assert story.sent()[-1] == "Reverse"
    hear(story, "a.Reversed", "a.Reverse")
    assert story.status == "completed"


def test_in_flight_and_waited_for_becomes_visible() -> None:
    """A step that is waited for has the time that it had; then a person is asked, and an answer settles that."""
    story = begun(step("w", in_doubt=WAIT), step("z"))
    hear(story, "z.Refused", "z.Do")
    assert story.steps["w"] == "in_doubt"
    assert [timer[1] for timer in timers_of(story.txn)] == [TIMEOUT]
    story.wait(seconds(6))
    assert [incident.kind for incident in story.txn.incidents] == ["no_answer"]
    hear(story, "w.Refused", "w.Do")
    assert (story.status, story.txn.incidents) == ("compensated", [])


def test_one_after_the_other_also_for_late_effects() -> None:
    """``sequential``: a late effect waits for the compensation that is under way."""
    story = begun(step("a"), step("b", "a"), step("z"), compensation=SEQUENTIAL)
    hear(story, "a.Done", "a.Do")
    hear(story, "z.Refused", "z.Do")
    assert [c.type for c in story.commands if c.type.endswith("Reverse")] == ["b.Reverse", "a.Reverse"]
    hear(story, "b.Reversed", "b.Reverse")
    hear(story, "b.Done", "b.Do")
    assert story.steps["b"] == "succeeded"
    hear(story, "a.Reversed", "a.Reverse")
    assert story.commands[-1].type == "b.Reverse"


def test_what_comes_after_a_failed_member_can_not_succeed() -> None:
    """``need`` counts a member that can never begin among those that failed."""
    story = begun(group("g", "g.a", "g.b", need=1), step("g.a"), step("g.b", "g.a"))
    hear(story, "a.Refused", "a.Do")
    assert (story.steps["g"], story.status) == ("failed", "compensated")


def test_a_closed_transaction_has_no_timers() -> None:
    """Closed while it pauses between two attempts: nothing is sent again."""
    story = begun(step("a", retry=Retry(attempts=3)))
    story.fails("a", retryable=True)
    assert timers_of(story.txn)
    act(story, "close")
    assert (story.status, timers_of(story.txn)) == ("closed", [])


def test_what_failed_after_a_members_pivot_waits_for_a_person() -> None:
    """Also when the rest is compensated: it does not end before somebody vouches for it."""
    final = step("g.f", "g.p", compensation=None)
    story = begun(group("g", "g.p", "g.f", each=lambda _: [1]), step("g.p", pivot=True), final, step("z"))
    hear(story, "p.Done", "p.Do")
    hear(story, "f.Refused", "f.Do")
    hear(story, "z.Refused", "z.Do")
    assert (story.status, len(story.txn.incidents)) == ("compensating", 1)
    act(story, "skip", "g[0].f")
    assert (story.status, story.txn.incidents) == ("compensated", [])


def past_its_pivot() -> Story:
    """A member is past its pivot, its next step under way, when another step of the saga is refused."""
    inner = step("g.p", pivot=True), step("g.t", "g.p", compensation=None)
    story = begun(step("z"), group("g", "g.p", "g.t", each=lambda _: [0]), *inner)
    hear(hear(story, "p.Done", "p.Do"), "z.Refused", "z.Do")
    assert (story.steps["g"], story.steps["g[0]"]) == ("failed", "active")
    return story


def test_a_member_past_its_pivot_goes_on_while_all_around_it_is_reversed() -> None:
    """The transaction has not ended before the member has: nothing of it is left behind."""
    story = past_its_pivot()
    assert story.status == "compensating"
    hear(story, "t.Done", "t.Do")
    assert (story.status, story.steps["g[0]"]) == ("compensated", "succeeded")
    assert timers_of(story.txn) == []


def test_a_member_that_fails_after_its_pivot_while_all_around_it_is_reversed() -> None:
    """It is a person's, who sends it forward."""
    story = hear(past_its_pivot(), "t.Refused", "t.Do")
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("after_pivot", "g[0].t")]
    act(story, "retry", "g[0].t")
    hear(story, "t.Done", "t.Do")
    assert (story.status, story.txn.incidents) == ("compensated", [])
