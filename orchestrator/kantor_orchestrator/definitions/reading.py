"""From what was written to the model: every fault becomes a problem with its place and remedy."""

from __future__ import annotations

from dataclasses import dataclass, field

from kantor.errors import DefinitionError
from kantor_orchestrator.definitions import model
from kantor_orchestrator.definitions.model import Fault, Invalid, SagaModel
from kantor_orchestrator.definitions.problem import Path, Place, Places, Problem, nearest


@dataclass(frozen=True, slots=True)
class Written:
    """A valid definition, and where its parts are written."""

    model: SagaModel
    places: Places


@dataclass(slots=True)
class Reading:
    """What some files hold: the definitions that are in the grammar, and all problems of the others."""

    written: list[Written] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, value: object, places: Places) -> None:
        found = read(value, places)
        if isinstance(found, Written):
            self.written.append(found)
        else:
            self.problems += found

    def models(self) -> list[Written]:
        """The definitions. Raises ``DefinitionError`` with every problem, if there is one."""
        if self.problems:
            raise DefinitionError([str(problem) for problem in sorted(self.problems)])
        return self.written


def read(value: object, places: Places) -> Written | list[Problem]:
    """A definition, or everything that is wrong with it."""
    try:
        return Written(model.parse(value), places)
    except Invalid as invalid:
        faults = invalid.faults
    unknown = {tuple(fault["loc"][:-1]) for fault in faults if fault["type"] == "extra_forbidden"}
    return sorted(
        {
            _problem(fault, places)
            for fault in faults
            if fault["type"] != "missing" or tuple(fault["loc"][:-1]) not in unknown
        }
    )


def from_record(value: object, name: str) -> SagaModel:
    """A definition that was deployed. Raises ``DefinitionError``: a newer Kantor deployed it."""
    found = read(value, Places(Place(name)))
    if isinstance(found, Written):
        return found.model
    raise DefinitionError([str(problem) for problem in found])


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


def _problem(fault: Fault, places: Places) -> Problem:
    path: Path = tuple(part for part in fault["loc"] if part != "[key]")
    kind, context = fault["type"], fault.get("ctx", {})
    where = _where(path)
    if kind == "extra_forbidden":
        return _unknown_word(path, places)
    if kind == "missing":
        return Problem(places.word(path), f"{where} is missing", f"add `{path[-1]}:`")
    if kind == "value_error":
        what, _, remedy = str(context["error"]).partition("; ")
        at = places.word(path) if "[key]" in fault["loc"] else places.at(path)
        return Problem(at, f"{where}: {what}", remedy)
    at, given = places.at(path), fault["input"]
    if expected := _EXPECTED.get(kind):
        remedy = f"write {expected}"
        if expected == "text" and isinstance(given, bool | int | float):
            remedy = "put it in quotes if it is meant as text"
        return Problem(at, f"{where}: expected {expected}, got {_shown(given)}", remedy)
    if kind == "literal_error":
        return Problem(at, f"{where}: {_shown(given)} is not known", f"write {context['expected']}")
    if kind == "too_short":
        return Problem(at, f"{where} is empty", "add at least one step")
    if kind == "greater_than_equal":
        return Problem(at, f"{where}: {_shown(given)} is too small", f"write at least {context['ge']}")
    if kind == "less_than_equal":
        return Problem(at, f"{where}: {_shown(given)} is too large", f"write at most {context['le']}")
    return Problem(at, f"{where}: {fault['msg']}", "see docs/sagas-reference.md")


def _unknown_word(path: Path, places: Places) -> Problem:
    part, word, place = model.words_at(path), str(path[-1]), places.word(path)
    around = _where(path[:-1])
    if word in part.later:
        return Problem(
            place,
            f"{around}: `{word}` is not supported by this version of Kantor",
            "leave it out, or upgrade Kantor (docs/sagas-reference.md lists what comes later)",
        )
    near = nearest(word, [*part.words(), *part.later])
    remedy = f"did you mean `{near}`?" if near else f"known here: {', '.join(part.words())}"
    return Problem(place, f"{around}: unknown word `{word}`", remedy)


def _where(path: Path) -> str:
    return ".".join(str(part) for part in path) or "the definition"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else repr(value)
