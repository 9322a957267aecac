"""What a child transaction and its parent say to each other (core/parents.py)."""

from __future__ import annotations

from kantor.envelope import STEP_FAILED, TRANSACTION_ENDED
from kantor_orchestrator.core.entry import Entry, timers_of
from kantor_orchestrator.core.parents import NEVER_BEGAN
from kantor_orchestrator.core.saga import ASK, Command, Compensation, Retry, Step
from kantor_orchestrator.core.transaction import POISON, Kind
from unit.core_kit import BEGIN, Story, seconds
from unit.saga_kit import act, begun, build, command, confirm, message, reply, state, step

DAY = 86_400_000


def child_step(attempts: int = 12) -> Step:
    return step(
        "c",
        kind="saga",
        child="small",
        command=message("BeginSmall"),
        succeeds_on=TRANSACTION_ENDED,
        timeout=10_000,
        compensation=Compensation(
            command=Command("kantor.CompensateTransaction", "cmd.kantor.v1"),
            confirmed_on=TRANSACTION_ENDED,
            timeout=30 * DAY,
            retry=Retry(attempts=attempts, jitter="none"),
        ),
    )


def parent() -> Story:
    """A parent that has sent its child's start."""
    return begun(build(child_step()))


def child_of(story: Story, *steps: Step) -> Story:
    """Its child, whose start has not come."""
    child = Story(build(*(steps or (command("a", compensation=reverse_a()),))))
    child.txn.id = story.command("BeginSmall").about
    return child


def reverse_a() -> Compensation:
    return Compensation(command=message("ReverseA"), confirmed_on="x.AReversed")


def start(story: Story, child: Story) -> None:
    sent = story.command("BeginSmall")
    child.when("Begun", id=sent.id, source="kantor", parent="t-1", parent_command=sent.id, payload={})


def ask(story: Story, child: Story, **facts: int) -> None:
    """The parent's last question reaches the child."""
    sent = story.command("CompensateTransaction")
    assert sent.about == child.txn.id
    child.when(
        "CompensateTransaction",
        id=sent.id,
        source="kantor",
        parent="t-1",
        parent_command=sent.id,
        payload={},
        **facts,
    )


def answer(story: Story, child: Story) -> None:
    """The child's last answer reaches the parent."""
    found = next(one for one in reversed(child.commands) if one.kind == "answer")
    assert found.about == "t-1"
    short = found.type.rpartition(".")[2]
    story.when(
        short, id=found.id, source="kantor", causation_id=found.causation_id, payload=dict(found.fields)
    )


def end(story: Story, child: Story) -> None:
    """The child's end, as it is told when it comes, reaches the parent."""
    payload = {"status": state(child)}
    story.when("TransactionEnded", causation_id=child.txn.parent_command, payload=payload)


def refuse(child: Story) -> None:
    """Kafka takes nothing of what the child has sent last."""
    last = child.commands[-1]
    reason = {"reason": "cmd.kantor.v1: TOPIC_AUTHORIZATION_FAILED"}
    child.deliver(Entry("refused", child.at + 10, type=last.type, causation_id=last.id, payload=reason))
    assert [one.kind for one in child.txn.incidents] == ["refused"]


def cancelled() -> tuple[Story, Story]:
    """The parent is cancelled, and its child's start has not come."""
    story = parent()
    child = child_of(story)
    act(story, "cancel")
    assert story.steps["c"] == "compensating"
    return story, child


# -- the start has not come


def test_a_child_that_never_began_says_so() -> None:
    """Its reversal is asked for before its start has come: there is nothing to reverse, and the parent ends."""
    story, child = cancelled()
    ask(story, child)
    assert child.kinds() == [Kind.NEVER_BEGAN, Kind.ANSWERED]
    answer(story, child)
    assert (story.steps["c"], state(story)) == ("compensated", "compensated")


def test_a_start_that_comes_after_its_reversal_does_nothing() -> None:
    """Kafka may have refused it, and whoever takes the parent's shard sends it again: nothing begins, nobody is told."""
    story, child = cancelled()
    ask(story, child)
    answered = len(child.commands)
    start(story, child)
    assert child.ignored() == ["reversed_before_start"]
    assert len(child.commands) == answered
    assert (state(child), child.steps) == ("compensated", {})


