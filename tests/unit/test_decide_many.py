"""An ``each`` over very many items: what an entry costs grows as they do, not as their square."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from kantor_orchestrator.core.saga import Saga
from unit.core_kit import Story
from unit.saga_kit import build, command, composite, event, reply

FEW, MANY = 50, 200


def parcels() -> Saga:
    """Each is booked by command, and sent by an event that names its line."""
    book = command("parcels.book", sends={"line": lambda s: s["item"]["line"]}, reversible=True)
    sent = event("parcels.sent", after=["book"], match=lambda s: s["event"]["line"] == s["item"]["line"])
    return build(composite("parcels", book, sent, each=lambda s: s["start"]["lines"]))


def calls(act: Callable[[], Any]) -> int:
    """How many functions of Python are called: the same each time, whatever the machine does."""
    found = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal found
        found += event == "call"

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


def lines(number: int) -> list[dict[str, str]]:
    return [{"line": f"L{n}"} for n in range(number)]


def started(number: int) -> Story:
    return Story(parcels()).when("Begun", payload={"lines": lines(number)})


def start(number: int) -> int:
    return calls(lambda: started(number))


def book(number: int) -> int:
    story = started(number)
    return calls(lambda: reply(story, "BookDone", "parcels[7].book"))


def match(number: int) -> int:
    story = reply(started(number), "BookDone", "parcels[7].book")
    return calls(lambda: story.when("SentDone", payload={"line": "L7"}))


@pytest.mark.parametrize("cost", [start, book, match])
def test_four_times_the_members_cost_four_times_as_much(cost: Callable[[int], int]) -> None:
    """To begin them, to answer one of them by its command, to find one by what is in it."""
    assert cost(MANY) < 5 * cost(FEW)


def test_what_happens_in_one_member_is_not_looked_for_in_the_others() -> None:
    """Its answer costs a few calls for each of the others, not a look into each."""
    assert (book(MANY) - book(FEW)) / (MANY - FEW) < 10
