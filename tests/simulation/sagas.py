"""Sagas to simulate: the checkout example, and generated ones with services of their own.

A :class:`Shape` says what both the definition and the services need to know. The generator draws event and command steps
in a DAG; other kinds of steps join by a field here, a word in :func:`definition` and a handler in ``services.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import kantor_schemas
from kantor.testing.clock import EPOCH
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.dsl import Saga as Written
from kantor_schemas import Catalog, Schema

#: When the sagas were deployed: before every start.
DEPLOYED = EPOCH - 3_600_000
START = "sim.shop.Begun"
_EXAMPLE = Path(__file__).parents[2] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"


@dataclass(frozen=True, slots=True)
class StepShape:
    """One step. ``trigger``: for an event step, the step whose success its service reacts to ("": the start)."""

    name: str
    service: str
    kind: str = "event"
    after: tuple[str, ...] = ()
    trigger: str = ""
    timeout: int = 0  # s
    attempts: int = 1
    is_compensated: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """One saga. ``example``: it is the checkout."""

    steps: tuple[StepShape, ...]
    deadline: int = 0  # s
    example: bool = False

    @property
    def starts_on(self) -> str:
        return "shop.OrderPlaced" if self.example else START

    def triggers(self, service: str) -> set[str]:
        """The topics that a service's actions are caused by."""
        schemas, found = catalog(self), set[str]()
        for step in self.steps:
            if step.service == service and step.kind == "command":
                found.add(f"cmd.{service}.v1")
            elif step.service == service:
                by = next((other.service for other in self.steps if other.name == step.trigger), "")
                cause = {"": self.starts_on, "inventory": "inventory.StockReserved"}.get(by, f"{by}.Done")
                found.add(schemas[cause]["kantor.topic"])
        return found

    @property
    def topics(self) -> tuple[str, ...]:
        """Of all its messages."""
        found = {schema["kantor.topic"] for schema in catalog(self).values() if "kantor.topic" in schema}
        services = {step.service for step in self.steps}
        commands = {f"cmd.{service}.v1" for service in services}
        failures = {f"evt.{service}.failure.v1" for service in services}
        return tuple(sorted(found | commands | failures | {f"dlq.{service}" for service in services}))


def checkout() -> Shape:
    """The example, as it is in checkout.yaml."""
    return Shape(
        (
            StepShape("stock", "inventory"),
            StepShape("payment", "payment", after=("stock",), trigger="stock"),
            StepShape("shipping", "shipping", "command", after=("payment",), attempts=5),
        ),
        example=True,
    )


def generate(random: Random) -> Shape:
    """A DAG of event and command steps."""
    steps: list[StepShape] = []
    for number in range(random.randint(1, 4)):
        before = [step.name for step in steps]
        after = tuple(sorted(random.sample(before, min(len(before), random.choice([0, 1, 1, 2])))))
        kind = random.choice(["event", "command"])
        steps.append(
            StepShape(
                f"s{number}",
                f"sim.s{number}",
                kind,
                after,
                random.choice(after) if after and kind == "event" else "",
                random.choice([2, 5, 10]),
                random.choice([1, 2, 4]) if kind == "command" else 1,
                random.random() < 0.85,
            )
        )
    return Shape(tuple(steps), random.choice([0, 8, 30]))


def type_of(step: StepShape, name: str) -> str:
    """``Do``, ``Done``, ``Refused``, ``Reverse`` or ``Reversed`` of a generated step."""
    return f"{step.service}.{name}"


@cache
def schema(type_: str, topic: str) -> Schema:
    """A generated message's schema."""
    space, _, name = type_.rpartition(".")
    fields = [{"name": "order_id", "type": "string"}, {"name": "amount", "type": "long", "default": 0}]
    return {"type": "record", "name": name, "namespace": space, "kantor.topic": topic, "fields": fields}


@cache
def _generated(names: tuple[str, ...]) -> Catalog:
    found = [schema(START, "evt.sim.shop.v1")]
    for service in names:
        found += [schema(f"{service}.{name}", f"cmd.{service}.v1") for name in ("Do", "Reverse")]
        found += [
            schema(f"{service}.{name}", f"evt.{service}.v1") for name in ("Done", "Refused", "Reversed")
        ]
    return Catalog(found)


def catalog(shape: Shape) -> Mapping[str, Schema]:
    if shape.example:
        return kantor_schemas.example("checkout")
    return _generated(tuple(step.service for step in shape.steps))


def written(shape: Shape) -> Written:
    """The definition as its author would write it."""
    if shape.example:
        return Written.load(_EXAMPLE)
    saga = Written(
        "sim",
        version=1,
        starts_on=START,
        keys=["order_id"],
        deadline=f"{shape.deadline}s" if shape.deadline else None,
    )
    for step in shape.steps:
        words: dict[str, Any] = {}
        if step.kind == "command":
            words["command"] = type_of(step, "Do")
            words["retry"] = {"attempts": step.attempts, "backoff": "200ms"}
        if step.is_compensated:
            words["compensate_with"] = type_of(step, "Reverse")
            words["compensated_on"] = type_of(step, "Reversed")
        saga.step(
            step.name,
            after=list(step.after),
            succeeds_on=type_of(step, "Done"),
            fails_on=type_of(step, "Refused"),
            timeout=f"{step.timeout}s",
            **words,
        )
    return saga


@cache
def definitions(shape: Shape) -> Definitions:
    """The saga, deployed."""
    return Definitions([bundles.bundle(written(shape).model, catalog(shape), DEPLOYED)])


def compiled(shape: Shape) -> Saga:
    found = definitions(shape).starting_with(shape.starts_on)
    assert found is not None
    return found
