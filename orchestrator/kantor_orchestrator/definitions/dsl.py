"""Sagas in Python: ``Saga("checkout", version=1, starts_on="shop.OrderPlaced").step("stock", ...)``.

A saga here is only what was written; it becomes the same model as one in YAML, with the same checks. Problems name the
line of the call.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from types import FrameType
from typing import Any, Self

from kantor.errors import DefinitionError
from kantor_orchestrator.definitions import yaml_source
from kantor_orchestrator.definitions.expressions import Plain
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.problem import Path, Place, Places, Problem
from kantor_orchestrator.definitions.reading import Reading, Written

__all__ = ["Saga"]


class Saga:
    """A saga as it is being written. Durations are text with a unit, as in YAML: ``timeout="30s"``."""

    def __init__(
        self,
        saga: str,
        *,
        version: int,
        starts_on: str,
        deadline: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        words = {"saga": saga, "version": version, "starts_on": starts_on}
        words |= _given(deadline=deadline, keys=keys)
        place = _place(sys._getframe(1))
        self._places = Places(place)
        self._places.put(("steps",), place)
        self._value: dict[str, Any] = words | {"steps": {}}
        _put(self._places, (), words, place)

    @classmethod
    def load(cls, path: str | FilePath) -> Self:
        """The one saga in a YAML file. Raises ``DefinitionError`` with every problem."""
        found = cls.load_all(path)
        if len(found) != 1:
            raise DefinitionError([f"{path}: holds {len(found)} sagas; use Saga.load_all"])
        return found[0]

    @classmethod
    def load_all(cls, path: str | FilePath) -> list[Self]:
        """All sagas in a YAML file. Raises ``DefinitionError`` with every problem."""
        reading = Reading()
        yaml_source.load(FilePath(path), reading)
        found = []
        for written in reading.models():
            saga = cls.__new__(cls)
            saga._places = written.places
            saga._value = written.model.model_dump(mode="json")
            found.append(saga)
        return found

    def step(
        self,
        name: str,
        *,
        after: str | Sequence[str] = (),
        command: str | Mapping[str, Any] | None = None,
        fields: Mapping[str, Plain] | None = None,
        succeeds_on: str | None = None,
        fails_on: str | Sequence[str] = (),
        timeout: str | None = None,
        retry: Mapping[str, Any] | None = None,
        compensate_with: str | Mapping[str, Any] | None = None,
        compensated_on: str | None = None,
    ) -> Self:
        """Add a step; the saga itself is returned, for the next one."""
        place = _place(sys._getframe(1))
        if name in self._value["steps"]:
            raise DefinitionError(
                [str(Problem(place, f"step {name} is written twice", "give one of them another name"))]
            )
        words = _given(
            after=after,
            command=command,
            fields=fields,
            succeeds_on=succeeds_on,
            fails_on=fails_on,
            timeout=timeout,
            retry=retry,
            compensate_with=compensate_with,
            compensated_on=compensated_on,
        )
        self._value["steps"][name] = words
        self._places.put(("steps", name), place)
        _put(self._places, ("steps", name), words, place)
        return self

    @property
    def written(self) -> Written:
        """The model and where it was written. Raises ``DefinitionError`` with every problem."""
        reading = Reading()
        reading.add(self._value, self._places)
        return reading.models()[0]

    @property
    def model(self) -> SagaModel:
        """The validated model. Raises ``DefinitionError`` with every problem."""
        return self.written.model

    def read_into(self, reading: Reading) -> None:
        reading.add(self._value, self._places)


def load(path: FilePath, reading: Reading) -> None:
    """Run a Python file and add its module-level sagas to ``reading``. Its code is trusted: it is run."""
    try:
        names = runpy.run_path(str(path))
    except DefinitionError as error:
        reading.problems += [Problem(Place(str(path)), problem, "correct it") for problem in error.problems]
        return
    except Exception as error:  # noqa: BLE001 - anything may be wrong with a user's file
        place = Place(str(path), _line_in(path, error))
        reading.problems.append(
            Problem(place, f"can't be run: {type(error).__name__}: {error}", "make it run with python first")
        )
        return
    sagas = {id(value): value for value in names.values() if isinstance(value, Saga)}
    if not sagas:
        reading.problems.append(
            Problem(Place(str(path)), "holds no definition", "assign Saga(...) to a name in the module")
        )
    for saga in sagas.values():
        saga.read_into(reading)


def _given(**words: Any) -> dict[str, Any]:
    """What was said, in the plain types that YAML has."""
    return {word: _plain(value) for word, value in words.items() if value is not None and value != ()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value


def _put(places: Places, path: Path, words: Mapping[str, Any], place: Place) -> None:
    for word, value in words.items():
        places.put((*path, word), place)
        if isinstance(value, dict):
            _put(places, (*path, word), value, place)


def _place(frame: FrameType) -> Place:
    return Place(_shown(frame.f_code.co_filename), frame.f_lineno)


def _shown(file: str) -> str:
    """Relative to the current folder where that is shorter, as people name it."""
    try:
        return str(FilePath(file).relative_to(FilePath.cwd()))
    except ValueError:
        return file


def _line_in(path: FilePath, error: BaseException) -> int:
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    found = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
