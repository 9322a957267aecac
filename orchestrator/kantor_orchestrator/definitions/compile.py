"""From the validated model to what the engine looks up while it decides (``core.saga``).

What is captured (saga-3) follows from what was compiled: every field that a command, an expression, a search key or a failure's
reason is taken from, by event type.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from kantor.envelope import STEP_FAILED, TRANSACTION_ENDED
from kantor_orchestrator.core import saga as core
from kantor_orchestrator.core.saga import Expression, FieldRule
from kantor_orchestrator.definitions import avro, durations, expressions, meaning, outcomes, references
from kantor_orchestrator.definitions.expressions import Formula, Literal, Plain, Ref
from kantor_orchestrator.definitions.filling import Filling, fields_of, fillings
from kantor_orchestrator.definitions.meaning import Child, Children
from kantor_orchestrator.definitions.model import Call, Command, Compensation, SagaModel, Task
from kantor_orchestrator.definitions.outcomes import Guard, Items, Text
from kantor_orchestrator.definitions.own_messages import REQUEST_CALL, REQUEST_TASK
from kantor_orchestrator.definitions.personal import personal_names
from kantor_orchestrator.definitions.requests import call_rules, task_rules
from kantor_orchestrator.definitions.scopes import Scope, Scopes
from kantor_orchestrator.definitions.tree import Node
from kantor_schemas import Schema, system, topic_of

#: What a parent reads of its child's end, besides what the child returns (whoever decodes the end puts that beside them).
_OF_AN_END = frozenset({"status", "reason"})


def compile_saga(
    model: SagaModel,
    messages: Mapping[str, Schema],
    deployed_at: int,
    children: Mapping[str, Child] | None = None,
) -> core.Saga:
    """``messages``: the schema of every type that ``model`` names (a ``Catalog`` will do); ``children``: the sagas that it
    starts.

    The model must have passed ``check`` against the same; ``KeyError`` otherwise.
    """
    return Compiler(model, messages, children or {}).saga(deployed_at)


class Compiler:
    """Of one saga; forms use its public names."""

    def __init__(self, model: SagaModel, messages: Mapping[str, Schema], children: Children) -> None:
        self._model = model
        self.scopes = Scopes(model, messages, children)
        self._children = children
        self._captures: defaultdict[str, set[str]] = defaultdict(set)

    def saga(self, deployed_at: int) -> core.Saga:
        model = self._model
        steps = {node.path: self._step(node) for node in self.scopes.tree.ordered()}
        ends = {
            status: self.command(command.type, command, self.scopes.at_end(status), None)
            for status, command in model.ends_with.items()
        }
        at_end = self.scopes.at_end("completed")
        returns = tuple(self._value(name, value, at_end, None) for name, value in model.returns.items())
        cancel_on = self._cancellation()
        self._keys()
        return core.Saga(
            name=model.saga,
            version=model.version,
            starts_on=model.starts_on,
            steps=steps,
            captures=self._captured(steps),
            deadline=model.deadline or 0,
            deployed_at=deployed_at,
            personal_reasons=self._personal_reasons(steps),
            keys=model.keys,
            cancel_on=cancel_on,
            ends_with=ends,
            returns=returns,
            compensation=model.compensation,
            mode=model.mode,
            share=1.0 if model.enforce is None else model.enforce,
        )

    # -- steps

    def _step(self, node: Node) -> core.Step:
        step, known = node.step, self.scopes.known(node)
        compiled = core.Step(
            path=node.path,
            parent=node.parent.path if node.parent else core.ROOT,
            after=tuple(f"{node.parent.path}.{name}" if node.parent else name for name in step.after),
            kind=step.kind,
            when=self._guard(step.when, node),
            optional=step.optional,
            pivot=step.pivot,
            succeeds_on=meaning.success(step),
            fails_on=meaning.failures(step),
            match=self._match(node),
            progress_on=step.progress_on or "",
            timeout=step.timeout or 0,
            retry=step.retry.compiled(),
            compensation=self._compensation(node),
            in_doubt=step.doubt,
            ask=self.command(step.in_doubt.ask.type, step.in_doubt.ask, known, node)
            if step.in_doubt and step.in_doubt.ask
            else None,
            steps=tuple(n.path for n in self.scopes.tree.ordered(node) if n.parent is node),
            each=None if step.each is None else Items(self.formula(step.each, node), step.each),
            need=step.need,
            in_order=step.in_order,
            settle_all=step.settle == "all",
        )
        return step.form.compiled(compiled, self, node)

    def _compensation(self, node: Node) -> core.Compensation | None:
        step, reverse = node.step, node.step.compensate_with
        if reverse is None:
            return None
        if reverse.task is not None:
            command = self.task(reverse.task, node)
        elif reverse.call is not None:
            command = self.call(reverse.call, node)
        else:
            assert reverse.command is not None
            command = self.command(reverse.command, reverse, self.scopes.known(node, own=True), node)
        # A person takes their time: the task is asked for once, and again only if the request itself is lost.
        timeout = reverse.timeout if reverse.task is None else durations.LONGEST
        return core.Compensation(
            command=command,
            confirmed_on=meaning.confirms(step),
            timeout=timeout,
            retry=reverse.retry.compiled(),
        )

    # -- messages

    def command(
        self,
        type_: str,
        written: Command | Compensation,
        known: Mapping[str, Scope],
        node: Node | None,
        fields: Mapping[str, Plain] | None = None,
    ) -> core.Command:
        route = self._model.commands.get(type_)
        topic = written.topic or (route.topic if route else None) or topic_of(self.scopes.schemas[type_])
        key = written.key or (node.step.key if node else None) or (route.key if route else None)
        rules = self.rules(type_, written.fields if fields is None else fields, known, node)
        return core.Command(type_, topic, rules, self._key(key, node), route.format if route else "avro")

    def task(self, task: Task, node: Node) -> core.Command:
        """What asks a person."""
        return self._own(REQUEST_TASK, task_rules(task, lambda text: self.formula(text, node)))

    def call(self, call: Call, node: Node) -> core.Command:
        return self._own(REQUEST_CALL, call_rules(call, lambda text: self.formula(text, node)))

    def _own(self, type_: str, rules: tuple[FieldRule, ...]) -> core.Command:
        return core.Command(type_, topic_of(self.scopes.schemas[type_]), rules)

    def rules(
        self, type_: str, written: Mapping[str, Plain], known: Mapping[str, Scope], node: Node | None
    ) -> tuple[FieldRule, ...]:
        schema = self.scopes.schemas[type_]
        rules = (self._rule(filling, schema, known, node) for filling in fillings(schema, written, known))
        return tuple(rule for rule in rules if rule is not None)

    def _rule(
        self, filling: Filling, schema: Schema, known: Mapping[str, Scope], node: Node | None
    ) -> FieldRule | None:
        """None: nothing fills it, the writer takes its Avro default."""
        if isinstance(filling.explicit, Formula) and avro.is_decimal(avro.field_type(schema, filling.name)):
            value = self.formula(filling.explicit.text, node)
            return FieldRule(filling.name, expression=outcomes.AsDecimal(value))
        if isinstance(filling.explicit, Literal | Formula):
            return self._filled(filling.name, filling.explicit, node)
        return self._sourced(filling.name, filling.sources, known, node) if filling.sources else None

    def _value(self, name: str, written: Plain, known: Mapping[str, Scope], node: Node | None) -> FieldRule:
        parsed = expressions.parse(written)
        if isinstance(parsed, Ref):
            return self._sourced(name, (parsed,), known, node)
        return self._filled(name, parsed, node)

    def _filled(self, name: str, value: Literal | Formula, node: Node | None) -> FieldRule:
        if isinstance(value, Literal):
            return FieldRule(name, literal=value.value)
        return FieldRule(name, expression=self.formula(value.text, node))

    def _sourced(
        self, name: str, refs: tuple[Ref, ...], known: Mapping[str, Scope], node: Node | None
    ) -> FieldRule:
        for ref in refs:
            self._read((ref.scope, ref.name), node)
        scopes = [known[ref.scope] for ref in refs]
        if all(s.is_event and r.name in s.fields for s, r in zip(scopes, refs, strict=True)):
            return FieldRule(name, tuple((s.source, r.name) for s, r in zip(scopes, refs, strict=True)))
        return FieldRule(name, expression=outcomes.Choice(tuple((r.scope, r.name) for r in refs)))

    # -- expressions

    def formula(self, text: str, node: Node | None, *, lasting: bool = False) -> Expression:
        """Compiled; what it reads is captured. ``lasting``: it may give a duration."""
        for use in references.uses(text):
            self._read(use.path, node, listed=use.listed)
        return expressions.formula(text, lasting=lasting)

    def _guard(self, text: str | None, node: Node) -> Expression | None:
        if text is None:
            return None
        asked = expressions.truth(text, lambda use: self.scopes.is_flag(use, node))
        return Guard(self.formula(asked, node), text)

    def _match(self, node: Node) -> Expression | None:
        step = node.step
        if step.match is None:
            return None
        types = [
            meaning.success(step),
            *meaning.failures(step),
            *([step.progress_on] if step.progress_on else []),
        ]
        for use in references.uses(step.match):
            if use.path[0] == "event":
                for type_ in types:
                    has = fields_of(self.scopes.schemas[type_]).keys()
                    self._captures[type_] |= has & set(use.path[1:2]) if len(use.path) > 1 else has
        return Guard(self.formula(step.match, node), step.match)

    def _key(self, text: str | None, node: Node | None) -> Expression | None:
        return None if text is None else Text(self.formula(text, node), text)

    # -- what is captured

    def _read(self, path: tuple[str, ...], node: Node | None, *, listed: bool = False) -> None:
        for type_, field in self.scopes.captured(path, node, listed=listed):
            if type_ == TRANSACTION_ENDED:
                returned = {name for child in self._children.values() for name in child.returns}
                self._captures[type_] |= returned if field is None else returned & {field}
            elif type_:
                has = fields_of(self.scopes.schemas[type_]).keys()
                self._captures[type_] |= has if field is None else has & {field}

    def _captured(self, steps: Mapping[str, core.Step]) -> dict[str, frozenset[str]]:
        for step in steps.values():
            for type_ in step.fails_on:
                self._captures[type_] |= {"reason"} & fields_of(self.scopes.schemas[type_]).keys()
            if step.child:
                self._captures[TRANSACTION_ENDED] |= _OF_AN_END
        self._captures[STEP_FAILED] |= fields_of(system("StepFailed")).keys()
        return {type_: frozenset(names) for type_, names in self._captures.items() if names}

    def _personal_reasons(self, steps: Mapping[str, core.Step]) -> frozenset[str]:
        types = {type_ for step in steps.values() for type_ in step.fails_on}
        return frozenset(t for t in types if "reason" in personal_names([self.scopes.schemas[t]]))

    def _keys(self) -> None:
        for key in self._model.keys:
            for scope in key_scopes(key, self.scopes):
                self._captures[scope.event].add(key)

    def _cancellation(self) -> core.Cancellation | None:
        cancel = self._model.cancel_on
        if cancel is None:
            return None
        refusal = cancel.refuse_with
        known = self.scopes.at_end("compensated")
        answer = self.command(refusal.type, refusal, known, None) if refusal else None
        return core.Cancellation(cancel.event, cancel.until, answer)


def key_scopes(key: str, scopes: Scopes) -> list[Scope]:
    """Whose events have the field that people search by: the start event, else every success that has it."""
    if key in scopes.start().fields:
        return [scopes.start()]
    found: Iterable[Scope] = (scopes.of(node) for node in scopes.tree.nodes.values() if not node.step.steps)
    return [scope for scope in found if key in scope.fields and scope.event != TRANSACTION_ENDED]
