"""What can't work although it is in the grammar: a definition against the schemas of its messages.

Everything is reported at once. A definition that passes can be compiled, and the engine can fill, send and recognise
every message of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kantor.envelope import STEP_FAILED
from kantor_orchestrator.definitions import meaning
from kantor_orchestrator.definitions.check_fields import FieldCheck, Sent
from kantor_orchestrator.definitions.check_formulas import FormulaCheck
from kantor_orchestrator.definitions.check_messages import MessageCheck
from kantor_orchestrator.definitions.check_replies import check_replies
from kantor_orchestrator.definitions.check_saga import check_saga
from kantor_orchestrator.definitions.check_shape import check_shape
from kantor_orchestrator.definitions.check_step import StepCheck
from kantor_orchestrator.definitions.children import children_of, recursion, started_by
from kantor_orchestrator.definitions.compile import key_scopes
from kantor_orchestrator.definitions.expressions import Plain
from kantor_orchestrator.definitions.meaning import Children, heard
from kantor_orchestrator.definitions.model import Command, Compensation, SagaModel
from kantor_orchestrator.definitions.problem import Findings, Path, Problem, Ways, nearest
from kantor_orchestrator.definitions.reading import Written
from kantor_orchestrator.definitions.scopes import Scopes
from kantor_orchestrator.definitions.tree import Node
from kantor_schemas import Schema


def check(
    written: Sequence[Written], catalog: Mapping[str, Schema], deployed: Iterable[SagaModel] = ()
) -> list[Problem]:
    """Everything that can't work, in the order of files and lines. ``deployed``: sagas that are there already, which
    these may start as their children."""
    sagas = {**{m.saga: m for m in deployed}, **_latest(one.model for one in written)}
    children = children_of(sagas.values(), catalog)
    found = {problem for one in written for problem in _Check(one, catalog, children, sagas).run()}
    return sorted(found | set(_together(written)) | set(_of_others(written, sagas)))


def recheck(
    model: SagaModel, schemas: Mapping[str, Schema], children: Children, sagas: Mapping[str, SagaModel]
) -> set[tuple[str, str]]:
    """What can't work (any more) in a definition that is deployed, if its messages have these schemas: where in it,
    and what. ``sagas``: the latest of each, by name."""
    found = _Check(Written(model, Ways()), schemas, children, sagas).run()
    return {(problem.place.file, problem.what) for problem in found}


def same_start(one: Written, other: str) -> Problem:
    """``one`` starts on what starts the saga ``other`` already."""
    return Problem(
        one.places.at(("starts_on",)),
        f"{one.model.starts_on} also starts the saga {other}, and a transaction runs only one saga",
        "start one of them on another event",
    )


def _latest(sagas: Iterable[SagaModel]) -> dict[str, SagaModel]:
    return {saga.saga: saga for saga in sorted(sagas, key=lambda saga: saga.version)}


def _together(written: Sequence[Written]) -> Iterator[Problem]:
    """What can't work only because of the others."""
    versions: dict[tuple[str, int], Written] = {}
    starts: dict[str, Written] = {}
    for one in written:
        model, places = one.model, one.places
        same = versions.setdefault((model.saga, model.version), one)
        if same is not one:
            yield Problem(
                places.at(("version",)),
                f"{model.saga} version {model.version} is also defined at {same.places.word(())}",
                "keep one, or raise the version",
            )
        other = starts.setdefault(model.starts_on, one)
        if other.model.saga != model.saga:
            yield same_start(one, other.model.saga)


def _of_others(written: Sequence[Written], sagas: Mapping[str, SagaModel]) -> Iterator[Problem]:
    """Events that start one saga and belong to a transaction of another: a transaction runs one saga."""
    children = {name for saga in sagas.values() for name in started_by(saga)}
    remedy = "start it on a separate event with its own transaction id, or run it as a step (`saga:`)"
    for one in written:
        for other in sagas.values():
            if other.saga == one.model.saga:
                continue
            start = one.model.starts_on
            if start in heard(other) and one.model.saga not in children:
                what = f"the saga {other.saga} waits for {start}, so {one.model.saga} never starts in its transactions"
                yield Problem(one.places.at(("starts_on",)), what, remedy)
            here = any(written_.model.saga == other.saga for written_ in written)
            if not here and other.starts_on in heard(one.model) and other.saga not in children:
                what = f"{other.starts_on} starts the saga {other.saga}, which never starts in a transaction of {one.model.saga}"
                yield Problem(one.places.at(()), what, remedy)


