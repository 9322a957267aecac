"""A saga that a person holds: its transactions stand still, and go on where they stood after the release (saga-30,
shard-27).
"""

from __future__ import annotations

import pytest

from kantor_orchestrator.core.act_kinds import KINDS
from kantor_orchestrator.core.entry import RELEASE
from kantor_orchestrator.core.saga import Cancellation
from kantor_orchestrator.core.transaction import Kind, Status
from kantor_orchestrator.intake.addressing import is_impersonated
from unit.core_kit import Story, checkout, given, seconds
from unit.saga_kit import act, begun, build, command, message, reply

HOLD = "held by ann: payments are down"


@pytest.fixture
def story() -> Story:
    return given(checkout())


def held(story: Story) -> Story:
    story.hold = HOLD
    return story


def released(story: Story) -> Story:
    story.hold = ""
    return story.fire(RELEASE)


def kept(story: Story) -> list[str]:
    return [early.type.rpartition(".")[2] for early in story.txn.early]


def test_nothing_is_sent_while_it_is_held(story: Story) -> None:
    """A success that comes meanwhile is kept; the next step begins at the release."""
    held(story.when("OrderPlaced", "StockReserved")).when("PaymentCaptured")
    assert (story.sent(), kept(story), story.txn.held) == ([], ["PaymentCaptured"], HOLD)
    released(story)
    assert (story.sent(), kept(story), story.txn.held) == (["BookShipment"], [], "")
    assert story.steps["payment"] == "succeeded"
    assert story.replayed() == story.txn


def test_messages_are_looked_at_in_their_order(story: Story) -> None:
    """What came while it was held has the outcome that it would have had without the hold."""
    held(story.when("OrderPlaced")).when("StockReserved", "PaymentDeclined")
    released(story)
    assert story.sent() == ["ReleaseStock"]
    story.when("StockReleased")
    assert story.status == Status.COMPENSATED
    assert story.replayed() == story.txn


def test_a_duplicate_while_it_is_held_changes_nothing(story: Story) -> None:
    """The same message twice is kept once."""
    held(story.when("OrderPlaced")).when("StockReserved", id="same").when("StockReserved", id="same")
    assert kept(story) == ["StockReserved"]


def test_a_transaction_that_starts_while_its_saga_is_held(story: Story) -> None:
    """It starts, on the version of that time, and stands still before its first step."""
    held(story).when("OrderPlaced", "StockReserved")
    assert (story.status, story.steps, story.txn.held) == ("running", {}, HOLD)
    released(story)
    assert story.steps == {"stock": "succeeded", "payment": "active"}
    assert story.replayed() == story.txn


def test_what_came_before_its_start_waits_through_the_hold(story: Story) -> None:
    """An early event is neither lost nor looked at too soon."""
    held(story.when("StockReserved")).when("OrderPlaced")
    assert kept(story) == ["StockReserved"]
    assert released(story).steps["stock"] == "succeeded"


def test_timers_do_nothing_while_it_is_held(story: Story) -> None:
    """A timeout that is due meanwhile goes off after the release, not before."""
    held(story.when("OrderPlaced")).wait(seconds(3600))
    assert (story.status, story.steps) == ("running", {"stock": "active"})
    assert story.txn.held == HOLD, "the first timer that was due made it stand still"
    released(story).wait(seconds(0))
    assert (story.status, story.sent()) == ("compensating", ["ReleaseStock"])


def test_a_deadline_waits_for_the_release(story: Story) -> None:
    """The saga's deadline gives nothing up while it is held."""
    story.when("OrderPlaced", "StockReserved", "PaymentCaptured").sent()
    held(story).fire("deadline", at=story.txn.deadline)
    assert (story.status, story.sent()) == ("running", [])
    released(story).wait(seconds(0))
    assert story.status == Status.COMPENSATING


def test_a_late_effect_after_the_end_is_compensated_at_the_release(story: Story) -> None:
    """The retained record of an ended transaction does not expire while it is held."""
    story.when("OrderPlaced", "StockReserved", "PaymentDeclined", "StockReleased")
    assert story.status == Status.COMPENSATED
    story.sent()
    held(story).when("PaymentCaptured")
    assert (story.sent(), story.txn.expires_at) == ([], 0)
    released(story)
    assert story.sent() == ["RefundPayment"]
    story.when("PaymentRefunded")
    assert story.status == Status.COMPENSATED
    assert story.txn.expires_at > 0
    assert story.replayed() == story.txn


def test_an_ended_transaction_that_nothing_happened_to_expires_as_before(story: Story) -> None:
    """A message that tells nothing new, kept and looked at, leaves the retained record its time."""
    story.when("OrderPlaced", "StockReserved", "PaymentDeclined", "StockReleased")
    held(story).when("PaymentDeclined", id="again")
    assert released(story).txn.expires_at > story.at


@pytest.mark.parametrize("what", sorted(KINDS.keys() - {"close", "start"}))
def test_acts_are_refused_while_it_is_held(story: Story, what: str) -> None:
    """They would have to wait, too: the person is told to release it first."""
    story.when("OrderPlaced")
    held(story)
    act(story, what, "stock")
    assert story.log[-1].kind is Kind.IGNORED
    assert "release it first" in story.log[-1].reason


def test_a_held_transaction_can_be_closed(story: Story) -> None:
    """Closing ends it, and the hold of it; its release does nothing then."""
    held(story.when("OrderPlaced")).when("StockReserved")
    act(story, "close")
    assert (story.status, story.txn.held, story.txn.early) == (Status.CLOSED, "", [])
    before = len(story.log)
    released(story)
    assert len(story.log) == before


def test_a_release_that_comes_twice_or_too_early_does_nothing(story: Story) -> None:
    """Firings may come twice; and a new hold may have come in between."""
    held(story.when("OrderPlaced")).when("StockReserved").fire(RELEASE)
    assert story.txn.held == HOLD
    released(story)
    before = len(story.log)
    released(story)
    assert len(story.log) == before


def test_what_means_nothing_to_the_saga_is_not_kept(story: Story) -> None:
    """Only types that the saga names wait."""
    held(story.when("OrderPlaced"))
    story.deliver(
        story.entry("StockReserved", id="x").__class__("event", story.at, type="y.Other", id="o", source="y")
    )
    assert (story.txn.held, story.txn.early) == ("", [])


def test_each_request_to_cancel_is_refused_by_a_message_of_its_own() -> None:
    """Also where two were kept while the saga was held, and are looked at by one release: each refusal names its request, and has an
    id by which intake knows it for Kantor's, however many messages have counted."""
    saga = build(
        command("a"), command("b", after=["a"]), cancel_on=Cancellation("x.Cancelled", "a", message("Refuse"))
    )
    story = begun(saga)
    reply(story, "ADone", "a")
    held(story).when("Cancelled", id="first").when("Cancelled", id="second")
    released(story).when("Cancelled", id="third")
    refusals = [sent for sent in story.commands if sent.type == "x.Refuse"]
    assert [refusal.causation_id for refusal in refusals] == ["first", "second", "third"]
    assert len({refusal.id for refusal in refusals}) == 3
    assert len({refusal.idempotency_key for refusal in refusals}) == 3
    for refusal in refusals:
        headers = {
            "ce_id": refusal.id.encode(),
            "ce_correlationid": story.txn.id.encode(),
            "ce_causationid": refusal.causation_id.encode(),
        }
        assert not is_impersonated("evt.x.v1", {**headers})
        assert is_impersonated("evt.x.v1", {**headers, "ce_causationid": b"another"})
    assert story.replayed() == story.txn
