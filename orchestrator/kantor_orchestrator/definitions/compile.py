"""From the validated model to what the engine looks up while it decides (``core.saga``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from kantor.envelope import STEP_FAILED
from kantor_orchestrator.core import saga as core
from kantor_orchestrator.core.saga import START
from kantor_orchestrator.definitions import graph
from kantor_orchestrator.definitions.expressions import Literal
from kantor_orchestrator.definitions.filling import Filling, Scopes, fields_of
from kantor_orchestrator.definitions.model import Command, Compensation, SagaModel
from kantor_schemas import Schema, system, topic_of


def compile_saga(model: SagaModel, messages: Mapping[str, Schema], deployed_at: int) -> core.Saga:
    """``messages``: the schema of every type that ``model`` names (a ``Catalog`` will do).

    The model must have passed ``check`` against the same schemas; ``KeyError`` otherwise.
    """
    scopes = Scopes(model, messages)
    order = graph.ordered({name: step.after for name, step in model.steps.items()})
    steps = {name: _step(name, model, messages, scopes) for name in order}
    return core.Saga(
        name=model.saga,
        version=model.version,
        starts_on=model.starts_on,
        steps=steps,
        captures=_captures(model, messages, scopes, steps),
        deadline=model.deadline or 0,
        deployed_at=deployed_at,
        keys=model.keys,
    )


def _step(name: str, saga: SagaModel, messages: Mapping[str, Schema], scopes: Scopes) -> core.Step:
    step = saga.steps[name]
    reverse = step.compensate_with
    compensation = None
    if reverse is not None:
        compensation = core.Compensation(
            command=_command(reverse.command, reverse, messages, scopes.compensation(name)),
            confirmed_on=step.compensated_on or "",
            timeout=reverse.timeout,
            retry=reverse.retry.compiled(),
        )
    return core.Step(
        path=name,
        after=step.after,
        kind="command" if step.command else "event",
        command=_command(step.command.type, step.command, messages, scopes.action(name))
        if step.command
        else None,
        succeeds_on=step.succeeds_on or "",
        fails_on=step.fails_on,
        timeout=step.timeout or 0,
        retry=step.retry.compiled(),
        compensation=compensation,
    )


def _command(
    type_: str, written: Command | Compensation, messages: Mapping[str, Schema], fillings: list[Filling]
) -> core.Command:
    rules = (_rule(filling) for filling in fillings)
    topic = written.topic or topic_of(messages[type_])
    return core.Command(type_, topic, tuple(rule for rule in rules if rule is not None))


def _rule(filling: Filling) -> core.FieldRule | None:
    """None: nothing fills it, the writer takes its Avro default."""
    if isinstance(filling.explicit, Literal):
        return core.FieldRule(filling.name, literal=filling.explicit.value)
    sources = tuple((ref.scope, ref.name) for ref in filling.sources)
    return core.FieldRule(filling.name, sources) if sources else None


def _captures(
    model: SagaModel, messages: Mapping[str, Schema], scopes: Scopes, steps: Mapping[str, core.Step]
) -> dict[str, frozenset[str]]:
    """By event type: the fields that a command, a search key or a failure's reason is taken from."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for step in steps.values():
        for command in (step.command, step.compensation.command if step.compensation else None):
            for rule in command.fields if command else ():
                for scope, name in rule.sources:
                    found[scopes.event(scope)].add(name)
        for type_ in step.fails_on:
            found[type_] |= {"reason"} & fields_of(messages[type_]).keys()
    for key in model.keys:
        for scope in key_scopes(key, model, scopes):
            found[scopes.event(scope)].add(key)
    found[STEP_FAILED] |= fields_of(system("StepFailed")).keys()
    return {type_: frozenset(names) for type_, names in found.items() if names}


def key_scopes(key: str, model: SagaModel, scopes: Scopes) -> list[str]:
    """Whose events have the field that people search by: the start event, else every success that has it."""
    if key in scopes.fields(START):
        return [START]
    return [name for name in model.steps if key in scopes.fields(name)]
