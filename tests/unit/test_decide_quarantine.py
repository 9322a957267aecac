"""What can't be read waits, and so does what comes after it, in order (core.quarantine) (shard-22 to shard-24)."""

from __future__ import annotations

from typing import Any

from kantor_orchestrator.core import messages, quarantine
from kantor_orchestrator.core.entry import AGAIN, TIMEOUT, timers_of
from kantor_orchestrator.core.transaction import Kind, Status
from unit.core_kit import Story, checkout, given, seconds
from unit.saga_kit import act, begun, build, command, event

GARBAGE = {"error": "bytes do not fit"}
UNKNOWN = {"not_yet": "schema 7 is not known"}


def asked(story: Story) -> list[int]:
    """The offsets of the copies that the shell has to append, since the last transition that was none."""
    found: list[int] = []
    for transition in reversed(story.log):
        if transition.kind is not Kind.AGAIN_ASKED:
            break
        found.insert(0, transition.put_off)
    return found


def copy_of(story: Story, offset: int, type_: str, **facts: Any) -> Story:
    """The copy of what was deferred, as the shell appends it."""
    return story.when(type_, id=f"e-{offset}", again=offset, journal_offset=1_000 + len(story.log), **facts)


def running(**facts: Any) -> Story:
    """The stock's success can't be read."""
    return given(checkout()).when("OrderPlaced").when("StockReserved", **facts)


def test_a_message_that_can_not_be_read_now_is_put_off() -> None:
    """It changes nothing, and its fingerprint is not kept; it is asked for again after a while."""
    story = running(**UNKNOWN)
    assert (story.status, story.txn.put_off, story.txn.incidents) == (Status.RUNNING, [2], [])
    assert len(story.txn.fingerprints) == 1
    assert timers_of(story.txn) == [(story.at + 2_000, AGAIN, "", 0, 0)]
    story.fire(AGAIN, at=story.at + 2_000)
    assert asked(story) == [2]


def test_a_copy_that_can_be_read_is_the_message_that_it_is() -> None:
    story = copy_of(running(**UNKNOWN), 2, "StockReserved")
    assert (story.steps, story.txn.put_off) == ({"stock": "succeeded", "payment": "active"}, [])
    assert (Kind.TAKEN_BACK in story.kinds(), len(story.txn.fingerprints)) == (True, 2)
    assert [kind for _, kind, *_ in timers_of(story.txn)][:1] != [AGAIN]
    assert story.replayed() == story.txn


def test_what_comes_after_it_waits_behind_it() -> None:
    """In order, though it can be read; and comes back in order, once the first could be read."""
    story = running(**UNKNOWN).when("PaymentCaptured", "ShipmentBooked")
    assert (story.txn.put_off, story.steps) == ([2, 3, 4], {"stock": "active"})
    copy_of(story, 2, "StockReserved")
    assert asked(story) == [3, 4]
    copy_of(story, 3, "PaymentCaptured")
    copy_of(story, 4, "ShipmentBooked", causation_id="")
    assert (story.txn.put_off, story.steps["payment"]) == ([], "succeeded")


def test_a_copy_of_what_is_not_the_first_does_nothing() -> None:
    """It came twice, or late."""
    story = running(**UNKNOWN).when("PaymentCaptured")
    moves = len(story.log)
    copy_of(story, 3, "PaymentCaptured")
    assert len(story.log) == moves
    copy_of(story, 2, "StockReserved")
    copy_of(story, 3, "PaymentCaptured")
    moves = len(story.log)
    copy_of(story, 2, "StockReserved")
    copy_of(story, 3, "PaymentCaptured")
    assert len(story.log) == moves


def test_copies_that_never_come_are_asked_for_again() -> None:
    story = running(**UNKNOWN)
    story.fire(AGAIN, at=story.at + 2_000)
    story.wait(seconds(61))
    assert asked(story) == [2, 2]


def test_no_timeout_while_a_message_waits_that_may_be_the_answer() -> None:
    story = running(**UNKNOWN)
    story.fire(TIMEOUT, "stock", 1, 0, at=story.at + seconds(60))
    assert story.steps == {"stock": "active"}
    copy_of(story, 2, "StockReserved")
    assert story.steps["stock"] == "succeeded"


