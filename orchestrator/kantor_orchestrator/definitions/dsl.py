"""Sagas in Python: ``Saga("checkout", version=1, starts_on="shop.OrderPlaced").step("stock", ...)``.

A composite's steps are ``Steps().step(...).step(...)``. A saga here is only what was written; it becomes the same model as one in YAML, with the same checks. Problems name the
line of the call.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from types import FrameType
from typing import Any, Self

from kantor.errors import DefinitionError
from kantor_orchestrator.definitions import yaml_source
from kantor_orchestrator.definitions.expressions import Plain
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.problem import Path, Place, Places, Problem
from kantor_orchestrator.definitions.reading import Reading, Written

__all__ = ["Saga", "Steps"]


class Steps:
    """Steps as they are being written: of a saga, or of a composite (``steps=Steps().step(...)``)."""

    def __init__(self) -> None:
        self._steps: dict[str, Any] = {}
        #: Where each part is written: by path below ``steps``.
        self._marks: dict[Path, Place] = {}

    def step(
        self,
        name: str,
        *,
        after: str | Sequence[str] = (),
        when: str | None = None,
        optional: bool = False,
        command: str | Mapping[str, Any] | None = None,
        signal: str | None = None,
        sleep: str | None = None,
        saga: str | None = None,
        task: Mapping[str, Any] | None = None,
        call: Mapping[str, Any] | None = None,
        steps: Steps | None = None,
        each: str | None = None,
        need: int | None = None,
        in_order: bool = False,
        settle: str | None = None,
        fields: Mapping[str, Plain] | None = None,
        key: str | None = None,
        succeeds_on: str | None = None,
        fails_on: str | Sequence[str] = (),
        match: str | None = None,
        progress_on: str | None = None,
        timeout: str | None = None,
        retry: Mapping[str, Any] | None = None,
        in_doubt: str | Mapping[str, Any] | None = None,
        pivot: bool = False,
        compensate_with: str | Mapping[str, Any] | None = None,
        compensated_on: str | None = None,
    ) -> Self:
        """Add a step; what it is added to is returned, for the next one."""
        place = _place(sys._getframe(1))
        if name in self._steps:
            raise DefinitionError(
                [str(Problem(place, f"step {name} is written twice", "rename one of them"))]
            )
        words = _given(
            after=after,
            when=when,
            optional=optional or None,
            command=command,
            signal=signal,
            sleep=sleep,
            saga=saga,
            task=task,
            call=call,
            each=each,
            need=need,
            in_order=in_order or None,
            settle=settle,
            fields=fields,
            key=key,
            succeeds_on=succeeds_on,
            fails_on=fails_on,
            match=match,
            progress_on=progress_on,
            timeout=timeout,
            retry=retry,
            in_doubt=in_doubt,
            pivot=pivot or None,
            compensate_with=compensate_with,
            compensated_on=compensated_on,
        )
        self._marks[(name,)] = place
        for path in _paths(words):
            self._marks[(name, *path)] = place
        if steps is not None:
            words["steps"] = steps._steps
            self._marks[name, "steps"] = place
            for path, inner in steps._marks.items():
                self._marks[(name, "steps", *path)] = inner
        self._steps[name] = words
        return self


class Saga(Steps):
    """A saga as it is being written. Durations are text with a unit, as in YAML: ``timeout="30s"``."""

    def __init__(
        self,
        saga: str,
        *,
        version: int,
        starts_on: str,
        deadline: str | None = None,
        keys: Sequence[str] = (),
        mode: str | None = None,
        enforce: str | None = None,
        compensation: str | None = None,
        cancel_on: Mapping[str, Any] | None = None,
        ends_with: Mapping[str, Any] | None = None,
        returns: Mapping[str, Plain] | None = None,
        commands: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        words = {"saga": saga, "version": version, "starts_on": starts_on}
        words |= _given(
            deadline=deadline,
            keys=keys,
            mode=mode,
            enforce=enforce,
            compensation=compensation,
            cancel_on=cancel_on,
            ends_with=ends_with,
            returns=returns,
            commands=commands,
        )
        place = _place(sys._getframe(1))
        self._root = place
        self._words: dict[str, Any] = words
        self._loaded: Written | None = None

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
            value = written.model.model_dump(mode="json", exclude_defaults=True)
            saga = cls.__new__(cls)
            Steps.__init__(saga)
            saga._steps = value.pop("steps")
            saga._words = value
            saga._root = written.places.word(())
            saga._loaded = written
            found.append(saga)
        return found

    @property
    def written(self) -> Written:
        """The model and where it was written. Raises ``DefinitionError`` with every problem."""
        reading = Reading()
        self.read_into(reading)
        return reading.models()[0]

    @property
    def model(self) -> SagaModel:
        """The validated model. Raises ``DefinitionError`` with every problem."""
        return self.written.model

    def read_into(self, reading: Reading) -> None:
        places = self._loaded.places if self._loaded else Places(self._root)
        if self._loaded is None:
            for path in _paths(self._words):
                places.put(path, self._root)
            places.put(("steps",), self._root)
        for path, place in self._marks.items():
            places.put(("steps", *path), place)
        reading.add({**self._words, "steps": self._steps}, places)


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


def _paths(words: Mapping[str, Any]) -> Iterator[Path]:
    """The path of every word, also of those in mappings."""
    for word, value in words.items():
        yield (word,)
        if isinstance(value, dict):
            yield from ((word, *path) for path in _paths(value))


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
