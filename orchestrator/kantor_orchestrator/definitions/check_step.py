"""The expressions of one step: guards, lists, sleeps, matches, keys, and those of tasks and calls."""

from __future__ import annotations

from kantor_orchestrator.definitions import (
    avro,
    durations,
    expressions,
    meaning,
    outcomes,
    references,
    templates,
)
from kantor_orchestrator.definitions.check_formulas import FormulaCheck
from kantor_orchestrator.definitions.filling import fields_of
from kantor_orchestrator.definitions.kinds import ANY
from kantor_orchestrator.definitions.model import Call, Task
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_orchestrator.definitions.requests import call_formulas, task_formulas
from kantor_orchestrator.definitions.scopes import Scope, Scopes
from kantor_orchestrator.definitions.tree import Node


class StepCheck:
    """``placed``: whether the step's place in the order is known, and so what is known when it begins."""

    def __init__(
        self, node: Node, scopes: Scopes, found: Findings, formulas: FormulaCheck, *, placed: bool
    ) -> None:
        self._node = node
        self._scopes = scopes
        self._found = found
        self._formulas = formulas
        self._placed = placed

    def expressions(self) -> None:
        self._environment()
        if not self._placed:
            return
        node, step = self._node, self._node.step
        known, begins = self._scopes.known(node), f"when {node.name} begins"
        if step.when is not None:
            self._formulas.guard(step.when, known, node, begins, (*node.at, "when"))
        if step.each is not None:
            self._each(known, begins)
        if step.sleep is not None and not durations.is_written(step.sleep):
            self._sleep(step.sleep, known, begins)
        if step.match is not None:
            self._match(step.match, known)
        self._own(step.task, step.call, known, begins, node.at)
        self._keys()
        if reverse := step.compensate_with:
            own = self._scopes.known(node, own=True)
            when = f"when {node.name} is compensated"
            self._own(reverse.task, reverse.call, own, when, (*node.at, "compensate_with"))

    def _each(self, known: dict[str, Scope], when: str) -> None:
        node, text = self._node, self._node.step.each or ""
        at: Path = (*node.at, "each")
        if not self._formulas.check(text, known, node, when, at):
            return
        type_ = self._scopes.listed(node)
        if type_ is ANY:
            type_ = self._formulas.type_of(text, known)
        branches = type_ if isinstance(type_, list) else [type_]
        if type_ is not ANY and any(branch is ANY or branch["type"] != "array" for branch in branches):
            what = f"`each` needs a list, but {text} is {avro.shown(type_)}"
            self._found.add(what, "use a list, such as start.lines, or write one: \"['a', 'b']\"", at)
            return
        self._formulas.kept(text, known, at)

    def _sleep(self, text: str, known: dict[str, Scope], when: str) -> None:
        node, at = self._node, (*self._node.at, "sleep")
        if not self._formulas.check(text, known, node, when, at):
            return
        type_ = self._formulas.type_of(text, known)
        literal = expressions.literal(text)
        if literal is not None:
            try:
                outcomes.Sleep(expressions.formula(text, lasting=True), text)({})
            except outcomes.EvaluationError as error:
                self._found.add(f"step {node.name} can't sleep: {error}", "write a duration such as 3d", at)
        elif type_ is not ANY and avro.shown(type_) != "string":
            what = f"step {node.name} sleeps for {text}, which is {avro.shown(type_)}"
            self._found.add(what, "use a string with a duration, such as '3d'", at)

    def _match(self, text: str, known: dict[str, Scope]) -> None:
        """``event`` must have what is asked of it, whatever event it is."""
        node, step = self._node, self._node.step
        at: Path = (*node.at, "match")
        scopes = {**known, "event": self._scopes.event(meaning.success(step))}
        self._formulas.guard(text, scopes, node, f"when an event of {node.name} arrives", at)
        asked = {use.path[1] for use in references.uses(text) if use.path[0] == "event" and len(use.path) > 1}
        if not any(use.path[0] == "event" for use in references.uses(text)):
            self._found.add(
                f"step {node.name}: `match` does not look at the event",
                "compare one of its fields, such as event.id",
                at,
            )
        for type_ in (*step.fails_on, *([step.progress_on] if step.progress_on else [])):
            has = fields_of(self._scopes.schemas.get(type_))
            for field in sorted(asked - has.keys()) if has else ():
                near = nearest(field, has)
                remedy = f"did you mean {near}?" if near else f"add it to {type_}, or use another field"
                self._found.add(f"event.{field}: {type_} has no field {field}", remedy, at)

    def _own(
        self, task: Task | None, call: Call | None, known: dict[str, Scope], when: str, at: Path
    ) -> None:
        if task is not None:
            for text, path in task_formulas(task):
                self._formulas.check(text, known, self._node, when, (*at, "task", *path))
            if task.escalate and task.due and task.escalate.after < task.due:
                what = f"step {self._node.name} is escalated before it is due"
                self._found.add(
                    what, "escalate later, or set an earlier `due`", (*at, "task", "escalate", "after")
                )
        if call is not None:
            for text, path in call_formulas(call):
                self._formulas.check(text, known, self._node, when, (*at, "call", *path))

    def _keys(self) -> None:
        node, step = self._node, self._node.step
        reverse = step.compensate_with
        known = self._scopes.known(node)
        own = self._scopes.known(node, own=True)
        sent = f"when {node.name}'s command is sent"
        if step.key is not None:
            self._formulas.key(step.key, known, node, sent, (*node.at, "key"))
        if step.command is not None and step.command.key is not None:
            self._formulas.key(step.command.key, known, node, sent, (*node.at, "command", "key"))
        if reverse is not None and reverse.key is not None:
            at = (*node.at, "compensate_with", "key")
            self._formulas.key(reverse.key, own, node, f"when {node.name} is compensated", at)
        if step.in_doubt is not None and step.in_doubt.ask is not None and step.in_doubt.ask.key is not None:
            at = (*node.at, "in_doubt", "ask", "key")
            self._formulas.key(step.in_doubt.ask.key, known, node, sent, at)

    def _environment(self) -> None:
        """``{env.NAME}`` is filled in by who makes a call; nobody does so in a task."""
        task = self._node.step.task
        if task is None:
            return
        for text, path in (
            (task.title, ("title",)),
            *((t, ("for", n)) for n, t in enumerate(task.candidates)),
        ):
            if templates.names_environment(text):
                what = f"step {self._node.name}: `env` is known only in the url and headers of a call"
                self._found.add(what, "write the value itself", (*self._node.at, "task", *path))
