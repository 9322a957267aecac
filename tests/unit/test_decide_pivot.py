"""The pivot, steps in doubt that are asked about or waited for, deadlines and cancellations: what is decided when nobody
knows (saga-15, saga-16, saga-24, saga-33).
"""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.saga import ASK, WAIT, Cancellation, Retry, Saga
from kantor_orchestrator.core.transaction import Kind, Status
from unit.core_kit import Story, seconds
from unit.saga_kit import act, begun, build, command, composite, confirm, event, message, reply, state


def transfer(**facts: object) -> Saga:
    """Reserve, then credit (the pivot, asked about when in doubt), then settle."""
    return build(
        command("reserve", reversible=True),
        command("credit", after=["reserve"], pivot=True, in_doubt=ASK, ask=message("GetCredit")),
        command("settle", after=["credit"], retry=Retry(attempts=2, backoff=100, jitter="none")),
        **facts,
    )


def reserved(saga: Saga | None = None) -> Story:
    story = begun(saga or transfer())
    return reply(story, "ReserveDone", "reserve")


def credited() -> Story:
    return reply(reserved(), "CreditDone", "credit")


def test_before_the_pivot_there_is_a_way_back() -> None:
    """The pivot fails: what came before it is reversed."""
    story = reply(reserved(), "CreditFailed", "credit")
    assert story.sent()[2:] == ["ReverseReserve"]
    confirm(story, "ReserveReversed", "reserve")
    assert state(story) == "compensated"


def test_after_the_pivot_there_is_no_way_back() -> None:
    """A later step fails for good: nothing is reversed, a person must act."""
    story = reply(credited(), "SettleFailed", "settle")
    assert state(story) == "running"
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("after_pivot", "settle")]
    assert "ReverseReserve" not in story.sent()
    assert story.replayed() == story.txn


def test_a_person_sends_it_forward() -> None:
    """Retried by a person, in a new round with ids of its own, it succeeds, and the incident is closed."""
    story = reply(credited(), "SettleFailed", "settle")
    before = story.command("DoSettle")
    act(story, "retry", "settle")
    after = story.command("DoSettle")
    assert before.idempotency_key != after.idempotency_key
    reply(story, "SettleDone", "settle")
    assert state(story) == "completed"
    assert story.txn.incidents == []


def test_a_person_did_it_by_hand() -> None:
    """Skipped with evidence, the step satisfies what comes after it; the history says who and why."""
    story = act(reply(credited(), "SettleFailed", "settle"), "skip", "settle", "settled by hand, ticket 7")
    assert state(story) == "completed"
    skipped = next(t for t in story.log if t.kind is Kind.SKIPPED)
    assert (skipped.actor, skipped.reason) == ("ann", "ann: settled by hand, ticket 7")


def test_a_skip_needs_evidence() -> None:
    """Without a reason nothing is skipped."""
    story = act(reply(credited(), "SettleFailed", "settle"), "skip", "settle", "")
    assert story.ignored() == ["act_impossible"]


def test_the_deadline_after_the_pivot() -> None:
    """The deadline passes when there is no way back: an incident, no compensation."""
    story = reserved(transfer(deadline=5_000))
    reply(story, "CreditDone", "credit").wait(seconds(6))
    assert state(story) == "running"
    assert [i.kind for i in story.txn.incidents] == ["after_pivot"]
    reply(story, "SettleDone", "settle")
    assert state(story) == "completed"
    assert story.txn.incidents == [], "nobody needs to care any more"


@pytest.mark.parametrize("happened", [True, False])
def test_the_deadline_while_the_pivot_is_under_way(happened: bool) -> None:
    """Nobody knows whether it happened: nothing is reversed until its answer says so."""
    story = reserved(transfer(deadline=5_000)).wait(seconds(6))
    assert story.kinds()[-1] is Kind.COMPENSATION_REQUESTED
    assert state(story) == "running"
    if happened:
        reply(story, "CreditDone", "credit")
        assert [i.kind for i in story.txn.incidents] == ["after_pivot"]
        assert story.sent()[2:] == ["DoSettle"], "forward"
    else:
        reply(story, "CreditFailed", "credit")
        assert state(story) == "compensating"
        assert story.sent()[2:] == ["ReverseReserve"]
    assert story.replayed() == story.txn


@pytest.mark.parametrize("answer", ["CreditDone", "CreditFailed"])
def test_a_step_in_doubt_is_asked_about(answer: str) -> None:
    """The pivot never answers: its service is asked; the answer decides."""
    story = reserved().wait(seconds(11))
    assert story.steps["credit"] == "in_doubt"
    assert story.sent()[2:] == ["GetCredit"]
    question = story.command("GetCredit")
    story.when(answer, causation_id=question.id)
    assert story.status is (Status.RUNNING if answer == "CreditDone" else Status.COMPENSATING)
    assert story.replayed() == story.txn