def test_a_child_that_never_began_is_asked_again() -> None:
    """Each question has its answer, for what was told before may be lost; the child does not end twice."""
    story, child = cancelled()
    ask(story, child)
    first = child.commands[-1]
    story.fails("c", retryable=True, causation_id=story.command("CompensateTransaction").id)
    story.wait(seconds(2))
    ask(story, child)
    assert child.commands[-1].id != first.id
    assert child.kinds().count(Kind.NEVER_BEGAN) == 1
    answer(story, child)
    assert state(story) == "compensated"


def test_it_is_known_for_a_month_that_it_never_began() -> None:
    """As long as that of any child that was reversed; no timer is set meanwhile."""
    story, child = cancelled()
    ask(story, child)
    assert child.txn.expires_at == child.txn.ended_at + 30 * DAY
    assert timers_of(child.txn) == []


def test_a_question_waits_behind_a_start_that_cannot_be_read() -> None:
    """The child may begin yet: a person says whether. Done without its start, it never began."""
    story, child = cancelled()
    sent = story.command("BeginSmall")
    child.deliver(
        Entry("command", BEGIN, type="x.Begun", id=sent.id, source="kantor", parent="t-1", journal_offset=3, error="?")
    )  # fmt: skip
    ask(story, child)
    assert [one.kind for one in child.txn.incidents] == [POISON]
    assert Kind.NEVER_BEGAN not in child.kinds()
    waits = child.txn.put_off[1]
    act(child, "skip")
    asked = story.command("CompensateTransaction")
    child.when("CompensateTransaction", id=asked.id, source="kantor", parent="t-1", again=waits, payload={})
    assert child.txn.put_off == []
    answer(story, child)
    assert state(story) == "compensated"


def test_a_child_that_was_closed_before_it_began_says_that_it_never_began() -> None:
    """Closed it stays; its parent is answered, and waits for nobody."""
    story, child = cancelled()
    child.when("ADone")
    act(child, "close")
    ask(story, child)
    assert state(child) == "closed"
    answer(story, child)
    assert state(story) == "compensated"


def test_a_child_that_was_closed_while_its_parents_question_waited_unread_answers_it() -> None:
    """Behind something else that can't be read; the parent waits for nobody."""
    story, child = cancelled()
    child.when("Begun", error="bytes do not fit")
    ask(story, child)
    question = child.txn.put_off[1]
    assert child.sent() == []
    act(child, "close")
    ask(story, child, again=question, journal_offset=1_000)
    assert (state(child), child.txn.put_off) == ("closed", [])
    answer(story, child)
    assert state(story) == "compensated"


def test_who_is_nobodys_child_is_not_asked() -> None:
    """A question without a parent is kept as any message that comes before its start."""
    _, child = cancelled()
    child.when("CompensateTransaction", source="kantor", payload={})
    assert child.kinds() == [Kind.KEPT]


# -- what the parent makes of it


def test_a_parent_that_knows_better_does_not_believe_that_its_child_never_began() -> None:
    """A child forgets its end after a month. What it did then stands: a person must know."""
    story = begun(build(child_step(), command("b", after=["c"])))
    reply(story, "TransactionEnded", "c", status="completed")
    act(story, "cancel")
    child = child_of(story)
    ask(story, child)
    answer(story, child)
    assert story.steps["c"] == "incident"
    assert [(one.kind, one.step) for one in story.txn.incidents] == [("compensation_failed", "c")]


def test_an_answer_closes_the_incident_of_a_question_that_was_refused() -> None:
    """The question was refused, and has left all the same: sent again by whoever took the shard."""
    story, child = cancelled()
    asked = story.command("CompensateTransaction")
    refused = {"reason": "cmd.kantor.v1: no such topic"}
    story.deliver(Entry("refused", story.at + 10, causation_id=asked.id, payload=refused))
    assert story.steps["c"] == "incident"
    ask(story, child)
    answer(story, child)
    assert (state(story), story.txn.incidents) == ("compensated", [])


def test_only_a_child_never_began() -> None:
    """What a service says under that code is a failure of its compensation as any other."""
    saga = build(command("a", compensation=reverse_a()), command("b"))
    story = begun(saga)
    act(story, "cancel")
    asked = story.command("ReverseA").id
    story.fails("a", NEVER_BEGAN, causation_id=asked)
    assert story.steps["a"] == "incident"


