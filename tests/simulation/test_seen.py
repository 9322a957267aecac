"""Whatever people are shown is compared: what would be shown otherwise is told, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kantor_orchestrator.view.queries import Hold, Summary, View
from kantor_orchestrator.view.shown import Step
from kantor_orchestrator.view.trace import Child, Incident, Message, Move, Trace
from simulation.drawing import plan
from simulation.mutation import near
from simulation.seen import seen_now
from simulation.view import ViewProcess
from simulation.world import World

#: Together the worlds of these seeds have all that there is to see: children, an incident that is open, one that was closed,
#: reversals, somebody who waits.
SEEDS = near(29)
#: Parts of a page, and in which of its lists they are.
PARTS = {Step: "steps", Message: "timeline", Incident: "incidents", Child: "children"}
LISTS = ("counts", "incidents", "transactions", "search", "find")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    """Runs that are over."""
    found: list[World] = []
    left = set(TO_SEE)
    for seed in SEEDS:
        world = World(plan(seed, "view"), tmp_path_factory.mktemp("world"))
        world.run()
        assert seen_now(world) == []
        (view,) = (process for process in world.processes if isinstance(process, ViewProcess))
        if new := left & _seen(view.path):
            left -= new
            found.append(world)
        else:
            world.close()
        if not left:
            break
    assert left == set(), "none of the seeds has it"
    yield found
    for world in found:
        world.close()


#: What some page has to show.
TO_SEE: Mapping[str, Callable[[Trace], Iterable[object]]] = {
    "children": lambda trace: trace.children,
    "parent": lambda trace: [trace.parent],
    "remedies": lambda trace: trace.remedies,
    "waiting": lambda trace: trace.waiting_on,
    "closed incidents": lambda trace: [incident.closed_at for incident in trace.incidents],
    "open incidents": lambda trace: [not incident.closed_at for incident in trace.incidents],
    "compensations": lambda trace: [step.compensation_attempts for step in trace.steps],
    "moves": lambda trace: [message.moves for message in trace.timeline],
}


def _seen(path: Path) -> set[str]:
    with View(path) as view:
        traces = [view.trace(one.transaction_id) for one in view.transactions().transactions]
    return {name for name, of in TO_SEE.items() if any(any(of(trace)) for trace in traces)}


def otherwise(value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}?"
    if isinstance(value, int):
        return value + 1
    if isinstance(value, tuple):
        return (*value, "?")
    return value[1:]


@contextmanager
def shown_otherwise(name: str, change: Any) -> Iterator[None]:
    """What the view answers to one question goes through ``change``."""
    before = View.__dict__[name]
    setattr(View, name, lambda *args, **facts: change(before(*args, **facts)))
    try:
        yield
    finally:
        setattr(View, name, before)


def told(worlds: list[World], name: str, change: Any) -> str:
    with shown_otherwise(name, change):
        found = [seen_now(world) for world in worlds]
    assert None not in found
    return "\n".join(line for lines in found for line in lines or ())


@pytest.mark.parametrize("name", [one.name for one in fields(Trace) if one.name != "remedies"])
def test_each_field_of_a_page_is_compared(worlds: list[World], name: str) -> None:
    """If one of a trace's fields was shown otherwise, the simulation would tell."""
    found = told(worlds, "trace", lambda trace: replace(trace, **{name: otherwise(getattr(trace, name))}))
    assert f"shows {name}" in found


@pytest.mark.parametrize("name", [one.name for one in fields(Summary)])
def test_each_field_of_a_list_is_compared(worlds: list[World], name: str) -> None:
    """If a column of a list was shown otherwise, the simulation would tell."""
    found = told(
        worlds,
        "summaries",
        lambda rows: [replace(row, **{name: otherwise(getattr(row, name))}) for row in rows],
    )
    assert f"shows {name}" in found


@pytest.mark.parametrize(("part", "name"), [(part, one.name) for part in PARTS for one in fields(part)])
def test_each_field_of_a_part_of_a_page_is_compared(worlds: list[World], part: type, name: str) -> None:
    """If anything of a step, a message, an incident or a child was shown otherwise, the simulation would tell."""
    assert is_dataclass(part)
    where = PARTS[part]

    def change(trace: Trace) -> Trace:
        items: Any = [replace(one, **{name: otherwise(getattr(one, name))}) for one in getattr(trace, where)]
        return replace(trace, **{where: items})

    assert f"shows {where}" in told(worlds, "trace", change)


@pytest.mark.parametrize("name", [one.name for one in fields(Move)])
def test_each_field_of_a_move_is_compared(worlds: list[World], name: str) -> None:
    """If anything of a transition was shown otherwise, the simulation would tell."""

    def change(trace: Trace) -> Trace:
        for message in trace.timeline:
            message.moves = [
                replace(move, **{name: otherwise(getattr(move, name))}) for move in message.moves
            ]
        return trace

    assert "shows timeline" in told(worlds, "trace", change)


@pytest.mark.parametrize("where", ["timeline", "steps", "incidents"])
def test_the_order_of_what_a_page_shows_is_compared(worlds: list[World], where: str) -> None:
    """What is shown in another order is told."""

    def change(trace: Trace) -> Trace:
        items: Any = getattr(trace, where)[::-1]
        return replace(trace, **{where: items})

    assert f"shows {where}" in told(worlds, "trace", change)


def test_a_remedy_that_is_refused_is_told(worlds: list[World]) -> None:
    """People would be sent to do what can't be done."""

    def change(trace: Trace) -> Trace:
        return replace(trace, remedies=[replace(one, act="signal") for one in trace.remedies])

    assert "and is refused" in told(worlds, "trace", change)


def test_a_remedy_that_is_missing_is_told(worlds: list[World]) -> None:
    """People would not hear of what could be done."""

    def change(trace: Trace) -> Trace:
        return replace(trace, remedies=[one for one in trace.remedies if one.act == "close"])

    assert "and is not proposed" in told(worlds, "trace", change)


@pytest.mark.parametrize("name", LISTS)
def test_what_lists_show_of_all_is_compared(worlds: list[World], name: str) -> None:
    """A transaction, an incident or a count that is missing in a list, or is not found, is told."""

    def change(found: Any) -> Any:
        if isinstance(found, dict):
            return {}
        if isinstance(found, list):
            return found[:-1]
        return replace(found, transactions=found.transactions[:-1])

    assert told(worlds, name, change) != ""


def test_a_hold_that_nobody_has_is_told(worlds: list[World]) -> None:
    """What people are shown of held sagas is what the shards have."""
    assert "are shown as held" in told(
        worlds, "holds", lambda found: [*found, Hold("sim", "held by bob: why", 1)]
    )