def test_a_question_is_repeated_and_then_a_person_is_asked() -> None:
    """Nobody answers the questions: they are repeated with pauses, then there is an incident; never a guess."""
    story = reserved().wait(seconds(24 * 3600))
    questions = [c for c in story.commands if c.type == "x.GetCredit"]
    assert len(questions) == 12
    assert len({q.id for q in questions}) == 12
    assert [i.kind for i in story.txn.incidents] == ["no_answer"]
    assert state(story) == "running"


def test_a_step_that_waits_for_its_answer() -> None:
    """``in_doubt: wait``: an incident tells that nobody knows; the late answer resolves it."""
    story = begun(build(command("a", in_doubt=WAIT, pivot=True), command("b", after=["a"])))
    story.wait(seconds(11))
    assert [i.kind for i in story.txn.incidents] == ["no_answer"]
    reply(story, "ADone", "a")
    assert story.txn.incidents == []
    assert story.sent() == ["DoA", "DoB"]


def test_a_pivot_binds_its_member_only() -> None:
    """One member is past its pivot, another fails: only the other's effects are reversed."""
    one = composite(
        "parts",
        command("parts.a", reversible=True),
        command("parts.go", after=["a"], pivot=True, in_doubt=WAIT),
        each=lambda s: [0, 1],
        need=1,
        settle_all=True,
    )
    story = begun(build(one))
    reply(story, "ADone", "parts[0].a")
    reply(story, "ADone", "parts[1].a")
    reply(story, "GoDone", "parts[0].go")
    reply(story, "GoFailed", "parts[1].go")
    assert story.sent()[4:] == ["ReverseA"]
    assert story.steps["parts[1].a"] == "compensating"
    confirm(story, "AReversed", "parts[1].a")
    assert state(story) == "completed"


# -- cancelling


def cancellable() -> Saga:
    refusal = message("RefuseCancellation")
    return build(
        event("payment", reversible=True),
        command("ship", after=["payment"], pivot=True, in_doubt=WAIT),
        command("thank", after=["ship"]),
        cancel_on=Cancellation("x.Cancelled", "ship", refusal),
    )


def test_cancelled_in_time() -> None:
    """The event comes before the step: everything is reversed."""
    story = begun(cancellable()).when("Cancelled")
    assert state(story) == "compensating"
    assert story.txn.reason.startswith("cancelled")


def test_cancelled_twice_in_time() -> None:
    """The second event finds it done: nothing is reversed twice, nothing is refused."""
    story = begun(cancellable()).when("Cancelled")
    assert story.sent() == ["ReversePayment"]
    reason = story.txn.reason
    story.when("Cancelled")
    assert (story.sent(), story.txn.reason, state(story)) == ([], reason, "compensating")


def test_cancelled_too_late() -> None:
    """The event comes after the step has begun: the refusal is sent, and nothing changes."""
    story = begun(cancellable()).when("PaymentDone", "Cancelled")
    assert story.sent() == ["DoShip", "RefuseCancellation"]
    assert state(story) == "running"
    story.when("Cancelled")
    refusals = [c.id for c in story.commands if c.type == "x.RefuseCancellation"]
    assert len(set(refusals)) == 2, "each request is answered"


def test_a_person_cancels() -> None:
    """As long as there is a way back; then it is refused, with the reason in the history."""
    story = act(begun(cancellable()).when("PaymentDone"), "cancel")
    assert story.ignored() == ["act_impossible"]
    story = act(begun(cancellable()), "cancel", why="typo")
    assert story.txn.reason == "cancel by ann: typo"
    assert state(story) == "compensating"


def test_a_person_closes() -> None:
    """Closed with a reason, whatever its state; its incidents are over, late effects do not reopen it."""
    story = act(reply(credited(), "SettleFailed", "settle"), "close", why="see ticket 9")
    assert (story.status, story.txn.incidents) == (Status.CLOSED, [])
    assert story.txn.reason == "closed by ann: see ticket 9"


def test_a_failed_compensation_is_retried_or_skipped_by_a_person() -> None:
    """A compensation that was given up waits for a person, who sends it again in a new round, or did it by hand."""
    story = begun(build(event("a", reversible=True), event("b", after=["a"]))).when("ADone", "BFailed")
    story.wait(seconds(48 * 3600))
    assert story.steps["a"] == "incident"
    act(story, "retry", "a")
    assert story.steps["a"] == "compensating"
    assert story.txn.steps["a"].compensation_round == 1  # nobody knows whether it was reversed: the same key
    assert story.txn.incidents == []
    story.wait(seconds(48 * 3600))
    act(story, "skip", "a", "refunded by hand")
    assert state(story) == "compensated"
    assert story.replayed() == story.txn


@pytest.mark.parametrize("what", ["retry", "skip", "signal", "nonsense"])
def test_an_act_that_is_not_possible_changes_nothing(what: str) -> None:
    """It is recorded with its reason, and nothing else changes."""
    story = begun(cancellable())
    steps = story.steps
    act(story, what, "payment")
    assert len(story.ignored()) == 1
    assert story.steps == steps


# -- time and people


