"""The kinds of steps as definitions say them: one registry. Grammar, checks, messages, compilation and diagrams are derived from it.

What the engine and the view know of a kind is in ``core/step_kinds.py``, by the same name. A new kind is an entry in both, and its word in
the model and in Python; a test fails with its name until all is there (docs/contributing/step-kinds.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kantor.envelope import COMPENSATE_TRANSACTION, TRANSACTION_ENDED
from kantor_orchestrator.core import saga as core
from kantor_orchestrator.definitions import avro, durations, expressions, outcomes, templates
from kantor_orchestrator.definitions.form import Form
from kantor_orchestrator.definitions.kinds import ANY
from kantor_orchestrator.definitions.own_messages import (
    CALL_FAILED,
    CALL_SUCCEEDED,
    CHILD_TOPIC,
    REQUEST_CALL,
    REQUEST_TASK,
    TASK_FAILED,
    TASK_SUCCEEDED,
)
from kantor_orchestrator.definitions.parts import Call, Command, Task

if TYPE_CHECKING:
    from kantor_orchestrator.definitions.check_step import StepCheck
    from kantor_orchestrator.definitions.compile import Compiler
    from kantor_orchestrator.definitions.meaning import Children
    from kantor_orchestrator.definitions.model import StepModel
    from kantor_orchestrator.definitions.problem import Path
    from kantor_orchestrator.definitions.scopes import Scopes
    from kantor_orchestrator.definitions.tree import Node

#: Of what somebody does, and may do though nobody has heard of it.
_EFFECT = frozenset({"timeout", "in_doubt", "pivot", "compensate_with", "compensated_on"})
#: Of what the events of a service report.
_HEARD = _EFFECT | {"fails_on", "match", "progress_on"}


class _Event(Form[None]):
    name, word = "event", ""
    takes = _HEARD | {"succeeds_on"}
    style = "fill:#eefaf0"


class _Command(Form[Command]):
    name = word = "command"
    takes = _HEARD | {"succeeds_on", "fields", "key", "retry"}
    style = "fill:#e6f0ff"

    def sends(self, step: StepModel, children: Children) -> str:  # noqa: ARG002
        return self.said(step).type

    def topic(self, step: StepModel) -> str | None:
        return self.said(step).topic

    def check(self, check: StepCheck) -> None:
        step, command = check.step, self.said(check.step)
        at: Path = (*check.at, "command")
        for field in step.fields.keys() & command.fields.keys():
            what = f"step {check.node.name}: `{field}` is filled twice"
            check.found.add(
                what, "set it in one place: beside the command or inside it", (*check.at, "fields", field)
            )
        if command.key is not None and check.placed:
            check.formulas.key(command.key, check.known, check.node, check.when_sent, (*at, "key"))
        if check.messages.command(command.type, command.topic, (*at, "type"), (*at, "command"), at):
            places: tuple[Path, ...] = ((*check.at, "fields"), (*at, "fields"))
            check.filled(command.type, step.command_fields(), places, at)

    def compiled(self, step: core.Step, compiler: Compiler, node: Node) -> core.Step:
        command, known = self.said(node.step), compiler.scopes.known(node)
        sent = compiler.command(command.type, command, known, node, node.step.command_fields())
        return replace(step, command=sent)

    def drawn(self, step: StepModel) -> Iterator[str]:
        yield f"command: {self.said(step).type}"
        yield f"then {self.success(step)}"


class _Signal(Form[str]):
    name = word = "signal"
    takes = _HEARD
    why, remedy = "waits for a signal", "the signal itself is its success"
    refused = {"succeeds_on": ("it succeeds on its signal already", "keep one of the two")}  # noqa: RUF012
    style = "fill:#fdeef5"

    def success(self, step: StepModel) -> str:
        return self.said(step)

    def check(self, check: StepCheck) -> None:
        check.messages.event(self.said(check.step), (*check.at, "signal"))


class _Sleep(Form[str]):
    name = word = "sleep"
    why, remedy = "only sleeps", "remove it"
    brackets, style = ("{{", "}}"), "fill:#f4f4f4"

    def result(self, node: Node, scopes: Scopes) -> Any:  # noqa: ARG002
        return avro.record(node.name, {})

    def check(self, check: StepCheck) -> None:
        text, at = self.said(check.step), (*check.at, "sleep")
        if durations.is_written(text) or not check.placed:
            return
        if not check.formulas.check(text, check.known, check.node, check.when_it_begins, at):
            return
        type_ = check.formulas.type_of(text, check.known)
        if expressions.literal(text) is not None:
            try:
                outcomes.Sleep(expressions.formula(text, lasting=True), text)({})
            except outcomes.EvaluationError as error:
                what = f"step {check.node.name} can't sleep: {error}"
                check.found.add(what, "write a duration such as 3d", at)
        elif type_ is not ANY and avro.shown(type_) != "string":
            what = f"step {check.node.name} sleeps for {text}, which is {avro.shown(type_)}"
            check.found.add(what, "use a string with a duration, such as '3d'", at)

    def compiled(self, step: core.Step, compiler: Compiler, node: Node) -> core.Step:
        text = self.said(node.step)
        if durations.is_written(text):
            return replace(step, sleep=outcomes.constant(durations.parse(text, shortest=0)))
        return replace(step, sleep=outcomes.Sleep(compiler.formula(text, node, lasting=True), text))

    def drawn(self, step: StepModel) -> Iterator[str]:
        yield f"sleep: {self.said(step)}"


class _Saga(Form[str]):
    name = word = "saga"
    takes = (_EFFECT | {"fields"}) - {"compensate_with", "compensated_on"}
    why, remedy = "runs a child saga", "that saga's end decides its outcome"
    refused = {  # noqa: RUF012
        word: (f"a child reverses itself, so `{word}` has no effect", "remove it")
        for word in ("compensate_with", "compensated_on")
    }
    brackets, style = ("[[", "]]"), "fill:#e2f6f6"

    def sends(self, step: StepModel, children: Children) -> str:
        child = children.get(self.said(step))
        return child.starts_on if child else ""

    def success(self, step: StepModel) -> str:  # noqa: ARG002
        return TRANSACTION_ENDED

    def result(self, node: Node, scopes: Scopes) -> Any:
        child = scopes.children.get(self.said(node.step))
        return avro.record(node.name, child.returns) if child else ANY

    def check(self, check: StepCheck) -> None:
        at: Path = (*check.at, "saga")
        if check.can_run(self.said(check.step), at) and check.placed:
            starts_on = self.sends(check.step, check.scopes.children)
            if check.messages.exists(starts_on, at):
                check.filled(starts_on, check.step.fields, ((*check.at, "fields"),), at)

    def compiled(self, step: core.Step, compiler: Compiler, node: Node) -> core.Step:
        starts_on = self.sends(node.step, compiler.scopes.children)
        rules = compiler.rules(starts_on, node.step.fields, compiler.scopes.known(node), node)
        reversal = core.Compensation(  # it reverses itself, and waits visibly itself if that takes long
            command=core.Command(COMPENSATE_TRANSACTION, CHILD_TOPIC),
            confirmed_on=TRANSACTION_ENDED,
            timeout=durations.LONGEST,
        )
        command = core.Command(starts_on, CHILD_TOPIC, rules)
        return replace(step, command=command, child=self.said(node.step), compensation=reversal)

    def drawn(self, step: StepModel) -> Iterator[str]:
        yield f"saga: {self.said(step)}"


class _Task(Form[Task]):
    name = word = "task"
    takes = _EFFECT | {"retry"}
    why, remedy = "is a person's task", "its `outcomes` decide its outcome"
    brackets, style = ("[/", "/]"), "fill:#fff6df"

    def sends(self, step: StepModel, children: Children) -> str:  # noqa: ARG002
        return REQUEST_TASK

    def success(self, step: StepModel) -> str:
        return self.said(step).result or TASK_SUCCEEDED

    def failures(self, step: StepModel) -> tuple[str, ...]:
        return (*step.fails_on, TASK_FAILED)

    def check(self, check: StepCheck) -> None:
        task, at = self.said(check.step), (*check.at, "task")
        if task.result is not None:
            check.messages.event(task.result, (*at, "result"))
        # `{env.NAME}` is filled in by whoever makes a call; nobody does so in a task.
        texts = ((task.title, ("title",)), *((text, ("for", n)) for n, text in enumerate(task.candidates)))
        for text, path in texts:
            if templates.names_environment(text):
                what = f"step {check.node.name}: `env` is known only in the url and headers of a call"
                check.found.add(what, "write the value itself", (*at, *path))
        if check.placed:
            check.task(task, check.known, check.when_it_begins, check.at)

    def compiled(self, step: core.Step, compiler: Compiler, node: Node) -> core.Step:
        task = self.said(node.step)
        bare = TASK_SUCCEEDED if task.result else ""
        return replace(step, command=compiler.task(task, node), bare=bare)

    def drawn(self, step: StepModel) -> Iterator[str]:
        yield f"task: {self.said(step).title}"
        yield f"for {', '.join(self.said(step).candidates)}"


class _Call(Form[Call]):
    name = word = "call"
    takes = _EFFECT | {"retry"}
    why, remedy = "is a call", "the HTTP response decides its outcome"
    style = "fill:#f1eaff"

    def sends(self, step: StepModel, children: Children) -> str:  # noqa: ARG002
        return REQUEST_CALL

    def success(self, step: StepModel) -> str:  # noqa: ARG002
        return CALL_SUCCEEDED

    def failures(self, step: StepModel) -> tuple[str, ...]:
        return (*step.fails_on, CALL_FAILED)

    def check(self, check: StepCheck) -> None:
        if check.placed:
            check.call(self.said(check.step), check.known, check.when_it_begins, check.at)

    def compiled(self, step: core.Step, compiler: Compiler, node: Node) -> core.Step:
        return replace(step, command=compiler.call(self.said(node.step), node))

    def drawn(self, step: StepModel) -> Iterator[str]:
        yield f"call: {self.said(step).method} {self.said(step).url}"


class _Composite(Form[Any]):
    name, word = "composite", "steps"
    takes = frozenset({"each", "need", "in_order", "settle"})
    why, remedy = "only contains other steps", "set it on the inner steps"
    style = "fill:#f9fafc;stroke:#93a1b5"

    def drawn(self, step: StepModel) -> Iterator[str]:
        rules = [f"each {step.each}"] if step.each is not None else []
        rules += [f"need {step.need}"] if step.need is not None else []
        rules += ["in order"] if step.in_order else []
        rules += ["all settle"] if step.settle else []
        if rules:
            yield ", ".join(rules)


#: By name. A step that says several words is taken for the first here, and refused.
FORMS: dict[str, Form[Any]] = {
    form.name: form
    for form in (
        _Event(),
        _Command(),
        _Signal(),
        _Sleep(),
        _Saga(),
        _Task(),
        _Call(),
        _Composite(),
    )
}
