"""What takes effect although it was given up: a pivot that failed retryably, members that nobody needs (saga-25, saga-27)."""

from __future__ import annotations

import pytest

from kantor.envelope import idempotency_key
from kantor_orchestrator.core.decide import EXPIRED
from kantor_orchestrator.core.saga import ASK, WAIT, Retry, Saga
from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story, seconds
from unit.saga_kit import act, begun, build, command, composite, confirm, event, message, reply, state


def transfer(doubt: str = ASK, attempts: int = 2) -> Story:
    """Money is reserved, and its transfer, the pivot, is under way."""
    retry = Retry(attempts=attempts, backoff=100, jitter="none")
    credit = command("credit", after=["reserve"], pivot=True, in_doubt=doubt, ask=message("Get"), retry=retry)
    story = begun(build(command("reserve", reversible=True), credit))
    reply(story, "ReserveDone", "reserve")
    story.sent()
    return story


def out_of_attempts(doubt: str = ASK) -> Story:
    """Both attempts of the transfer have failed, and each could still succeed if it is delivered again."""
    story = transfer(doubt).fails("credit", retryable=True).wait(seconds(1))
    assert story.sent() == ["DoCredit"]
    return story.fails("credit", retryable=True)


# -- questions


def test_a_question_names_the_action_that_it_is_about() -> None:
    """It has a key of its own, and the action's besides; the other commands ask about nothing."""
    story = transfer().wait(seconds(22))
    action, question = story.command("DoCredit"), story.command("Get")
    assert question.asks == action.idempotency_key == idempotency_key("t-1", "credit", "action", 1)
    assert question.idempotency_key != question.asks
    assert {command.asks for command in story.commands if command is not question} == {""}


def test_a_question_that_can_not_be_answered_tells_nothing() -> None:
    """The service that is asked fails itself: whether the step happened is as unknown as before."""
    story = out_of_attempts()
    question = story.command("Get").id
    failed = {"code": "error", "message": "the bank is closed", "retryable": True, "handling": "x.Get"}
    story.fails("credit", causation_id=question, payload=failed)
    assert story.ignored() == ["still_in_doubt"]
    assert story.steps["credit"] == "in_doubt"
    assert story.wait(seconds(30)).sent()[-1] == "Get", "asked again"


# -- pivots


def test_a_pivot_that_failed_retryably_is_asked_about() -> None:
    """Its command may be delivered once more, and act: what came before is reversed once its service has said no."""
    story = out_of_attempts()
    assert story.sent() == ["Get"]
    assert (story.status, story.steps["credit"]) == (Status.RUNNING, "in_doubt")
    story.when("CreditFailed", causation_id=story.command("Get").id)
    assert story.sent() == ["ReverseReserve"]
    assert story.replayed() == story.txn


def test_a_pivot_that_acted_at_last_is_not_given_up() -> None:
    """The answer is yes: forward."""
    story = out_of_attempts()
    story.when("CreditDone", causation_id=story.command("Get").id)
    assert state(story) == "completed"


def test_a_late_failure_of_another_attempt_does_not_answer_for_the_pivot() -> None:
    """While it is asked about, an attempt that was delivered again fails once more, retryably: it may still succeed."""
    story = out_of_attempts()
    story.fails(
        "credit", causation_id=story.txn.steps["credit"].command_id, id="again", payload={"retryable": True}
    )
    assert story.ignored() == ["still_in_doubt"]


@pytest.mark.parametrize(("code", "retryable"), [("no_account", False), (EXPIRED, False)])
def test_a_final_failure_of_a_pivot_needs_no_question(code: str, retryable: bool) -> None:
    """What its service refuses for good, or because it came too late, it refuses again."""
    story = transfer(attempts=1).fails("credit", code, retryable=retryable)
    assert story.sent() == ["ReverseReserve"]


def late_pivot() -> Story:
    """It can't be asked about, was given up, and then acted: its command was delivered once more."""
    story = out_of_attempts(WAIT)
    assert story.sent() == ["ReverseReserve"]
    return reply(confirm(story, "ReserveReversed", "reserve"), "CreditDone", "credit")


def test_a_pivot_that_acts_after_it_was_given_up_is_a_persons() -> None:
    """Nothing reverses it: the transaction is reopened, and waits visibly."""
    story = late_pivot()
    assert (state(story), story.steps["credit"]) == ("compensating", "incident")
    assert [(i.kind, i.step) for i in story.txn.incidents] == [("compensation_failed", "credit")]
    assert "nothing reverses a pivot" in story.txn.incidents[0].reason
    assert story.replayed() == story.txn


def test_a_person_has_reversed_it_by_hand() -> None:
    """Skipped with evidence, the transaction ends compensated again; there is nothing to send again."""
    story = late_pivot()
    act(story, "retry", "credit")
    assert story.ignored() == ["act_impossible"]
    act(story, "skip", "credit", "booked back by hand, ticket 7")
    assert (state(story), story.txn.incidents) == ("compensated", [])
    assert story.txn.endings == 2


