"""What each kind of step sends and waits for, in messages: tasks, calls and children act through Kantor's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kantor_orchestrator.definitions.model import Command, Compensation, SagaModel, StepModel
from kantor_orchestrator.definitions.own_messages import (
    CALL_SUCCEEDED,
    REQUEST_CALL,
    REQUEST_TASK,
    TASK_SUCCEEDED,
    own,
)


@dataclass(frozen=True, slots=True)
class Child:
    """What a parent must know of a child saga. ``returns``: Avro types by name; None: not known here."""

    starts_on: str
    returns: Mapping[str, Any] = field(default_factory=dict)


Children = Mapping[str, Child]


def sends(step: StepModel, children: Children) -> str:
    """The type of the command that asks for a step; empty if none does, or a child that nobody knows."""
    return step.form.sends(step, children)


def success(step: StepModel) -> str:
    """The type of the event that a step succeeds on; empty of sleeps, composites, and where it was not said."""
    return step.form.success(step)


def failures(step: StepModel) -> tuple[str, ...]:
    return step.form.failures(step)


def reverses(compensation: Compensation) -> str:
    """The type of the command that compensates."""
    if compensation.call is not None:
        return REQUEST_CALL
    return REQUEST_TASK if compensation.task is not None else compensation.command or ""


def confirms(step: StepModel) -> str:
    """The type of the event that confirms a step's compensation; empty if there is none."""
    reverse = step.compensate_with
    if reverse is None:
        return ""
    if reverse.call is not None:
        return CALL_SUCCEEDED
    return TASK_SUCCEEDED if reverse.task is not None else step.compensated_on or ""


def messages(saga: SagaModel) -> list[Command]:
    """Every message of the definition's own that has no step: of its end and of its cancellation."""
    refusal = saga.cancel_on.refuse_with if saga.cancel_on else None
    return [*saga.ends_with.values(), *([refusal] if refusal else [])]


def heard(saga: SagaModel) -> set[str]:
    """The events of services that its steps, and people who cancel, are told by."""
    found = {saga.cancel_on.event} if saga.cancel_on else set()
    for step in saga.every_step():
        found |= {success(step), *failures(step), step.progress_on or "", confirms(step)}
    return found - {""} - own().keys()


def types(saga: SagaModel, children: Children) -> list[str]:
    """Every message type that it names, in the order of writing, each once."""
    found = [saga.starts_on]
    for step in saga.every_step():
        asked = step.in_doubt.ask if step.in_doubt else None
        found += [
            sends(step, children),
            success(step),
            *failures(step),
            step.progress_on or "",
            asked.type if asked else "",
            reverses(step.compensate_with) if step.compensate_with else "",
            confirms(step),
        ]
    found += [saga.cancel_on.event] if saga.cancel_on else []
    found += [command.type for command in messages(saga)]
    return [type_ for type_ in dict.fromkeys(found) if type_]


def commands(saga: SagaModel, children: Children) -> dict[str, str]:
    """Every message type that the engine sends to services, with the topic that the definition names for it; empty: the
    schema's. A child's start is an event as any other, sent by way of ``CHILD_TOPIC``."""
    found: dict[str, str] = {}

    def put(type_: str, topic: str | None) -> None:
        route = saga.commands.get(type_)
        found[type_] = topic or (route.topic if route else None) or found.get(type_, "")

    for step in saga.every_step():
        if step.saga is None and (type_ := sends(step, children)):
            put(type_, step.form.topic(step))
        if step.in_doubt and step.in_doubt.ask:
            put(step.in_doubt.ask.type, step.in_doubt.ask.topic)
        if reverse := step.compensate_with:
            put(reverses(reverse), reverse.topic)
    for command in messages(saga):
        put(command.type, command.topic)
    return found


def services(saga: SagaModel, children: Children) -> set[str]:
    """Who acts in a saga: the namespaces of what they are asked and of what they answer; without Kantor itself."""
    named = [*commands(saga, children), *(success(step) for step in saga.every_step())]
    return {type_.rpartition(".")[0] for type_ in named} - {"", "kantor"}