def test_a_sleep() -> None:
    """A step that sleeps succeeds when its time has come, not before."""
    story = begun(
        build(
            event("nap", kind="sleep", succeeds_on="", fails_on=(), sleep=lambda s: 86_400_000),
            command("b", after=["nap"]),
        )
    )
    assert story.wait(seconds(86_399)).sent() == []
    assert story.wait(seconds(2)).sent() == ["DoB"]


@pytest.mark.parametrize("woken", [True, False])
def test_whatever_comes_first(woken: bool) -> None:
    """A timer and a signal side by side: one suffices, the other is given up."""
    wait = composite(
        "wait",
        event("wait.timer", kind="sleep", succeeds_on="", fails_on=(), sleep=lambda s: 1_000),
        event("wait.card", kind="signal", succeeds_on="x.CardUpdated", fails_on=()),
        need=1,
    )
    story = begun(build(wait, command("charge", after=["wait"])))
    if woken:
        story.when("CardUpdated")
    else:
        story.wait(seconds(2))
    assert story.sent() == ["DoCharge"]
    reply(story, "ChargeDone", "charge")
    assert state(story) == "completed"
    assert story.replayed() == story.txn


def test_a_signal_by_name() -> None:
    """A person or a program gives the signal that a step waits for, with its fields."""
    story = begun(
        build(
            event("signed", kind="signal"),
            command("b", after=["signed"], sends={"line": lambda s: s["signed"]["by"]}),
        )
    )
    act(story, "signal", "signed", by="ceo")
    assert story.command("DoB").fields == {"line": "ceo"}


def test_progress_restarts_the_timeout() -> None:
    """A service that says that it is still at it is not given up."""
    story = begun(build(command("a", progress_on="x.AProgressed")))
    story.wait(seconds(8))
    story.when("AProgressed", causation_id=story.txn.steps["a"].command_id).wait(seconds(8))
    assert story.steps["a"] == "active"
    story.wait(seconds(3))
    assert state(story) == "compensated"


def test_a_retry_has_a_budget_and_codes_that_are_final() -> None:
    """No attempt begins after the budget; a failure with a final code is not retried at all."""
    retry = Retry(
        attempts=50,
        backoff=1_000,
        factor=1,
        jitter="none",
        budget=30_000,
        final=frozenset({"no_such_account"}),
    )
    story = begun(build(command("a", retry=retry))).wait(seconds(600))
    assert story.txn.steps["a"].attempt == 3
    story = begun(build(command("a", retry=retry))).fails("a", "no_such_account", retryable=True)
    assert state(story) == "compensated"


# -- orders of compensation


@pytest.mark.parametrize(
    ("order", "rounds"),
    [
        ("topological", [{"B", "C"}, {"A"}]),
        ("sequential", [{"C"}, {"B"}, {"A"}]),
        ("parallel", [{"A", "B", "C"}]),
    ],
)
def test_the_order_of_compensation(order: str, rounds: list[set[str]]) -> None:
    """Reverse topological, one after the other, or all at once: as the definition says."""
    saga = build(
        event("a", reversible=True),
        event("b", after=["a"], reversible=True),
        event("c", after=["a"], reversible=True),
        event("d", after=["b", "c"]),
        compensation=order,
    )
    story = begun(saga).when("ADone", "BDone", "CDone", "DFailed")
    for expected in rounds:
        assert {name.removeprefix("Reverse") for name in story.sent()} == expected
        for name in expected:
            confirm(story, f"{name}Reversed", name.lower())
    assert state(story) == "compensated"


# -- endings


def test_an_end_with_a_message_of_the_users_own() -> None:
    """``ends_with`` sends a message with the end, ``returns`` keeps what the saga gives back."""
    saga = build(
        command("a"),
        ends_with={
            "completed": message("Complete", code=lambda s: s["a"]["code"]),
            "compensated": message("Reject"),
        },
        returns=message("", code=lambda s: s["a"]["code"]).fields,
    )
    story = reply(begun(saga), "ADone", "a", code="ok")
    assert story.command("Complete").fields == {"code": "ok"}
    assert story.txn.captured[""] == {"code": "ok"}
    assert reply(begun(saga), "AFailed", "a").sent() == ["DoA", "Reject"]


def test_a_saga_that_observes_sends_nothing() -> None:
    """Its commands are history only; its compensations count as confirmed, since nobody will answer."""
    saga = build(
        event("a", reversible=True),
        event("b", after=["a"], reversible=True),
        event("c", after=["b"]),
        mode="observe",
    )
    story = begun(saga).when("ADone", "BDone", "CFailed")
    assert [c.held for c in story.commands] == [True, True]
    assert state(story) == "compensated"


def test_a_share_is_enforced() -> None:
    """``enforce: 5%`` takes that share of the transactions, the same ones each time."""
    saga = build(command("a"), share=0.05)
    held = []
    for n in range(2_000):
        story = Story(saga)
        story.txn.id = f"t-{n}"
        held.append(story.when("Begun", payload={}).commands[0].held)
    assert 60 <= held.count(False) <= 140
