"""The ten sagas in which people, calls and children act, played to their ends."""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story, seconds
from unit.saga_kit import act, confirm, reply, state
from unit.ten_kit import check, start
from unit.test_definitions_ten import compiled

# -- onboarding


def test_onboarding() -> None:
    """Approved, the laptop is out of stock, the accounts are made: welcome."""
    story = start("onboarding", "OfferAccepted", employee_email="a@b", name="Ann", department="it")
    assert story.sent() == ["RequestTask"]
    reply(story, "TaskSucceeded", "approval", outcome="approved", by="vp")
    reply(story, "TaskFailed", "laptop", code="unavailable")
    for step in ("directory", "cloud", "repository"):
        reply(story, "CallSucceeded", f"accounts.{step}")
    assert story.sent()[-1] == "WelcomeHire"
    check(story, Status.COMPLETED)


def test_onboarding_an_account_fails() -> None:
    """The last account can't be made: the others are deleted, the last first, and the hire is abandoned."""
    story = start("onboarding", "OfferAccepted", employee_email="a@b", name="Ann", department="it")
    reply(story, "TaskSucceeded", "approval", outcome="approved", by="vp")
    reply(story, "TaskSucceeded", "laptop", outcome="shipped", by="it")
    reply(story, "CallSucceeded", "accounts.directory")
    reply(story, "CallSucceeded", "accounts.cloud")
    story.sent()
    reply(story, "CallFailed", "accounts.repository", code="403")
    assert state(story) == "compensating"
    assert story.txn.steps["accounts.cloud"].status == "compensating"
    assert story.txn.steps["accounts.directory"].status == "succeeded", "its turn comes later"
    confirm(story, "CallSucceeded", "accounts.cloud")
    confirm(story, "CallSucceeded", "accounts.directory")
    assert story.sent()[-1] == "AbandonHire"
    check(story, Status.COMPENSATED)


# -- expense report


@pytest.mark.parametrize(("amount", "approvers"), [(5_000, 1), (200_000, 2), (2_000_000, 3)])
def test_expenses_need_as_many_approvals_as_they_are_large(amount: int, approvers: int) -> None:
    """Each approver is asked only after the one before; larger reports need more of them."""
    story = start("expense_report", "ReportSubmitted", report_id="r", employee_id="e", amount_cents=amount)
    asked = 0
    for name in ("manager", "director", "cfo"):
        if story.steps.get(f"approvals.{name}") == "active":
            asked += 1
            reply(story, "TaskSucceeded", f"approvals.{name}", outcome="approved", by=name)
    assert asked == approvers
    reply(story, "Reimbursed", "pay")
    check(story, Status.COMPLETED)


def test_a_rejected_expense() -> None:
    """The director rejects: nobody else is asked, nothing is paid."""
    story = start("expense_report", "ReportSubmitted", report_id="r", employee_id="e", amount_cents=2_000_000)
    reply(story, "TaskSucceeded", "approvals.manager", outcome="approved", by="m")
    reply(story, "TaskFailed", "approvals.director", code="rejected")
    assert "approvals.cfo" not in story.steps
    assert story.sent()[-1] == "RejectReport"
    check(story, Status.COMPENSATED)


# -- loan


def credit_checks(*passed: bool) -> Story:
    story = start("loan_origination", "ApplicationSubmitted", application_id="a")
    assert [c.fields["bureau"] for c in story.commands] == ["equifax", "experian", "transunion"]
    for n, good in enumerate(passed):
        reply(story, "CheckPassed" if good else "CheckFailed", f"credit[{n}].check")
    return story


def test_a_loan() -> None:
    """Two of three bureaus suffice; then a person, a signature, the money."""
    story = credit_checks(False, True, True)
    reply(story, "TaskSucceeded", "underwriting", outcome="accept", by="u")
    story.when("ContractSigned")
    reply(story, "Disbursed", "disburse")
    check(story, Status.COMPLETED)


def test_a_loan_without_credit() -> None:
    """Two bureaus refuse: nothing more is asked."""
    story = credit_checks(False, False)
    check(story, Status.COMPENSATED)
    assert "underwriting" not in story.steps


def test_a_disbursement_in_doubt_is_asked_about() -> None:
    """The bank does not answer: it is asked, and its answer counts; nothing is sent twice."""
    story = credit_checks(True, True, True)
    reply(story, "TaskSucceeded", "underwriting", outcome="accept", by="u").when("ContractSigned").wait(
        seconds(3700)
    )
    assert story.steps["disburse"] == "in_doubt"
    question = story.command("GetDisbursement")
    story.when("Disbursed", causation_id=question.id)
    check(story, Status.COMPLETED)


# -- insurance claim and payout


def test_a_claim_and_its_payout() -> None:
    """The payout runs as a saga of its own; what it returns closes the claim."""
    story = start("insurance_claim", "ClaimFiled", claim_id="c", policy_id="p")
    reply(story, "Assessment", "assess", amount_cents=700)
    begin = story.command("PayClaim")
    assert (begin.kind, begin.fields["amount_cents"]) == ("child", 700)
    child = start("payout", "PayClaim", claim_id="c", amount_cents=700)
    reply(child, "FundsReserved", "reserve")
    reply(child, "TransferSent", "transfer", reference="REF")
    check(child, Status.COMPLETED)
    assert child.txn.captured[""] == {"reference": "REF"}
    reply(story, "TransactionEnded", "payout", status="completed", reference="REF")
    assert story.command("CloseClaim").fields["reference"] == "REF"
    reply(story, "ClaimClosed", "close")
    check(story, Status.COMPLETED)


