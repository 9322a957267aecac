"""Composites: members, how many must succeed, in which order, and what becomes of those that fail or are not needed
(saga-26, saga-27).
"""

from __future__ import annotations

from typing import Any

import pytest

from kantor.envelope import event_id
from kantor_orchestrator.core import progress
from kantor_orchestrator.core.saga import Retry, Saga
from kantor_orchestrator.core.transaction import Kind, Status
from unit.core_kit import Story, seconds
from unit.saga_kit import act, begun, build, command, composite, confirm, event, reply, state


def parcels(**facts: Any) -> Saga:
    """One parcel for each line, booked by command and dispatched by an event that names its line; then a bill."""
    book = command("parcels.book", sends={"line": lambda s: s["item"]["line"]}, reversible=True)
    sent = event("parcels.sent", after=["book"], match=lambda s: s["event"]["line"] == s["item"]["line"])
    found = composite("parcels", book, sent, each=lambda s: s["start"]["lines"], **facts)
    return build(
        event("paid", reversible=True),
        [found[0].__class__(**{**_facts(found[0]), "after": ("paid",)}), *found[1:]],
        command(
            "bill",
            after=["parcels"],
            sends={"lines": lambda s: [m["item"]["line"] for m in s["parcels"]["failed"]]},
        ),
    )


