"""How tasks and calls become commands: the fields of ``kantor.RequestTask`` and ``kantor.RequestCall``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kantor_orchestrator.core.saga import Expression, FieldRule
from kantor_orchestrator.definitions import expressions, outcomes, templates
from kantor_orchestrator.definitions.model import Call, Task

#: Compiles the text of an expression.
Compile = Callable[[str], Expression]


def task_rules(task: Task, formula: Compile) -> tuple[FieldRule, ...]:
    escalate = task.escalate
    return (
        _rule("title", templates.compiled(task.title, formula)),
        _rule("candidates", _people(task.candidates, formula)),
        _rule("excluded", _people(task.excluded, formula)),
        FieldRule("due", literal=task.due),
        FieldRule("remind", literal=list(task.remind)),
        FieldRule("escalate_after", literal=escalate.after if escalate else None),
        _rule("escalate_to", _people(escalate.to if escalate else (), formula)),
        FieldRule("outcomes", literal=dict(task.outcomes)),
        FieldRule("result", literal=task.result),
    )


def task_formulas(task: Task) -> list[tuple[str, tuple[str | int, ...]]]:
    """The expressions in a task, and where in it they are written."""
    found = [(text, ("title",)) for text in templates.formulas(task.title)]
    lists = [(("for",), task.candidates), (("not",), task.excluded)]
    if task.escalate:
        lists.append((("escalate", "to"), task.escalate.to))  # type: ignore[arg-type]
    every: list[tuple[str, tuple[str | int, ...]]] = [*found]
    for path, entries in lists:
        for index, entry in enumerate(entries):
            every += [(text, (*path, index)) for text in templates.person_formulas(entry)]
    return every


def call_rules(call: Call, formula: Compile) -> tuple[FieldRule, ...]:
    headers = tuple((name, templates.compiled(text, formula)) for name, text in call.headers.items())
    rules = [
        FieldRule("method", literal=call.method),
        _rule("url", templates.compiled(call.url, formula, url=True)),
        _rule("headers", _mapped(headers)),
        FieldRule("gone_is_success", literal=call.gone_is_success),
    ]
    if call.body is not None:
        body = tuple((name, _value(value, formula)) for name, value in call.body.items())
        rules.append(FieldRule("body", expression=templates.Json(templates.Mapped(body))))
    return tuple(rules)


def call_formulas(call: Call) -> list[tuple[str, tuple[str | int, ...]]]:
    """The expressions in a call, and where in it they are written."""
    found: list[tuple[str, tuple[str | int, ...]]] = [(t, ("url",)) for t in templates.formulas(call.url)]
    for name, text in call.headers.items():
        found += [(inner, ("headers", name)) for inner in templates.formulas(text)]
    for name, value in (call.body or {}).items():
        if not isinstance(expressions.parse(value), expressions.Literal):
            found.append((value, ("body", name)))
    return found


def _people(entries: Iterable[str], formula: Compile) -> Expression:
    items = [templates.person(entry, formula) for entry in entries]
    values = [outcomes.constant_of(item) for item in items]
    if all(value is not None for value in values):
        return outcomes.constant([value[0] for value in values if value])
    return templates.Listed(tuple(items))


def _mapped(items: tuple[tuple[str, Expression], ...]) -> Expression:
    values = {name: outcomes.constant_of(item) for name, item in items}
    if all(value is not None for value in values.values()):
        return outcomes.constant({name: value[0] for name, value in values.items() if value})
    return templates.Mapped(items)


def _value(value: expressions.Plain, formula: Compile) -> Expression:
    parsed = expressions.parse(value)
    if isinstance(parsed, expressions.Literal):
        return outcomes.constant(parsed.value)
    return formula(str(value))


def _rule(name: str, expression: Expression) -> FieldRule:
    value = outcomes.constant_of(expression)
    return FieldRule(name, literal=value[0]) if value else FieldRule(name, expression=expression)
