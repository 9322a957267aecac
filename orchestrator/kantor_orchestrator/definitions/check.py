"""What can't work although it is in the grammar: a definition against the schemas of its messages.

Everything is reported at once. A definition that passes can be compiled, and the engine can fill, send and recognise
every message of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kantor.envelope import STEP_FAILED
from kantor_orchestrator.core.saga import START
from kantor_orchestrator.definitions import graph
from kantor_orchestrator.definitions.check_fields import FieldCheck
from kantor_orchestrator.definitions.check_replies import check_replies
from kantor_orchestrator.definitions.compile import key_scopes
from kantor_orchestrator.definitions.filling import Scopes
from kantor_orchestrator.definitions.model import Retries, StepModel
from kantor_orchestrator.definitions.problem import Findings, Path, Problem, nearest
from kantor_orchestrator.definitions.reading import Written
from kantor_schemas import Schema


def check(written: Sequence[Written], catalog: Mapping[str, Schema]) -> list[Problem]:
    """Everything that can't work, in the order of files and lines."""
    found = {problem for one in written for problem in _Check(one, catalog).run()}
    return sorted(found | set(_together(written)))


def same_start(one: Written, other: str) -> Problem:
    """``one`` starts on what starts the saga ``other`` already."""
    return Problem(
        one.places.at(("starts_on",)),
        f"{one.model.starts_on} also starts the saga {other}, and a transaction runs one saga",
        "let one of them start on another event",
    )


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


class _Check:
    """One definition."""

    def __init__(self, written: Written, catalog: Mapping[str, Schema]) -> None:
        self._model = written.model
        self._steps = written.model.steps
        self._catalog = catalog
        self._found = Findings(written.places)
        self._scopes = Scopes(written.model, catalog)
        self._fields = FieldCheck(self._found, self._scopes, catalog)
        #: Steps whose place in the order is known: only of them can be said what is known when they begin.
        self._placed = set(graph.ordered({name: step.after for name, step in self._steps.items()}))

    def run(self) -> list[Problem]:
        self._type(self._model.starts_on, ("starts_on",))
        self._order()
        for name, step in self._steps.items():
            self._step(("steps", name), name, step)
        check_replies(self._model, self._found)
        self._keys()
        return self._found.problems

    def _step(self, path: Path, name: str, step: StepModel) -> None:
        add = self._found.add
        if step.succeeds_on is None:
            add(f"step {name} never succeeds", "add `succeeds_on:`, the event that says it is done", path)
        else:
            self._type(step.succeeds_on, (*path, "succeeds_on"))
        for index, type_ in enumerate(step.fails_on):
            at = ((*path, "fails_on", index), (*path, "fails_on"))
            if type_ == STEP_FAILED:
                add(f"step {name}: {STEP_FAILED} is a failure of every step already", "leave it out", *at)
            else:
                self._type(type_, *at)
        if step.timeout is None and self._model.deadline is None:
            add(f"step {name} may wait for ever", "give it a `timeout`, or the saga a `deadline`", path)
        self._action(path, name, step)
        self._compensation(path, name, step)

    def _action(self, path: Path, name: str, step: StepModel) -> None:
        if step.command is None:
            for word, said in (("fields", bool(step.fields)), ("retry", step.retry != Retries())):
                if said:
                    what = f"step {name} sends no command, so there is nothing for `{word}`"
                    self._found.add(what, "remove it, or add `command:`", (*path, word))
            return
        at: Path = (*path, "command")
        for field in step.fields.keys() & step.command.fields.keys():
            what = f"step {name}: `{field}` is filled twice"
            self._found.add(what, "say it beside the command or in it", (*path, "fields", field))
        if self._type(step.command.type, (*at, "type"), (*at, "command"), at) and name in self._placed:
            places = ((*path, "fields"), (*at, "fields"))
            self._fields.action(name, step.command.type, step.command_fields(), places, at)

    def _compensation(self, path: Path, name: str, step: StepModel) -> None:
        reverse, at = step.compensate_with, (*path, "compensate_with")
        if reverse is None:
            if step.compensated_on is not None:
                what = f"step {name} has `compensated_on` but no `compensate_with`"
                self._found.add(what, "name the command that reverses it", (*path, "compensated_on"))
            return
        if step.compensated_on is None:
            what = f"step {name} has `compensate_with` but no `compensated_on`"
            self._found.add(what, "name the event that confirms the compensation", at)
        else:
            self._type(step.compensated_on, (*path, "compensated_on"))
        if self._type(reverse.command, (*at, "command"), at) and name in self._placed:
            self._fields.compensation(name, reverse.command, reverse.fields, (*at, "fields"), at)

    def _type(self, type_: str, *paths: Path) -> bool:
        """Whether the schema of a message type is known; a problem if not."""
        if type_ in self._catalog:
            return True
        near = nearest(type_, self._catalog)
        remedy = f"did you mean {near}?" if near else "add its .avsc file to a folder that --schemas names"
        self._found.add(f"no schema for {type_}", remedy, *paths)
        return False

    def _order(self) -> None:
        for name, step in self._steps.items():
            for index, other in enumerate(step.after):
                if other not in self._steps:
                    near = nearest(other, self._steps)
                    remedy = f"did you mean {near}?" if near else f"the steps are {', '.join(self._steps)}"
                    what = f"step {name} comes after {other}, which is no step"
                    self._found.add(what, remedy, ("steps", name, "after", index), ("steps", name, "after"))
        known = {
            name: [other for other in step.after if other in self._steps]
            for name, step in self._steps.items()
        }
        if way := graph.cycle(known):
            what = f"the steps wait for each other: {' -> '.join(way)}"
            self._found.add(what, "remove one `after`", ("steps", way[0], "after"))

    def _keys(self) -> None:
        scopes = [START, *self._steps]
        if not all(self._scopes.event(scope) in self._catalog for scope in scopes):
            return  # reported already; the key may be a field of what is missing
        known = {field for scope in scopes for field in self._scopes.fields(scope)}
        for index, key in enumerate(self._model.keys):
            if not key_scopes(key, self._model, self._scopes):
                near = nearest(key, known)
                self._found.add(
                    f"the key {key} is a field of neither {self._model.starts_on} nor any step's success",
                    f"did you mean {near}?"
                    if near
                    else "name a field that people search by, such as order_id",
                    ("keys", index),
                    ("keys",),
                )
