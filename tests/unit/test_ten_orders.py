"""Order does not exist across topics: whatever order messages arrive in, late, early or twice, the outcome is the same (saga-2).

A world in which every service answers what it is sent, and reacts to what others publish, as soon as it is *published*;
what the engine sees comes in an order that a seed decides. Causality is all that is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import SentCommand
from unit.core_kit import BEGIN, Story
from unit.test_definitions_ten import compiled

#: What a service publishes: type, fields. Given a command's type and fields, or an event's.
Answers = Callable[[str, Mapping[str, Any]], list[tuple[str, dict[str, Any]]]]

LINES: list[dict[str, Any]] = [
    {"line_id": f"l{n}", "sku": f"s{n}", "qty": 1, "amount_cents": 100 * n} for n in (1, 2, 3)
]


def laptop(broken: set[str]) -> Answers:
    """Articles in ``broken`` can't be shipped."""
    booked: dict[str, str] = {}

    def answers(type_: str, fields: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        match type_:
            case "shop.OrderPlaced":
                return [("inventory.StockReserved", {})]
            case "inventory.StockReserved":
                return [("payment.PaymentCaptured", {})]
            case "shipping.BookShipment":
                if fields["sku"] in broken:
                    return [("shipping.ShipmentUnavailable", {"reason": "gone"})]
                booked[fields["sku"]] = next(
                    line["line_id"] for line in LINES if line["sku"] == fields["sku"]
                )
                return [("shipping.ShipmentBooked", {"sku": fields["sku"]})]
            case "shipping.ShipmentBooked":
                return [("shipping.ParcelDispatched", {"line_id": booked[fields["sku"]]})]
            case "payment.RefundPart" | "payment.RefundPayment":
                return [("payment.PaymentRefunded", {})]
            case "inventory.ReleaseLines" | "inventory.ReleaseStock":
                return [("inventory.StockReleased", {})]
            case "shipping.CancelShipment":
                return [("shipping.ShipmentCancelled", {})]
        return []

    return answers


def travel(full: set[str], *, paid: bool) -> Answers:
    def answers(type_: str, fields: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        match type_:
            case "flights.BookSeat":
                return [("flights.SeatBooked", {})]
            case "hotels.BookRoom":
                return [("hotels.RoomUnavailable" if fields["hotel"] in full else "hotels.RoomBooked", {})]
            case "payment.Capture":
                return [("payment.PaymentCaptured" if paid else "payment.PaymentDeclined", {})]
            case "flights.CancelSeat":
                return [("flights.SeatCancelled", {})]
            case "hotels.CancelRoom":
                return [("hotels.RoomCancelled", {})]
        return []

    return answers


def video(broken: set[str]) -> Answers:
    def answers(type_: str, fields: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        match type_:
            case "media.ProbeVideo":
                names = [{"name": name, "height": n} for n, name in enumerate(("sd", "hd", "4k"))]
                return [("media.VideoProbed", {"renditions": names})]
            case "media.EncodeRendition":
                failed = fields["name"] in broken
                return [("media.EncodingFailed" if failed else "media.RenditionEncoded", {})]
            case "media.DeleteRendition":
                return [("media.RenditionDeleted", {})]
            case "media.PublishVideo":
                return [("media.VideoPublished", {})]
        return []

    return answers


CASES: dict[str, tuple[str, str, dict[str, Any], Callable[[], Answers]]] = {
    "all parcels": ("laptop_checkout", "shop.OrderPlaced", {"lines": LINES}, lambda: laptop(set())),
    "one parcel gone": ("laptop_checkout", "shop.OrderPlaced", {"lines": LINES}, lambda: laptop({"s2"})),
    "no parcel": (
        "laptop_checkout",
        "shop.OrderPlaced",
        {"lines": LINES},
        lambda: laptop({"s1", "s2", "s3"}),
    ),
    "second hotel": (
        "travel_booking",
        "travel.TripRequested",
        {"hotel_a": "A", "hotel_b": "B"},
        lambda: travel({"A"}, paid=True),
    ),
    "no hotel": (
        "travel_booking",
        "travel.TripRequested",
        {"hotel_a": "A", "hotel_b": "B"},
        lambda: travel({"A", "B"}, paid=True),
    ),
    "not paid": (
        "travel_booking",
        "travel.TripRequested",
        {"hotel_a": "A", "hotel_b": "B"},
        lambda: travel(set(), paid=False),
    ),
    "a video": ("video_encoding", "media.VideoUploaded", {"video_id": "v"}, lambda: video(set())),
    "a broken rendition": ("video_encoding", "media.VideoUploaded", {"video_id": "v"}, lambda: video({"hd"})),
}


class World:
    """Publishes, keeps what the engine has not seen yet, and delivers in the order of chance."""

    def __init__(self, saga: str, answers: Answers, seed: int) -> None:
        self.story = Story(compiled(saga))
        self.chance = random.Random(seed)
        self._answers = answers
        self._unseen: list[Entry] = []
        self._done: set[str] = set()
        self._sent = 0

    def publish(self, type_: str, fields: dict[str, Any], cause: str) -> None:
        id_ = f"{type_} because of {cause}"
        entry = Entry("event", 0, type_, id_, type_.partition(".")[0], cause, "evt/0/1", BEGIN, fields)
        self._unseen += [entry] * (2 if self.chance.random() < 0.2 else 1)  # now and then twice
        self._react(type_, fields, id_)

    def _react(self, type_: str, fields: Mapping[str, Any], cause: str) -> None:
        for answer, values in self._answers(type_, fields):
            self.publish(answer, values, cause)

    def run(self) -> Story:
        story = self.story
        while self._unseen:
            entry = self._unseen.pop(self.chance.randrange(len(self._unseen)))
            wanted = story.saga.captures.get(entry.type, frozenset())
            payload = {k: v for k, v in (entry.payload or {}).items() if k in wanted}
            at = story.at + 1
            story.deliver(
                Entry(
                    "event",
                    at,
                    entry.type,
                    entry.id,
                    entry.source,
                    entry.causation_id,
                    "evt/0/1",
                    BEGIN,
                    payload,
                )
            )
            for command in story.commands[self._sent :]:
                self._carry_out(command)
            self._sent = len(story.commands)
        return story

    def _carry_out(self, command: SentCommand) -> None:
        """As a service with an inbox: one action has one effect, each attempt an answer."""
        if command.idempotency_key not in self._done:
            self._done.add(command.idempotency_key)
            self._react(command.type, command.fields, command.id)


def outcome(story: Story) -> tuple[Any, ...]:
    """What counts in the end: how it ended, where each step stands, and what was sent. How often a compensation was sent
    may differ: a step that was in flight when compensation began is reversed again when it turns out to have happened.
    So may whether an item was done before another one failed: what counts is what became of its effects."""
    sent = {(c.type, tuple(sorted((k, str(v)) for k, v in c.fields.items()))) for c in story.commands}
    steps = {path: status for path, status in story.steps.items() if not path.endswith("]")}
    return str(story.status), tuple(sorted(steps.items())), tuple(sorted(sent))


@pytest.mark.parametrize("case", CASES)
def test_any_order_ends_the_same(case: str) -> None:
    """In 150 orders: the same end, the same steps, the same commands; history and state tell the same each time."""
    saga, starts_on, fields, answers = CASES[case]
    found = set()
    for seed in range(150):
        world = World(saga, answers(), seed)
        world.publish(starts_on, fields, "")
        story = world.run()
        assert story.replayed() == story.txn
        found.add(outcome(story))
    assert len(found) == 1, found
    (status, _, _) = found.pop()
    assert status in {"completed", "compensated"}
