"""Sagas written as the core has them, for rules that one example each shows best; expressions are Python functions.

``build(command("a"), event("b", after=["a"]))``: step ``a`` sends ``x.DoA`` and succeeds on ``x.ADone``, fails on
``x.AFailed``; ``reversible`` ones are compensated by ``x.ReverseA`` and confirmed by ``x.AReversed``. A step in a composite is named by
its last part: ``book`` in ``parcels.book`` sends ``x.DoBook``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import Command, Compensation, FieldRule, Retry, Saga, Step
from unit.core_kit import DEPLOYED, Story

Value = Callable[[Mapping[str, Any]], Any]


def _big(path: str) -> str:
    return path.rpartition(".")[2].capitalize()


def fields(**values: Value) -> tuple[FieldRule, ...]:
    return tuple(FieldRule(name, expression=value) for name, value in values.items())


def message(type_: str, **values: Value) -> Command:
    return Command(f"x.{type_}", "cmd.x.v1", fields(**values))


def step(path: str, *, after: Sequence[str] = (), **facts: Any) -> Step:
    parent = path.rpartition(".")[0]
    prefix = f"{parent}." if parent else ""
    return Step(path=path, parent=parent, after=tuple(prefix + name for name in after), **facts)


def event(path: str, *, reversible: bool = False, kind: str = "event", **facts: Any) -> Step:
    big = _big(path)
    compensation = (
        Compensation(command=message(f"Reverse{big}"), confirmed_on=f"x.{big}Reversed")
        if reversible
        else None
    )
    facts = {
        "succeeds_on": f"x.{big}Done",
        "fails_on": (f"x.{big}Failed",),
        "compensation": compensation,
    } | facts
    return step(path, kind=kind, **facts)


def command(path: str, *, sends: Mapping[str, Value] | None = None, **facts: Any) -> Step:
    known: dict[str, Any] = {"kind": "command", "retry": Retry(), "timeout": 10_000}
    facts = known | facts
    return event(path, command=message(f"Do{_big(path)}", **(sends or {})), **facts)


def composite(path: str, *inner: Step, **facts: Any) -> list[Step]:
    """``inner``: with paths below ``path``."""
    mine = [child.path for child in inner if child.parent == path]
    return [step(path, kind="composite", steps=tuple(mine), **facts), *inner]


def build(*steps: Step | list[Step], **facts: Any) -> Saga:
    flat = [one for found in steps for one in (found if isinstance(found, list) else [found])]
    types = {"x.Begun", *(one.succeeds_on for one in flat)}
    captures = {type_: frozenset({"line", "lines", "amount", "code", "reason"}) for type_ in types}
    known: dict[str, Any] = {"name": "s", "version": 1, "starts_on": "x.Begun", "deployed_at": DEPLOYED}
    facts = known | {"captures": captures} | facts
    return Saga(steps={one.path: one for one in flat}, **facts)


def begun(saga: Saga, **payload: Any) -> Story:
    return Story(saga).when("Begun", payload=payload)


def state(story: Story) -> str:
    """The transaction's status, read again."""
    return str(story.status)


def reply(story: Story, short: str, path: str, **payload: Any) -> Story:
    """The service answers the last attempt of a step's command."""
    return story.when(short, causation_id=story.txn.steps[path].command_id, payload=payload)


def confirm(story: Story, short: str, path: str) -> Story:
    return story.when(short, causation_id=story.txn.steps[path].compensation_id)


def act(story: Story, what: str, path: str = "", why: str = "because", **values: Any) -> Story:
    number = len(story.log)
    return story.deliver(
        Entry(
            "act",
            story.at + 10,
            type=what,
            id=f"act-{number}",
            source="kantor.acts",
            step=path,
            actor="ann",
            payload={"why": why, "fields": values},
            journal_offset=10_000 + number,
        )
    )