def test_a_payout_that_fails() -> None:
    """The child is compensated: so the claim can't go on, and is compensated, too."""
    child = start("payout", "PayClaim", claim_id="c", amount_cents=700)
    reply(child, "FundsReserved", "reserve")
    reply(child, "TransferRejected", "transfer")
    confirm(child, "FundsReleased", "reserve")
    check(child, Status.COMPENSATED)
    story = start("insurance_claim", "ClaimFiled", claim_id="c", policy_id="p")
    reply(story, "Assessment", "assess", amount_cents=700)
    reply(story, "TransactionEnded", "payout", status="compensated")
    check(story, Status.COMPENSATED)


def claimed() -> tuple[Story, Story]:
    """A claim whose payout runs: the parent, and its child."""
    story = start("insurance_claim", "ClaimFiled", claim_id="c", policy_id="p")
    reply(story, "Assessment", "assess", amount_cents=700)
    begin = story.command("PayClaim")
    child = Story(compiled("payout"))
    child.txn.id = begin.about
    child.when(
        "PayClaim",
        id=begin.id,
        parent="t-1",
        parent_command=begin.id,
        payload={"claim_id": "c", "amount_cents": 700},
    )
    reply(child, "FundsReserved", "reserve")
    return story, child


def ask_child(story: Story, child: Story) -> None:
    asked = story.command("CompensateTransaction")
    assert asked.about == child.txn.id
    child.when("CompensateTransaction", id=asked.id, source="kantor")


def test_compensating_a_parent_compensates_its_child() -> None:
    """The claim is cancelled while its payout runs: the payout reverses itself, and its end confirms that to the claim."""
    story, child = claimed()
    act(story, "cancel", why="typo")
    assert story.steps["payout"] == "compensating"
    ask_child(story, child)
    assert state(child) == "running", "the transfer may have happened: it is not decided yet"
    assert child.command("StepFailed").fields["retryable"] is True


def test_a_child_that_can_reverse_itself() -> None:
    """Before its pivot the child reverses what it did; the parent is compensated when it has."""
    story, child = claimed()
    reply(child, "TransferRejected", "transfer")
    act(story, "cancel", why="typo")
    ask_child(story, child)
    assert child.txn.parent_command == story.command("CompensateTransaction").id
    confirm(child, "FundsReleased", "reserve")
    check(child, Status.COMPENSATED)
    confirm_end(story, child)
    check(story, Status.COMPENSATED)


def test_a_child_that_a_person_closes() -> None:
    """Its parent, which waits for its reversal, can't be told so: an incident of the step, whichever message says it first."""
    for asked_first in (False, True):
        story, child = claimed()
        begin = story.command("PayClaim")
        act(story, "cancel", why="typo")
        if asked_first:
            act(child, "close", why="by hand")
            ask_child(story, child)
            cause = child.command("TransactionEnded").causation_id
        else:
            act(child, "close", why="by hand")
            cause = begin.id
        story.when("TransactionEnded", causation_id=cause, payload={"status": "closed"})
        assert story.steps["payout"] == "incident"
        assert "closed by a person" in story.txn.incidents[0].reason
        act(story, "skip", "payout", why="the payout was stopped at the bank")
        check(story, Status.COMPENSATED)


def test_an_end_that_kafka_refused_is_told_to_the_parent_again() -> None:
    """A child's answer to its parent may be refused: retry, and skip too, tell the parent again, which waits for it."""
    for how in ("retry", "skip"):
        story, child = claimed()
        reply(child, "TransferSent", "transfer", reference="R")
        check(child, Status.COMPLETED)
        refused = {"reason": "TOPIC_AUTHORIZATION_FAILED"}
        child.deliver(
            Entry(
                "refused",
                child.at + 10,
                id="r-1",
                causation_id="the-answer",
                payload=refused,
                journal_offset=90,
            )
        )
        assert [incident.kind for incident in child.txn.incidents] == ["refused"]
        act(child, how, why="the topic may be written again")
        assert not child.txn.incidents
        told = child.command("TransactionEnded")
        assert (told.causation_id, told.about) == (story.command("PayClaim").id, "t-1")
        assert told.fields["status"] == "completed"
        payload = {"status": "completed", "returns": told.fields["returns"]}
        story.when("TransactionEnded", causation_id=told.causation_id, payload=payload)
        assert story.steps["payout"] == "succeeded"


def confirm_end(story: Story, child: Story) -> None:
    payload = {"status": str(child.status)}
    story.when("TransactionEnded", causation_id=child.txn.parent_command, payload=payload)


def test_a_child_past_its_pivot_says_no() -> None:
    """What the child did is final: the parent's compensation is an incident for a person, not a lie."""
    story, child = claimed()
    reply(child, "TransferSent", "transfer", reference="R")
    reply(story, "TransactionEnded", "payout", status="completed", reference="R")
    act(story, "cancel", why="typo")
    ask_child(story, child)
    check(child, Status.COMPLETED)
    answer = child.command("StepFailed")
    story.when("StepFailed", causation_id=story.command("CompensateTransaction").id, payload=answer.fields)
    assert story.steps["payout"] == "incident"
