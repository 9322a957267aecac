"""What can't work although it is in the grammar: a definition against the schemas of its messages.

Everything is reported at once. A definition that passes can be compiled, and the engine can fill, send and recognise
every message of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kantor_orchestrator.definitions import meaning
from kantor_orchestrator.definitions.check_fields import FieldCheck
from kantor_orchestrator.definitions.check_formulas import FormulaCheck
from kantor_orchestrator.definitions.check_messages import MessageCheck
from kantor_orchestrator.definitions.check_replies import check_replies
from kantor_orchestrator.definitions.check_saga import check_saga
from kantor_orchestrator.definitions.check_shape import check_shape
from kantor_orchestrator.definitions.check_step import StepCheck
from kantor_orchestrator.definitions.check_times import check_times
from kantor_orchestrator.definitions.children import children_of, started_by
from kantor_orchestrator.definitions.compile import key_scopes
from kantor_orchestrator.definitions.meaning import Children, heard
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.problem import Findings, Problem, Ways, nearest
from kantor_orchestrator.definitions.reading import Written
from kantor_orchestrator.definitions.scopes import Scopes
from kantor_schemas import Schema

#: Steps of a saga at most, those in composites included: each of them may name all that come before it, in what it sends.
MOST_STEPS = 1_000


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
        self._found = Findings(written.places)
        self._scopes = Scopes(written.model, catalog, children)
        self._tree = self._scopes.tree
        self._messages = MessageCheck(self._scopes, self._found)
        self._formulas = FormulaCheck(self._found, self._scopes)
        self._fields = FieldCheck(self._found, self._scopes, self._formulas)

    def run(self) -> list[Problem]:
        if (count := len(self._tree.nodes)) > MOST_STEPS:
            what = f"the saga has {count:,} steps; it may have at most {MOST_STEPS:,}"
            self._found.add(what, "run parts of it as child sagas (`saga:`), or use `each`", ("steps",))
            return self._found.problems
        #: Steps whose place in the order is known: only of them can be said what is known when they begin.
        self._placed = {node.path for node in self._tree.ordered()}
        self._messages.event(self._model.starts_on, ("starts_on",))
        check_shape(self._tree, self._found)
        check_times(self._model, self._tree, self._found)
        for node in self._tree.nodes.values():
            placed = all(place.path in self._placed for place in (node, *node.around))
            StepCheck(
                node,
                placed,
                self._sagas,
                self._scopes,
                self._found,
                self._formulas,
                self._fields,
                self._messages,
            ).run()
        check_replies(self._scopes, self._found)
        check_saga(self._scopes, self._found, self._formulas, self._fields, self._messages)
        self._keys()
        return self._found.problems

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