def test_a_pivot_that_nobody_had_begun() -> None:
    """A service dispatched the parcel by itself, after the order was given up: a person's, too."""
    go = event("go", after=["pay"], pivot=True, in_doubt=WAIT)
    story = begun(build(event("pay", reversible=True), go)).when("PayFailed")
    assert state(story) == "compensated"
    story.when("GoDone")
    assert (state(story), story.steps["go"]) == ("compensating", "incident")


def test_a_pivot_of_a_member_that_has_failed() -> None:
    """Only the member is given up; the transaction goes on, and can't end before a person has looked."""
    part = composite(
        "parts",
        command("parts.a", reversible=True),
        command("parts.go", after=["a"], pivot=True, in_doubt=WAIT),
        each=lambda s: [0, 1],
        need=1,
        settle_all=True,
    )
    story = begun(build(part))
    for n in (0, 1):
        reply(story, "ADone", f"parts[{n}].a")
    cause = story.txn.steps["parts[1].go"].command_id
    story.fails("parts.go", causation_id=cause, payload={"code": "busy", "retryable": True})
    confirm(story, "AReversed", "parts[1].a")
    reply(story, "GoDone", "parts[0].go")
    assert state(story) == "completed"
    reply(story, "GoDone", "parts[1].go")
    assert (state(story), story.steps["parts[1].go"]) == ("running", "incident")
    act(story, "skip", "parts[1].go", "called back")
    assert state(story) == "completed"


# -- members that nobody needs


def offers(*inner: object, **facts: object) -> Saga:
    steps = inner or (event("offers.a", reversible=True), event("offers.b", reversible=True))
    return build(composite("offers", *steps, need=1, **facts), event("end", after=["offers"]))  # type: ignore[arg-type]


def test_a_member_that_never_began_and_acts_is_reversed() -> None:
    """The first offer is enough; the service of the second, which was never begun, has acted by itself."""
    story = begun(offers(in_order=True)).when("ADone", "BDone")
    assert (story.steps["offers"], story.sent()) == ("succeeded", ["ReverseB"])
    confirm(story, "BReversed", "offers.b").when("EndDone")
    assert (state(story), story.steps["offers.a"]) == ("completed", "succeeded")
    assert story.replayed() == story.txn


def test_a_member_that_had_acted_before_it_was_decided_is_a_part_of_it() -> None:
    """It began nothing, but was heard of first: it is enough, and the one that is open is given up."""
    story = begun(offers(in_order=True)).when("BDone")
    assert (story.steps["offers"], story.sent()) == ("succeeded", ["ReverseA"])


def test_a_member_that_acts_after_the_end_is_reversed() -> None:
    """The transaction is reopened for it, and ends completed again."""
    story = begun(offers(in_order=True)).when("ADone", "EndDone", "BDone")
    assert (state(story), story.sent()) == ("running", ["ReverseB"])
    confirm(story, "BReversed", "offers.b")
    assert (state(story), story.txn.endings) == ("completed", 2)


def test_a_member_that_failed_and_acts_after_all_is_reversed() -> None:
    """It was decided without it."""
    inner = command("offers.a", reversible=True), command("offers.b", reversible=True)
    story = begun(offers(*inner))
    story.fails("offers.a", retryable=True)
    reply(story, "BDone", "offers.b")
    story.sent()
    reply(story, "ADone", "offers.a")
    assert story.sent() == ["ReverseA"]


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_what_services_did_in_a_member_that_never_began(early: bool) -> None:
    """A member of several steps, one of which a service did by itself, before or after another member was enough."""
    deep = composite("offers.b", command("offers.b.c"), event("offers.b.d", after=["c"], reversible=True))
    saga = offers(event("offers.a", reversible=True), *deep, in_order=True)
    story = begun(saga).when(*(["DDone", "ADone"] if early else ["ADone", "DDone"]))
    assert story.sent() == ["ReverseD"]
    confirm(story, "DReversed", "offers.b.d").when("EndDone")
    assert state(story) == "completed"


def test_what_services_did_for_an_item_that_never_began() -> None:
    """Items are tried one after the other, the first is enough: what was done for the second is reversed."""
    pick = event("lines.pick", reversible=True, match=lambda s: s["event"]["line"] == s["index"])
    saga = build(
        composite("lines", pick, each=lambda _: [0, 1], need=1, in_order=True), event("end", after=["lines"])
    )
    story = begun(saga)
    story.when("PickDone", payload={"line": 1}).when("PickDone", payload={"line": 0})
    assert story.sent() == ["ReversePick"]
    assert story.steps["lines[1].pick"] == "compensating"
    confirm(story, "PickReversed", "lines[1].pick").when("EndDone")
    assert (state(story), story.steps["lines[0].pick"]) == ("completed", "succeeded")