# -- answers that Kafka refuses


def test_that_it_never_began_is_told_again() -> None:
    """A person mends the topic and says retry, skip or close: the parent hears what it was not told."""
    for how in ("retry", "skip", "close"):
        story, child = cancelled()
        ask(story, child)
        refuse(child)
        assert child.txn.expires_at == 0
        act(child, how)
        assert child.txn.incidents == []
        assert child.txn.expires_at > child.at
        answer(story, child)
        assert state(story) == "compensated"


def test_other_acts_on_a_child_that_never_began_are_refused() -> None:
    """They say why, whatever they name, and change nothing."""
    story, child = cancelled()
    ask(story, child)
    before = child.txn.copy()
    for what, path in (("cancel", ""), ("signal", "a"), ("retry", "a"), ("skip", "nowhere"), ("retry", "")):
        act(child, what, path)
    act(child, "start", offset=3)
    assert child.ignored() == ["act_impossible"] * 6
    assert (child.txn.status, child.txn.steps) == (before.status, before.steps)


def test_an_end_is_told_as_the_answer_to_the_last_question() -> None:
    """That a child can't be reversed yet was refused: its end tells the parent, which waits for that answer."""
    pivot = command("p", pivot=True, in_doubt=ASK, ask=message("Ask"))
    story = parent()
    child = child_of(story, command("a", compensation=reverse_a()), pivot)
    start(story, child)
    reply(child, "ADone", "a")
    act(story, "cancel")
    ask(story, child)
    assert child.commands[-1].type == STEP_FAILED
    refuse(child)
    act(child, "retry")
    reply(child, "PFailed", "p")
    confirm(child, "AReversed", "a")
    assert state(child) == "compensated"
    end(story, child)
    assert state(story) == "compensated"


def completed() -> tuple[Story, Story]:
    """A child that is completed, past its pivot; its parent was told nothing, and is cancelled."""
    story = parent()
    child = child_of(story, command("p", pivot=True, in_doubt=ASK, ask=message("Ask")))
    start(story, child)
    reply(child, "PDone", "p")
    assert state(child) == "completed"
    act(story, "cancel")
    return story, child


def test_a_child_that_is_completed_is_not_taken_for_reversed() -> None:
    """That there is no way back was refused; a person has its end told again: it is asked once more, and says so."""
    story, child = completed()
    ask(story, child)
    refuse(child)
    act(child, "retry")
    answer(story, child)
    assert story.steps["c"] == "compensating"
    story.wait(seconds(2))
    ask(story, child)
    answer(story, child)
    assert story.steps["c"] == "incident"
    assert "no way back" in story.txn.incidents[0].reason


def test_a_child_that_completes_is_asked_once_more_only() -> None:
    """While its reversal is about to be asked for again, its end changes nothing."""
    story, child = completed()
    ask(story, child)
    end(story, child)
    end(story, child)
    assert story.ignored() == ["not_reversed"]
    assert story.kinds().count(Kind.COMPENSATION_RETRY_SCHEDULED) == 1


def test_a_child_that_stays_completed_is_a_persons() -> None:
    """When all attempts are used up."""
    story = begun(build(child_step(attempts=1)))
    act(story, "cancel")
    asked = story.command("CompensateTransaction").id
    story.when("TransactionEnded", causation_id=asked, payload={"status": "completed"})
    assert story.steps["c"] == "incident"


def test_what_a_person_has_told_again_is_another_message() -> None:
    """It may differ from what was read of the first one, which Kafka may have taken after all."""
    story, child = completed()
    ask(story, child)
    ids = []
    for _ in range(2):
        refuse(child)
        act(child, "retry")
        ids.append(child.commands[-1].id)
    assert ids[0] != ids[1]
    assert all(one.causation_id == child.txn.parent_command for one in child.commands[-2:])


def test_a_child_that_stands_is_told_to_who_closed_its_parent() -> None:
    """It was to be reversed, and its end says that it was not: neither one that is completed, nor one that is closed, is."""
    for status in ("completed", "closed"):
        story, _ = cancelled()
        asked = story.command("CompensateTransaction").id
        act(story, "close")
        story.when("TransactionEnded", causation_id=asked, payload={"status": status})
        assert [(one.kind, one.step) for one in story.txn.incidents] == [("after_close", "c")]