def _facts(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


def lines(*names: str) -> list[dict[str, str]]:
    return [{"line": name} for name in names]


def hotels(**facts: Any) -> Saga:
    return build(
        composite(
            "hotel",
            command("hotel.a", reversible=True),
            command("hotel.b", reversible=True),
            **facts,
        ),
        command("pay", after=["hotel"]),
    )


def check(story: Story) -> None:
    assert story.replayed() == story.txn, "history and state tell the same"


@pytest.mark.parametrize("is_kit", [True, False])
def test_an_answer_that_names_only_a_commands_key_is_for_that_member(is_kit: bool) -> None:
    """As the kit makes it of the command's, or as a service passes it on; and no cause."""
    story = begun(parcels(), lines=lines("x", "y")).when("PaidDone")
    _, second = story.commands
    key = second.idempotency_key
    story.when(
        "BookDone",
        causation_id="",
        idempotency_key=event_id(key, story.entry("BookDone").type, 0) if is_kit else key,
    )
    assert (story.steps["parcels[0].book"], story.steps["parcels[1].book"]) == ("active", "succeeded")
    check(story)


def test_each_item_is_a_member() -> None:
    """A composite over a list sends one command for each item, with the item's fields, and succeeds with all of them."""
    story = begun(parcels(), lines=lines("x", "y")).when("PaidDone")
    assert [c.fields for c in story.commands] == [{"line": "x"}, {"line": "y"}]
    for n, name in enumerate(("x", "y")):
        reply(story, "BookDone", f"parcels[{n}].book")
        story.when("SentDone", payload={"line": name})
    assert story.steps["parcels"] == story.steps["parcels[1]"] == "succeeded"
    assert story.command("DoBill").fields == {"lines": []}
    check(story)


def test_ids_tell_members_apart() -> None:
    """The ids and idempotency keys of members' commands come from their paths."""
    story = begun(parcels(), lines=lines("x", "y")).when("PaidDone")
    first, second = story.commands
    assert first.id != second.id
    assert first.idempotency_key != second.idempotency_key


def test_an_empty_list_succeeds_at_once() -> None:
    """No items, nothing to do."""
    story = begun(parcels(), lines=[]).when("PaidDone")
    assert story.steps["parcels"] == "succeeded"
    assert story.sent() == ["DoBill"]


def test_an_empty_list_where_one_must_succeed_fails() -> None:
    """Where one of none must succeed, the composite can't."""
    story = begun(parcels(need=1), lines=[]).when("PaidDone")
    assert story.steps["parcels"] == "failed"
    assert story.sent() == ["ReversePaid"]


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_events_find_their_member(order: tuple[str, str]) -> None:
    """An event that no command caused is for the member that ``match`` selects, in whatever order events come."""
    story = begun(parcels(), lines=lines("x", "y")).when("PaidDone")
    for n in (0, 1):
        reply(story, "BookDone", f"parcels[{n}].book")
    story.when("SentDone", payload={"line": order[0]})
    done = f"parcels[{0 if order[0] == 'x' else 1}]"
    assert [p for p in ("parcels[0]", "parcels[1]") if story.steps[p] == "succeeded"] == [done]
    story.when("SentDone", payload={"line": order[1]})
    assert story.steps["parcels"] == "succeeded"


def test_an_event_before_its_composite_is_kept() -> None:
    """An event for a member comes before the composite has begun: it counts once it has."""
    story = begun(parcels(), lines=lines("x")).when("SentDone", payload={"line": "x"})
    assert story.kinds()[-1] is Kind.KEPT
    story.when("PaidDone")
    assert story.steps["parcels[0].sent"] == "succeeded"
    reply(story, "BookDone", "parcels[0].book")
    assert story.steps["parcels"] == "succeeded"
    check(story)


def test_an_event_that_fits_no_member_is_recorded() -> None:
    """Nothing matches: it contradicts the state, which says why."""
    story = begun(parcels(), lines=lines("x")).when("PaidDone").when("SentDone", payload={"line": "z"})
    assert story.ignored() == ["no_match"]


def test_a_failed_member_fails_all() -> None:
    """Where all must succeed, one failure compensates what the others did, and what came before."""
    story = begun(parcels(), lines=lines("x", "y")).when("PaidDone")
    reply(story, "BookDone", "parcels[0].book")
    reply(story, "BookFailed", "parcels[1].book")
    assert state(story) == "compensating"
    assert story.sent()[2:] == ["ReverseBook"]
    confirm(story, "BookReversed", "parcels[0].book")
    assert story.sent() == ["ReversePaid"]
    story.when("PaidReversed")
    assert state(story) == "compensated"
    check(story)


def test_enough_members_succeed() -> None:
    """With ``settle_all`` the composite waits for all its members; those that failed are listed, the saga goes on."""
    story = begun(parcels(need=1, settle_all=True), lines=lines("x", "y")).when("PaidDone")
    reply(story, "BookFailed", "parcels[1].book")
    assert story.steps["parcels[1]"] == "failed"
    reply(story, "BookDone", "parcels[0].book").when("SentDone", payload={"line": "x"})
    assert story.steps["parcels"] == "succeeded"
    assert story.command("DoBill").fields == {"lines": ["y"]}
    reply(story, "BillDone", "bill")
    assert state(story) == "completed"
    check(story)


def test_a_member_in_doubt_is_reversed_and_ends_nothing() -> None:
    """A member that never answers is given up; the saga completes once its compensation is confirmed."""
    story = begun(parcels(need=1, settle_all=True), lines=lines("x", "y")).when("PaidDone")
    reply(story, "BookDone", "parcels[0].book").when("SentDone", payload={"line": "x"})
    story.wait(seconds(11))
    assert story.steps["parcels[1].book"] == "compensating"
    assert story.steps["parcels"] == "succeeded"
    reply(story, "BillDone", "bill")
    assert state(story) == "running", "an effect may be there"
    confirm(story, "BookReversed", "parcels[1].book")
    assert state(story) == "completed"


def test_open_losers_are_reversed() -> None:
    """Without ``settle_all`` the first that suffices decides; what is open then is in doubt, and reversed."""
    story = begun(hotels(need=1))
    assert story.sent() == ["DoA", "DoB"]
    reply(story, "ADone", "hotel.a")
    assert story.sent() == ["DoPay", "ReverseB"]
    reply(story, "PayDone", "pay")
    reply(story, "BDone", "hotel.b")
    assert state(story) == "running"
    confirm(story, "BReversed", "hotel.b")
    assert story.sent() == ["ReverseB"], "it happened after all: a second round"
    confirm(story, "BReversed", "hotel.b")
    assert state(story) == "completed"
    check(story)


def test_one_after_the_other_is_else() -> None:
    """``in_order`` with ``need`` 1: the second is tried only when the first has failed."""
    story = begun(hotels(need=1, in_order=True))
    assert story.sent() == ["DoA"]
    reply(story, "AFailed", "hotel.a")
    assert story.sent() == ["DoB"]
    reply(story, "BDone", "hotel.b")
    assert story.sent() == ["DoPay"]
    reply(story, "PayDone", "pay")
    assert state(story) == "completed"
    check(story)


def test_what_is_not_needed_never_begins() -> None:
    """``in_order`` with ``need`` 1: if the first succeeds, the second is never tried."""
    story = begun(hotels(need=1, in_order=True))
    reply(story, "ADone", "hotel.a")
    assert "hotel.b" not in story.steps
    assert story.sent() == ["DoA", "DoPay"]


def test_all_alternatives_fail() -> None:
    """No alternative is left: the composite fails, and with it the saga."""
    story = begun(hotels(need=1, in_order=True))
    reply(story, "AFailed", "hotel.a")
    reply(story, "BFailed", "hotel.b")
    assert state(story) == "compensated"
    check(story)


def test_members_in_order_are_reversed_in_reverse() -> None:
    """Members that ran one after the other are reversed the last first."""
    story = begun(hotels(in_order=True))
    reply(story, "ADone", "hotel.a")
    reply(story, "BDone", "hotel.b")
    reply(story, "PayFailed", "pay")
    assert story.sent()[3:] == ["ReverseB"]
    confirm(story, "BReversed", "hotel.b")
    assert story.sent() == ["ReverseA"]


def test_members_side_by_side_are_reversed_side_by_side() -> None:
    """Members without an order are reversed at once."""
    story = begun(hotels())
    reply(story, "ADone", "hotel.a")
    reply(story, "BDone", "hotel.b")
    reply(story, "PayFailed", "pay")
    assert sorted(story.sent()[3:]) == ["ReverseA", "ReverseB"]


def test_an_optional_step_may_fail() -> None:
    """What is optional fails without consequences; what comes after it goes on and can see it."""
    saga = build(
        command("mail", optional=True),
        command("done", after=["mail"], when=lambda s: s["mail"]["status"] == "failed"),
    )
    story = begun(saga)
    reply(story, "MailFailed", "mail")
    assert story.sent() == ["DoMail", "DoDone"]
    reply(story, "DoneDone", "done")
    assert state(story) == "completed"


def test_an_optional_step_in_doubt_is_reversed() -> None:
    """An optional step that never answered may have happened: it is reversed while the saga goes on."""
    story = begun(build(command("laptop", optional=True, reversible=True), command("mail")))
    story.wait(seconds(11))
    assert story.sent()[2:] == ["ReverseLaptop"]
    assert state(story) == "compensating", "mail is not optional, and never answered either"
    story = begun(build(command("laptop", optional=True, reversible=True), command("mail", timeout=60_000)))
    story.wait(seconds(11))
    reply(story, "MailDone", "mail")
    assert (story.status, story.steps["laptop"]) == (Status.RUNNING, "compensating")
    confirm(story, "LaptopReversed", "laptop")
    assert state(story) == "completed"


def test_a_guard_skips() -> None:
    """A guard that says no skips the step, which satisfies what comes after it."""
    saga = build(command("small", when=lambda s: s["start"]["amount"] < 10), command("next", after=["small"]))
    assert begun(saga, amount=5).sent() == ["DoSmall"]
    story = begun(saga, amount=50)
    assert story.steps["small"] == "skipped"
    assert story.sent() == ["DoNext"]


def test_all_members_skipped() -> None:
    """Members that are skipped do not keep a composite from succeeding."""
    never = composite("approvals", command("approvals.a", when=lambda s: False), in_order=True)
    assert begun(build(never, command("pay", after=["approvals"]))).sent() == ["DoPay"]


def test_an_expression_that_throws_is_an_incident_of_its_step() -> None:
    """A guard that throws opens one incident, and nothing else: the transaction waits for a person."""
    story = begun(build(command("a", when=lambda s: s["start"]["nothing"]), command("b")))
    assert [i.step for i in story.txn.incidents] == ["a"]
    assert "KeyError" in story.txn.incidents[0].reason
    reply(story, "BDone", "b")
    assert len(story.txn.incidents) == 1
    assert state(story) == "running"


def test_retries_are_members_own() -> None:
    """Each member has its own attempts."""
    retry = Retry(attempts=2, backoff=100, jitter="none")
    saga = build(composite("all", command("all.a", retry=retry), each=lambda s: [1, 2]))
    story = begun(saga)
    story.wait(seconds(10))
    reply(story, "ADone", "all[0].a")
    story.wait(seconds(1))
    assert story.txn.steps["all[1].a"].attempt == 2
    reply(story, "ADone", "all[1].a")
    assert state(story) == "completed"


def test_the_compensation_of_a_choreographed_member_names_no_action() -> None:
    """Its service knows no item: a name that it never heard would tell it that nothing has happened, and it would confirm
    without reversing anything."""
    pick = event("lines.pick", reversible=True, match=lambda scope: scope["event"]["line"] == scope["index"])
    saga = build(composite("lines", pick, each=lambda _: [0, 1]), event("pay", after=["lines"]))
    story = begun(saga)
    for line in (0, 1):
        story.when("PickDone", payload={"line": line})
    assert story.when("PayFailed").sent() == ["ReversePick", "ReversePick"]
    assert {command.reverses for command in story.commands} == {""}


def test_members_multiply_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ``each`` in an ``each``: what is too much is an incident of this transaction, which a person can skip."""
    monkeypatch.setattr(progress, "MOST_MEMBERS_IN_ALL", 5)
    inner = composite("g.h", command("g.h.book"), each=lambda scope: scope["item"])
    story = begun(
        build(composite("g", *inner, each=lambda scope: scope["start"]["lines"])), lines=[[1], [1, 2, 3]]
    )
    (incident,) = story.txn.incidents
    assert (incident.kind, incident.step) == ("expression", "g[1].h")
    assert incident.reason == (
        "each of g[1].h: 3 items beside the 3 members that the transaction has; the limit is 5 in all"
    )
    act(story, "skip", "g[1].h", "booked by phone")
    reply(story, "BookDone", "g[0].h[0].book")
    assert story.status is Status.COMPLETED
