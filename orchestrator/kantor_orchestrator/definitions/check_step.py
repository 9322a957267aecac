"""One step: the messages that it waits for and sends, and its expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kantor.envelope import STEP_FAILED
from kantor_orchestrator.definitions import avro, meaning, references
from kantor_orchestrator.definitions.check_fields import FieldCheck, Sent
from kantor_orchestrator.definitions.check_formulas import FormulaCheck
from kantor_orchestrator.definitions.check_messages import MessageCheck
from kantor_orchestrator.definitions.children import recursion
from kantor_orchestrator.definitions.expressions import Plain
from kantor_orchestrator.definitions.filling import fields_of
from kantor_orchestrator.definitions.kinds import ANY
from kantor_orchestrator.definitions.model import Call, Command, Compensation, SagaModel, StepModel, Task
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_orchestrator.definitions.requests import call_formulas, task_formulas
from kantor_orchestrator.definitions.scopes import Scope, Scopes
from kantor_orchestrator.definitions.tree import Node


@dataclass(frozen=True, slots=True)
class StepCheck:
    """``placed``: whether the step's place in the order is known, and so what is known when it begins; ``sagas``: the latest of each, by
    name. What is particular to its kind is checked by its form."""

    node: Node
    placed: bool
    sagas: Mapping[str, SagaModel]
    scopes: Scopes
    found: Findings
    formulas: FormulaCheck
    fields: FieldCheck
    messages: MessageCheck

    def run(self) -> None:
        self._waits()
        for form in self.step.forms:
            form.check(self)
        if self.placed:
            self._expressions()
        self._question()
        self._compensation()

    # -- for forms

    @property
    def step(self) -> StepModel:
        return self.node.step

    @property
    def at(self) -> Path:
        return self.node.at

    @property
    def known(self) -> dict[str, Scope]:
        """What may be named in what it sends."""
        return self.scopes.known(self.node)

    @property
    def when_it_begins(self) -> str:
        return f"when {self.node.name} begins"

    @property
    def when_sent(self) -> str:
        return f"when {self.node.name}'s command is sent"

    def filled(self, type_: str, fields: Mapping[str, Plain], places: tuple[Path, ...], around: Path) -> None:
        """The fields of what it sends, a message that exists, where the step is placed."""
        if self.placed:
            self.fields.check(Sent(type_, fields, self.known, self.node, self.when_sent, places, around))

    def task(self, task: Task, known: Mapping[str, Scope], when: str, at: Path) -> None:
        """What a person is asked to do, by the step or by its compensation."""
        for text, path in task_formulas(task):
            self.formulas.check(text, known, self.node, when, (*at, "task", *path))
        if task.escalate and task.due and task.escalate.after < task.due:
            what = f"step {self.node.name} is escalated before it is due"
            self.found.add(
                what, "escalate later, or set an earlier `due`", (*at, "task", "escalate", "after")
            )

    def call(self, call: Call, known: Mapping[str, Scope], when: str, at: Path) -> None:
        if call.method == "GET" and call.body is not None:
            what = f"step {self.node.name}: a GET request has no body, and many servers refuse or ignore one"
            self.found.add(
                what, "put the values into the `url`, or use another `method`", (*at, "call", "body")
            )
        for text, path in call_formulas(call):
            self.formulas.check(text, known, self.node, when, (*at, "call", *path))

    def can_run(self, saga: str, at: Path) -> bool:
        """Whether a saga that it runs is known, and does not start this one again; a problem if not."""
        if saga not in self.sagas:
            near = nearest(saga, self.sagas)
            remedy = f"did you mean {near}?" if near else "pass its file too, or deploy it first"
            self.found.add(f"step {self.node.name} runs the saga {saga}, which is unknown", remedy, at)
            return False
        if way := recursion(self.scopes.saga, saga, self.sagas):
            what = f"the sagas start each other in an endless loop: {' -> '.join(way)}"
            self.found.add(what, "break the loop: one of them must not start the next", at)
            return False
        return True

    # -- whatever its kind

    def _waits(self) -> None:
        """The events that it waits for."""
        step, add, at, name = self.step, self.found.add, self.at, self.node.name
        if "succeeds_on" in step.form.takes and len(step.forms) == 1:
            if step.succeeds_on is None:
                add(
                    f"step {name} never succeeds",
                    "add `succeeds_on:` with the event that reports its success",
                    at,
                )
            else:
                self.messages.event(step.succeeds_on, (*at, "succeeds_on"))
        if step.progress_on is not None:
            self.messages.event(step.progress_on, (*at, "progress_on"))
        for index, type_ in enumerate(step.fails_on):
            place = ((*at, "fails_on", index), (*at, "fails_on"))
            if type_ == STEP_FAILED:
                add(f"step {name}: {STEP_FAILED} is already a failure of every step", "leave it out", *place)
            else:
                self.messages.event(type_, *place)
        if "timeout" in step.form.takes and step.timeout is None and self.scopes.saga.deadline is None:
            add(f"step {name} may wait forever", "give it a `timeout`, or the saga a `deadline`", at)

    def _expressions(self) -> None:
        step, known = self.step, self.known
        if step.when is not None:
            self.formulas.guard(step.when, known, self.node, self.when_it_begins, (*self.at, "when"))
        if step.each is not None:
            self._each(step.each, known)
        if step.match is not None:
            self._match(step.match, known)
        if step.key is not None:
            self.formulas.key(step.key, known, self.node, self.when_sent, (*self.at, "key"))
        if reverse := step.compensate_with:
            own, at = self.scopes.known(self.node, own=True), (*self.at, "compensate_with")
            when = f"when {self.node.name} is compensated"
            if reverse.task is not None:
                self.task(reverse.task, own, when, at)
            if reverse.call is not None:
                self.call(reverse.call, own, when, at)
            if reverse.key is not None:
                self.formulas.key(reverse.key, own, self.node, when, (*at, "key"))

    def _each(self, text: str, known: dict[str, Scope]) -> None:
        at: Path = (*self.at, "each")
        if not self.formulas.check(text, known, self.node, self.when_it_begins, at):
            return
        type_ = self.scopes.listed(self.node)
        if type_ is ANY:
            type_ = self.formulas.type_of(text, known)
        branches = type_ if isinstance(type_, list) else [type_]
        if type_ is not ANY and any(branch is ANY or branch["type"] != "array" for branch in branches):
            what = f"`each` needs a list, but {text} is {avro.shown(type_)}"
            self.found.add(what, "use a list, such as start.lines, or write one: \"['a', 'b']\"", at)
            return
        self.formulas.kept(text, known, at)

    def _match(self, text: str, known: dict[str, Scope]) -> None:
        """``event`` must have what is asked of it, whatever event it is."""
        node, step = self.node, self.step
        at: Path = (*node.at, "match")
        scopes = {**known, "event": self.scopes.event(meaning.success(step))}
        self.formulas.guard(text, scopes, node, f"when an event of {node.name} arrives", at)
        asked = {use.path[1] for use in references.uses(text) if use.path[0] == "event" and len(use.path) > 1}
        if not any(use.path[0] == "event" for use in references.uses(text)):
            self.found.add(
                f"step {node.name}: `match` does not look at the event",
                "compare one of its fields, such as event.id",
                at,
            )
        for type_ in (*step.fails_on, *([step.progress_on] if step.progress_on else [])):
            has = fields_of(self.scopes.schemas.get(type_))
            for field in sorted(asked - has.keys()) if has else ():
                near = nearest(field, has)
                remedy = f"did you mean {near}?" if near else f"add it to {type_}, or use another field"
                self.found.add(f"event.{field}: {type_} has no field {field}", remedy, at)

    def _question(self) -> None:
        doubt = self.step.in_doubt
        if doubt is None or doubt.ask is None:
            return
        ask, at = doubt.ask, (*self.at, "in_doubt", "ask")
        if ask.key is not None and self.placed:
            self.formulas.key(ask.key, self.known, self.node, self.when_sent, (*at, "key"))
        if self.messages.command(ask.type, ask.topic, (*at, "type"), at) and self.placed:
            when = f"when the service of {self.node.name} is asked for the outcome"
            self.fields.check(Sent(ask.type, ask.fields, self.known, self.node, when, ((*at, "fields"),), at))

    def _compensation(self) -> None:
        step, name, at = self.step, self.node.name, (*self.at, "compensate_with")
        reverse = step.compensate_with
        if reverse is None:
            if step.compensated_on is not None:
                what = f"step {name} has `compensated_on` but no `compensate_with`"
                self.found.add(what, "name the command that reverses it", (*self.at, "compensated_on"))
            return
        if reverse.command is None:
            if step.compensated_on is not None:
                what = (
                    f"step {name}: the outcome of a {'call' if reverse.call else 'task'} is its confirmation"
                )
                self.found.add(what, "drop `compensated_on`", (*self.at, "compensated_on"))
            return
        if step.command is not None and _is_same(step.command, step.command_fields(), reverse):
            what = f"step {name} is reversed by its own command {reverse.command}: its service would do the same once more"
            self.found.add(
                what,
                "name the command that reverses it, or fill its `fields` in another way",
                (*at, "command"),
                at,
            )
        if step.compensated_on is None:
            what = f"step {name} has `compensate_with` but no `compensated_on`"
            self.found.add(what, "name the event that confirms the compensation", at)
        else:
            self.messages.event(step.compensated_on, (*self.at, "compensated_on"))
        if self.messages.command(reverse.command, reverse.topic, (*at, "command"), at) and self.placed:
            known = self.scopes.known(self.node, own=True)
            places = ((*at, "fields"),)
            self.fields.check(
                Sent(reverse.command, reverse.fields, known, self.node, self.when_sent, places, at, True)
            )


def _is_same(command: Command, fields: Mapping[str, Plain], reverse: Compensation) -> bool:
    """Whether a compensation asks for what its step's command asks for."""
    return (command.type, command.topic, fields) == (reverse.command, reverse.topic, reverse.fields)
