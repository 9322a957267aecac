"""What is wrong with a definition, and where it is written.

A problem names its place (``file:line:column``; a definition in Python has no columns), what is wrong, and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

#: The way to a part of a definition: ``("steps", "stock", "timeout")``.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is written; 0: unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that can't work."""

    place: Place
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}; {self.remedy}"

    def as_json(self) -> dict[str, Any]:
        place = self.place
        return {
            "file": place.file,
            "line": place.line,
            "column": place.column,
            "problem": self.what,
            "remedy": self.remedy,
        }


class Places:
    """Where each part of one definition is written: by path, the word itself and (if it has one) its plain value."""

    def __init__(self, root: Place) -> None:
        self._words: dict[Path, Place] = {(): root}
        self._values: dict[Path, Place] = {}

    def put(self, path: Path, word: Place, value: Place | None = None) -> None:
        self._words[path] = word
        if value is not None:
            self._values[path] = value

    def word(self, path: Path) -> Place:
        """The place of the word at ``path``, or of the nearest part around it that has one."""
        while path not in self._words:
            path = path[:-1]
        return self._words[path]

    def at(self, *paths: Path) -> Place:
        """The place of the first of ``paths`` that is written: of its value if that is plain, else of its word."""
        for path in paths:
            if path in self._words:
                return self._values.get(path, self._words[path])
        path = paths[0]
        while path not in self._words:
            path = path[:-1]
        return self._values.get(path, self._words[path])


class Ways(Places):
    """Of a definition that has no file: the way to each part, ``steps.stock.timeout``."""

    def __init__(self) -> None:
        super().__init__(Place(""))

    def at(self, *paths: Path) -> Place:
        return Place(".".join(str(part) for part in paths[-1]))


class Findings:
    """The problems of one definition, as they are found."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.problems: list[Problem] = []

    def add(self, what: str, remedy: str, *paths: Path) -> None:
        """At the first of ``paths`` that is written."""
        self.problems.append(Problem(self._places.at(*paths), what, remedy))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that ``word`` was probably meant to be; empty if none is near."""
    candidates = sorted(known)
    found = get_close_matches(word, candidates, 1, 0.6)
    if not found:  # right name, wrong namespace or case
        tail = word.rpartition(".")[2].lower()
        found = [name for name in candidates if name.rpartition(".")[2].lower() == tail]
    return found[0] if found else ""
