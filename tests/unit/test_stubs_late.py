"""The last event of a transaction that has ended comes a day later: from memory, or from what a retained record points to, it is the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor.codec import Codec
from kantor_orchestrator.view.queries import View
from unit.test_stubs import MOST, Story
from view_traffic import Traffic, project

DAY = 86_400


@pytest.fixture(params=["in memory", "from a retained record"])
def story(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Story]:
    """An order that was compensated a day ago."""
    story = Story(tmp_path)
    story.end("t")
    story.settle()
    if request.param == "from a retained record":
        story.restart()
    story.broker.clock.sleep(DAY)
    yield story
    story.engine.close()


def sent(story: Story) -> dict[str, int]:
    """Records by topic, of all that leaves an engine."""
    return {
        name: sum(log.end for log in topic.logs)
        for name, topic in story.broker.topics.items()
        if not name.startswith("sys.")
    }


def shown(story: Story, folder: Path) -> View:
    """What people see."""
    traffic = Traffic()
    traffic.schemas, traffic.codec = story.schemas, Codec(story.schemas)
    records = [
        record
        for name in ("sys.kantor.journal", "sys.kantor.history")
        for record in story.broker.topics[name].logs[0].read(0, 10_000, 1e12, committed=True)[0]
    ]
    project(traffic, folder / "view.db", records)  # type: ignore[arg-type]
    return View(folder / "view.db")


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        ("payment.PaymentDeclined", "payment is failed"),
        ("payment.PaymentRefunded", "no step is waiting for payment.PaymentRefunded"),
        ("inventory.StockReleased", "no step is waiting for inventory.StockReleased"),
        ("shipping.ShipmentBooked", "shipping.ShipmentBooked fits no step"),
        ("shop.OrderPlaced", "the transaction has started already"),
    ],
)
def test_what_has_no_effect_changes_nothing(story: Story, tmp_path: Path, type_: str, why: str) -> None:
    """Nothing is sent, and the end stays as it was; people see that it came, when, and why nothing follows from it."""
    before = sent(story)
    story.event("t", type_)
    story.settle()
    assert sent(story) == before
    with shown(story, tmp_path) as view:
        trace = view.trace("t")
    message = trace.timeline[-1]
    assert (message.type, [(move.kind, move.reason) for move in message.moves]) == (type_, [("ignored", why)])
    assert (trace.status, trace.incidents, trace.waiting_on) == ("compensated", [], [])
    assert trace.ended_at < message.at - (DAY - 60) * 1_000
    story.restart()
    assert len(story.state("t") or b"") <= MOST


def test_an_effect_that_nobody_knew_of_is_reversed(story: Story, tmp_path: Path) -> None:
    """Only its own reversal is sent; people see the order compensating again, and why."""
    before = sent(story)
    story.event("t", "payment.PaymentCaptured")
    story.settle()
    assert sent(story) == before | {"cmd.payment.v1": 1}
    with shown(story, tmp_path) as view:
        trace = view.trace("t")
    moves = [(move.kind, move.reason) for message in trace.timeline for move in message.moves]
    assert ("reopened", "an effect came after the end") in moves
    assert (trace.status, trace.waiting_on) == ("compensating", ["payment"])


def test_a_second_effect_waits_for_a_person(story: Story, tmp_path: Path) -> None:
    """The stock was reserved and released; that it was reserved is told once more, under another id: nothing is sent."""
    before = sent(story)
    story.event("t", "inventory.StockReserved")
    story.settle()
    assert sent(story) == before
    with shown(story, tmp_path) as view:
        trace = view.trace("t")
    (incident,) = trace.incidents
    assert "find out whether it happened again" in incident.reason
    assert (trace.status, trace.waiting_on) == ("compensating", ["a person"])