def test_what_can_not_be_read_for_long_waits_for_a_person() -> None:
    """After half a minute it is an incident, and the transaction is parked; nobody asks for it by himself any more."""
    story = running(**UNKNOWN)
    story.at += seconds(29)
    copy_of(story, 2, "StockReserved", **UNKNOWN)
    assert (story.status, story.txn.incidents) == (Status.RUNNING, [])
    story.at += seconds(2)
    copy_of(story, 2, "StockReserved", **UNKNOWN)
    assert (story.status, [i.kind for i in story.txn.incidents]) == (Status.PARKED, ["poison"])
    assert timers_of(story.txn) == []
    copy_of(story, 2, "StockReserved", **UNKNOWN)
    assert len(story.txn.incidents) == 1


def test_a_person_has_it_read_again() -> None:
    """Its schema is published now: nothing is lost."""
    story = act(running(**GARBAGE), "retry")
    assert (asked(story), story.status) == ([2], Status.PARKED)
    copy_of(story, 2, "StockReserved")
    assert (story.status, story.txn.incidents) == (Status.RUNNING, [])
    assert story.steps == {"stock": "succeeded", "payment": "active"}


def test_a_person_does_without_it() -> None:
    """The next one comes back; the history says who did without what, and why."""
    story = running(**GARBAGE).when("StockReserved", id="again")
    assert (story.steps, story.txn.put_off) == ({"stock": "active"}, [2, 3])
    act(story, "skip", why="sent again")
    (dropped,) = (t for t in story.log if t.kind is Kind.DROPPED)
    assert (dropped.put_off, dropped.reason) == (2, "dropped by ann: sent again")
    assert (asked(story), story.status) == ([3], Status.RUNNING)
    copy_of(story, 3, "StockReserved")
    assert story.steps["stock"] == "succeeded"


def test_the_same_message_that_can_be_read_takes_its_place() -> None:
    """The producer sends it again, under the same id: it is no duplicate, and what waits behind it comes after it."""
    story = running(**GARBAGE).when("PaymentCaptured").when("StockReserved", id="e-2")
    assert (story.status, story.txn.incidents) == (Status.RUNNING, [])
    assert story.steps == {"stock": "succeeded", "payment": "active"}
    assert asked(story) == [3]
    story.when("StockReserved", id="e-2")
    assert story.ignored() == []


def test_a_start_that_can_not_be_read() -> None:
    """It is parked, with what comes after it; retry starts it, and what came after it is applied."""
    story = given(checkout()).when("OrderPlaced", **GARBAGE).when("StockReserved")
    assert (story.status, story.txn.put_off, timers_of(story.txn)) == (Status.PARKED, [1, 2], [])
    act(story, "retry")
    copy_of(story, 1, "OrderPlaced")
    copy_of(story, 2, "StockReserved")
    assert (story.status, story.steps["stock"]) == (Status.RUNNING, "succeeded")


def test_a_start_that_a_person_does_without() -> None:
    """What was kept before is kept for an hour, not for ever."""
    story = given(checkout()).when("StockReserved").when("OrderPlaced", **GARBAGE)
    act(story, "skip", why="a test")
    assert (story.status, story.txn.incidents) == (Status.OBSERVED, [])
    assert story.wait(seconds(3_700)).txn.early == []


def test_an_ended_transaction_takes_poison_as_well() -> None:
    """It may be an effect that must be reversed: a person cares for it, and it is kept as long."""
    story = given(checkout()).when("OrderPlaced", "StockRejected")
    assert story.status is Status.COMPENSATED
    story.when("StockReserved", **GARBAGE)
    assert (story.status, story.txn.expires_at) == (Status.COMPENSATED, 0)
    act(story, "skip", why="nothing was reserved")
    assert (story.status, story.txn.incidents) == (Status.COMPENSATED, [])
    assert story.txn.expires_at > story.at
    story.when("StockReserved", **GARBAGE)
    act(story, "close")
    assert (story.txn.put_off, story.txn.incidents) == ([], [])
    assert story.txn.expires_at > story.at


def test_acts_on_steps_wait_for_what_can_not_be_read() -> None:
    story = act(act(running(**GARBAGE), "cancel"), "skip", "stock")
    assert story.ignored() == ["act_impossible", "act_impossible"]
    assert act(story, "close").status is Status.CLOSED


