"""Sagas to simulate, as their authors would write them: the checkout example, and what ``shapes.py`` draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import kantor_schemas
from kantor.testing.clock import EPOCH
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.dsl import Saga as Written
from kantor_orchestrator.definitions.dsl import Steps
from kantor_schemas import Catalog, Schema
from simulation.shapes import CANCELLED, GUARD, REFUSAL, START, Shape, StepShape

#: When the sagas were deployed: before every start.
DEPLOYED = EPOCH - 3_600_000
_EXAMPLE = Path(__file__).parents[2] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"

#: Runs whose sagas a process remembers.
_RUNS = 64

COMMANDS, EVENTS = ("Do", "Reverse", "Ask"), ("Done", "Refused", "Reversed", "Given")


def triggers(shape: Shape, service: str) -> set[str]:
    """The topics that a service's actions are caused by."""
    schemas, found = catalog(shape), set[str]()
    for one in shape.family:
        for step in one.every:
            if step.service == service and step.kind == "command":
                found.add(f"cmd.{service}.v1")
            elif step.service == service and step.kind == "event":
                found.add(schemas[cause(one, step)]["kantor.topic"])
    return found


def cause(shape: Shape, step: StepShape) -> str:
    """The event that an event step's service reacts to."""
    by = next((other.service for other in shape.every if other.name == step.trigger), "")
    return {"": shape.starts_on, "inventory": "inventory.StockReserved"}.get(by, f"{by}.Done")


def topics(shape: Shape) -> tuple[str, ...]:
    """Of all its messages."""
    found = {schema["kantor.topic"] for schema in catalog(shape).values() if "kantor.topic" in schema}
    services = set(shape.services)
    commands = {f"cmd.{service}.v1" for service in services}
    failures = {f"evt.{service}.failure.v1" for service in services}
    return tuple(sorted(found | commands | failures | {f"dlq.{service}" for service in services}))


def type_of(step: StepShape, name: str) -> str:
    """One of ``COMMANDS`` or ``EVENTS`` of a generated step."""
    return f"{step.service}.{name}"


@cache
def schema(type_: str, topic: str) -> Schema:
    """A generated message's schema. ``item``: the index of the item that it is about, -1: of none."""
    space, _, name = type_.rpartition(".")
    fields: list[dict[str, Any]] = [
        {"name": "order_id", "type": "string"},
        {"name": "amount", "type": "long", "default": 0},
    ]
    if name == "Begun":
        fields.append({"name": "lines", "type": {"type": "array", "items": "string"}, "default": []})
    else:
        fields.append({"name": "item", "type": "long", "default": -1})
    return {"type": "record", "name": name, "namespace": space, "kantor.topic": topic, "fields": fields}


def topic_of(type_: str) -> str:
    """The topic of a generated message."""
    space, _, name = type_.rpartition(".")
    return f"{'cmd' if name in COMMANDS or type_ == REFUSAL else 'evt'}.{space}.v1"


@lru_cache(_RUNS)
def catalog(shape: Shape) -> Mapping[str, Schema]:
    if shape.example:
        return kantor_schemas.example("checkout")
    types = [START, CANCELLED, REFUSAL, *(one.starts_on for one in shape.family[1:])]
    for one in shape.family:
        for step in one.every:
            if step.kind in ("event", "command", "signal"):
                types += [type_of(step, name) for name in COMMANDS + EVENTS]
    return Catalog([schema(type_, topic_of(type_)) for type_ in types])


def written(shape: Shape) -> Iterator[Written]:
    """The definitions as their authors would write them: the saga's, and its children's."""
    if shape.example:
        yield Written.load(_EXAMPLE)
        return
    for one in shape.family:
        cancel: dict[str, Any] | None = None
        if one.cancel_until:
            cancel = {"event": CANCELLED, "until": one.cancel_until}
            cancel |= {"refuse_with": REFUSAL} if one.refuses else {}
        saga = Written(
            one.name,
            version=1,
            starts_on=one.starts_on,
            keys=["order_id"],
            deadline=f"{one.deadline}s" if one.deadline else None,
            compensation=one.compensation,
            cancel_on=cancel,
        )
        for step in one.steps:
            _write(saga, step, in_each=False)
        yield saga


def _write(steps: Steps, step: StepShape, *, in_each: bool) -> None:
    words: dict[str, Any] = {"after": list(step.after)}
    if step.guarded:
        words["when"] = f"start.amount > {GUARD}"
    if step.optional:
        words["optional"] = True
    item = {"item": "index"} if in_each else {}
    if step.kind == "group":
        inner = Steps()
        for one in step.steps:
            _write(inner, one, in_each=in_each or step.each)
        words |= {"steps": inner, "in_order": step.in_order}
        words |= {"each": "start.lines"} if step.each else {}
        words |= {"need": step.need} if step.need else {}
        words |= {"settle": "all"} if step.settle else {}
    elif step.kind == "sleep":
        # An expression: lint would refuse a pause beyond the deadline, and that is one of the things that may happen here.
        words["sleep"] = f"start.order_id == '' ? '0s' : '{step.timeout}s'"
    elif step.kind == "signal":
        words |= {"signal": type_of(step, "Given"), "timeout": f"{step.timeout}s"}
    elif step.kind == "saga":
        assert step.child is not None
        words |= {"saga": step.child.name, "timeout": f"{step.timeout}s"}
    else:
        words |= _of_service(step, item)
    steps.step(step.name, **words)


def _of_service(step: StepShape, item: dict[str, str]) -> dict[str, Any]:
    words: dict[str, Any] = {
        "succeeds_on": type_of(step, "Done"),
        "fails_on": type_of(step, "Refused"),
        "timeout": f"{step.timeout}s",
    }
    if step.kind == "command":
        words["command"] = {"type": type_of(step, "Do"), "fields": item}
        words["retry"] = {"attempts": step.attempts}
        words["retry"] |= {"backoff": "200ms"} if step.attempts > 1 else {}
    elif item:
        words["match"] = "event.item == index"
    if step.pivot:
        words["pivot"] = True
    if step.in_doubt == "wait":
        words["in_doubt"] = "wait"
    elif step.in_doubt == "ask":
        words["in_doubt"] = {"ask": {"type": type_of(step, "Ask"), "fields": item}}
    if step.is_compensated:
        words["compensate_with"] = {"command": type_of(step, "Reverse"), "fields": item}
        words["compensated_on"] = type_of(step, "Reversed")
    return words


@lru_cache(_RUNS)
def definitions(shape: Shape) -> Definitions:
    """The sagas, deployed."""
    schemas = catalog(shape)
    models = [one.model for one in written(shape)]
    children = children_of(models, schemas)
    return Definitions([bundles.bundle(model, schemas, DEPLOYED, children) for model in models])


def compiled(shape: Shape) -> Saga:
    found = definitions(shape).starting_with(shape.starts_on)
    assert found is not None
    return found