class _Check:
    """One definition."""

    def __init__(
        self,
        written: Written,
        catalog: Mapping[str, Schema],
        children: Children,
        sagas: Mapping[str, SagaModel],
    ) -> None:
        self._model = written.model
        self._sagas = sagas
        self._children = children
        self._found = Findings(written.places)
        self._scopes = Scopes(written.model, catalog, children)
        self._tree = self._scopes.tree
        self._messages = MessageCheck(self._scopes, self._found)
        self._formulas = FormulaCheck(self._found, self._scopes)
        self._fields = FieldCheck(self._found, self._scopes, self._formulas)
        #: Steps whose place in the order is known: only of them can be said what is known when they begin.
        self._placed = {node.path for node in self._tree.ordered()}

    def run(self) -> list[Problem]:
        self._messages.event(self._model.starts_on, ("starts_on",))
        check_shape(self._tree, self._found)
        for node in self._tree.nodes.values():
            self._types(node)
            self._step(node)
        check_replies(self._scopes, self._found)
        check_saga(self._scopes, self._found, self._formulas, self._fields, self._messages)
        self._keys()
        return self._found.problems

    def _types(self, node: Node) -> None:
        """The events that a step waits for."""
        step, add, at = node.step, self._found.add, node.at
        if step.kind in ("event", "command") and len(step.kinds) < 2:
            if step.succeeds_on is None:
                add(
                    f"step {node.name} never succeeds",
                    "add `succeeds_on:` with the event that reports its success",
                    at,
                )
            else:
                self._messages.event(step.succeeds_on, (*at, "succeeds_on"))
        if step.signal is not None:
            self._messages.event(step.signal, (*at, "signal"))
        if step.task is not None and step.task.result is not None:
            self._messages.event(step.task.result, (*at, "task", "result"))
        if step.progress_on is not None:
            self._messages.event(step.progress_on, (*at, "progress_on"))
        for index, type_ in enumerate(step.fails_on):
            place = ((*at, "fails_on", index), (*at, "fails_on"))
            if type_ == STEP_FAILED:
                add(
                    f"step {node.name}: {STEP_FAILED} is already a failure of every step",
                    "leave it out",
                    *place,
                )
            else:
                self._messages.event(type_, *place)
        waits = step.kind not in ("sleep", "composite")
        if waits and step.timeout is None and self._model.deadline is None:
            add(f"step {node.name} may wait forever", "give it a `timeout`, or the saga a `deadline`", at)

    def _step(self, node: Node) -> None:
        placed = all(place.path in self._placed for place in (node, *node.around))
        step_check = StepCheck(node, self._scopes, self._found, self._formulas, placed=placed)
        step_check.expressions()
        self._action(node, placed)
        self._question(node, placed)
        self._compensation(node, placed)

    def _action(self, node: Node, placed: bool) -> None:
        step = node.step
        when, known = f"when {node.name}'s command is sent", self._scopes.known(node)
        if step.saga is not None:
            if not self._child(node) or not placed:
                return
            starts_on = self._children[step.saga].starts_on
            at: Path = (*node.at, "saga")
            if self._messages.exists(starts_on, at):
                self._fields.check(
                    Sent(starts_on, step.fields, known, node, when, ((*node.at, "fields"),), at)
                )
        if step.command is None:
            return
        at = (*node.at, "command")
        for field in step.fields.keys() & step.command.fields.keys():
            what = f"step {node.name}: `{field}` is filled twice"
            self._found.add(
                what, "set it in one place: beside the command or inside it", (*node.at, "fields", field)
            )
        paths: tuple[Path, ...] = ((*at, "type"), (*at, "command"), at)
        if self._messages.command(step.command.type, step.command.topic, *paths) and placed:
            places = ((*node.at, "fields"), (*at, "fields"))
            written = step.command_fields()
            self._fields.check(Sent(step.command.type, written, known, node, when, places, at))

    def _child(self, node: Node) -> bool:
        """Whether the saga that a step starts is known, and does not start this one again."""
        name = node.step.saga or ""
        at = (*node.at, "saga")
        if name not in self._sagas:
            near = nearest(name, self._sagas)
            remedy = f"did you mean {near}?" if near else "pass its file too, or deploy it first"
            self._found.add(f"step {node.name} runs the saga {name}, which is unknown", remedy, at)
            return False
        if way := recursion(self._model, name, self._sagas):
            what = f"the sagas start each other in an endless loop: {' -> '.join(way)}"
            self._found.add(what, "break the loop: one of them must not start the next", at)
            return False
        return True

    def _question(self, node: Node, placed: bool) -> None:
        doubt = node.step.in_doubt
        if doubt is None or doubt.ask is None:
            return
        ask, at = doubt.ask, (*node.at, "in_doubt", "ask")
        if self._messages.command(ask.type, ask.topic, (*at, "type"), at) and placed:
            when = f"when the service of {node.name} is asked for the outcome"
            known = self._scopes.known(node)
            self._fields.check(Sent(ask.type, ask.fields, known, node, when, ((*at, "fields"),), at))

    def _compensation(self, node: Node, placed: bool) -> None:
        step, reverse, at = node.step, node.step.compensate_with, (*node.at, "compensate_with")
        if reverse is None:
            if step.compensated_on is not None:
                what = f"step {node.name} has `compensated_on` but no `compensate_with`"
                self._found.add(what, "name the command that reverses it", (*node.at, "compensated_on"))
            return
        if reverse.command is None:
            if step.compensated_on is not None:
                what = f"step {node.name}: the outcome of a {'call' if reverse.call else 'task'} is its confirmation"
                self._found.add(what, "drop `compensated_on`", (*node.at, "compensated_on"))
            return
        if step.command is not None and _is_same(step.command, step.command_fields(), reverse):
            what = f"step {node.name} is reversed by its own command {reverse.command}: its service would do the same once more"
            self._found.add(
                what,
                "name the command that reverses it, or fill its `fields` in another way",
                (*at, "command"),
                at,
            )
        if step.compensated_on is None:
            what = f"step {node.name} has `compensate_with` but no `compensated_on`"
            self._found.add(what, "name the event that confirms the compensation", at)
        else:
            self._messages.event(step.compensated_on, (*node.at, "compensated_on"))
        if self._messages.command(reverse.command, reverse.topic, (*at, "command"), at) and placed:
            known = self._scopes.known(node, own=True)
            when = f"when {node.name}'s command is sent"
            places = ((*at, "fields"),)
            self._fields.check(Sent(reverse.command, reverse.fields, known, node, when, places, at, True))

    def _keys(self) -> None:
        nodes = [node for node in self._tree.nodes.values() if not node.step.steps]
        events = [self._model.starts_on, *filter(None, (meaning.success(node.step) for node in nodes))]
        if not all(event in self._scopes.schemas for event in events):
            return  # reported already; the key may be a field of what is missing
        known = {
            field for scope in (self._scopes.start(), *map(self._scopes.of, nodes)) for field in scope.fields
        }
        for index, key in enumerate(self._model.keys):
            if not key_scopes(key, self._scopes):
                near = nearest(key, known)
                self._found.add(
                    f"the key {key} is a field neither of {self._model.starts_on} nor of any step's success event",
                    f"did you mean {near}?"
                    if near
                    else "name a field that people search by, such as order_id",
                    ("keys", index),
                    ("keys",),
                )


def _is_same(command: Command, fields: Mapping[str, Plain], reverse: Compensation) -> bool:
    """Whether a compensation asks for what its step's command asks for."""
    return (command.type, command.topic, fields) == (reverse.command, reverse.topic, reverse.fields)