def test_what_is_put_off_is_bounded(monkeypatch: Any) -> None:
    """What does not fit is dropped, counted and said."""
    monkeypatch.setattr(quarantine, "MOST", 3)
    story = running(**GARBAGE).when(*["StockReserved"] * 5)
    assert story.txn.put_off == [2, 3, 4]
    assert [i.kind for i in story.txn.incidents] == ["poison", "put_off_full"]
    assert story.ignored() == ["put_off_full"] * 3


def test_what_is_kept_early_is_bounded(monkeypatch: Any) -> None:
    """A constant correlation id does not make a state grow for ever."""
    monkeypatch.setattr(messages, "MOST_EARLY", 3)
    story = given(checkout()).when(*["StockReserved"] * 6)
    assert (len(story.txn.early), story.status, story.txn.put_off) == (3, Status.PARKED, [4, 5, 6])


def test_a_message_that_no_expression_can_place_is_kept() -> None:
    """A ``match`` that throws: the message waits, and is matched again when a person says so."""
    found = build(event("a", match=lambda scope: scope["event"]["line"] == 1))
    story = begun(found).when("ADone", payload={})
    assert (story.status, story.txn.put_off) == (Status.PARKED, [2])
    copy_of(story, 2, "ADone", payload={"line": 1})
    assert story.status is Status.COMPLETED


def test_copies_come_back_in_portions(monkeypatch: Any) -> None:
    monkeypatch.setattr(quarantine, "PORTION", 2)
    story = running(**UNKNOWN).when("PaymentCaptured", "PaymentCaptured", "PaymentCaptured")
    copy_of(story, 2, "StockReserved")
    assert asked(story) == [3, 4]
    copy_of(story, 3, "PaymentCaptured")
    copy_of(story, 4, "PaymentCaptured")
    assert asked(story) == [5]


def test_while_it_is_held_what_comes_back_waits_for_the_release() -> None:
    story = begun(build(command("pay"), event("z", after=["pay"])))
    story.when("PayDone", **UNKNOWN)
    story.hold = "held by ann"
    copy_of(story, 2, "PayDone", causation_id=story.txn.steps["pay"].command_id)
    assert (story.steps, bool(story.txn.held), len(story.txn.early)) == ({"pay": "active"}, True, 1)
    story.hold = ""
    story.fire("release", at=story.at + 10)
    assert story.steps["pay"] == "succeeded"


def test_an_old_start_is_started_by_a_person() -> None:
    """The message is where the journal has it: nobody needs to send it again."""
    story = given(checkout())
    story.at += 40 * 86_400_000
    story.when("OrderPlaced", sent_at=story.at - 2 * 86_400_000)
    assert (story.status, story.ignored(), story.sent()) == (Status.OBSERVED, ["old_start"], [])
    act(story, "start", offset=1)
    assert asked(story) == [1]
    copy_of(story, 1, "OrderPlaced", sent_at=story.at - 2 * 86_400_000)
    assert story.status is Status.RUNNING
    assert story.replayed() == story.txn


def test_closing_what_has_ended_loses_nothing_that_can_be_read() -> None:
    """Only the message that can't be read is dropped. What waits behind it may be an effect to reverse, or the parent's question."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured", "ShipmentBooked")
    assert story.status is Status.COMPLETED
    story.when("StockReserved", id="late", **GARBAGE).when("PaymentCaptured", id="later")
    first, second = story.txn.put_off
    act(story, "close")
    assert (story.status, story.txn.put_off, story.txn.incidents) == (Status.COMPLETED, [second], [])
    assert asked(story) == [second]
    assert [t.put_off for t in story.log if t.kind is Kind.DROPPED] == [first]


def test_closing_what_is_parked_looks_at_what_waits_behind_the_unreadable() -> None:
    """An effect that it reports is that person's to know."""
    story = running(**GARBAGE).when("StockReserved")
    first, second = story.txn.put_off
    act(story, "close")
    assert (story.status, story.txn.put_off, story.txn.incidents) == (Status.CLOSED, [second], [])
    assert ([t.put_off for t in story.log if t.kind is Kind.DROPPED], asked(story)) == ([first], [second])
    assert (story.txn.expires_at, [name for _, name, *_ in timers_of(story.txn)]) == (0, [AGAIN])
    copy_of(story, second, "StockReserved")
    assert (story.status, story.txn.put_off) == (Status.CLOSED, [])
    assert [incident.kind for incident in story.txn.incidents] == ["after_close"]
    assert act(story, "close").txn.expires_at > story.at
    assert story.replayed() == story.txn
