"""YAML without its surprises, with a place for every word. The only module that imports PyYAML.

Plain values are JSON's: ``true``, ``false``, ``null``, numbers; all else is text. So ``no``, ``on``, ``010``, ``1:30`` and
``2026-01-31`` stay what they look like. Duplicate keys, tags and merge keys are refused; aliases are allowed. A file may
hold several documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import yaml

from kantor_orchestrator.definitions.problem import Path, Place, Places, Problem
from kantor_orchestrator.definitions.reading import Reading

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
#: The tags that PyYAML's bare loader gives what carries none.
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq")}
#: Aliases can make a small file endless: no definition has this many parts.
_MOST_PARTS = 100_000


def load(path: FilePath, reading: Reading) -> None:
    """Add what a file holds to ``reading``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reading.problems.append(
            Problem(Place(str(path)), f"can't be read: {error}", "name a UTF-8 text file")
        )
        return
    parse(text, str(path), reading)


def parse(text: str, file: str, reading: Reading) -> None:
    """Add the documents in ``text`` to ``reading``; ``file`` is what problems name."""
    found = 0
    try:
        for root in yaml.compose_all(text, Loader=yaml.BaseLoader):
            if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
                continue
            found += 1
            document = _Document(file, root)
            if document.problems:
                reading.problems += document.problems
            else:
                reading.add(document.value, document.places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(file, mark) if mark else Place(file)
        reading.problems.append(
            Problem(place, f"not YAML: {error.problem or error.context}", "check the indentation and quotes")
        )
        return
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reading.problems.append(
            Problem(Place(file, line), f"not YAML: {error.reason}", "remove the character")
        )
        return
    except RecursionError:
        reading.problems.append(Problem(Place(file), "nested too deeply", "check the brackets"))
        return
    if not found:
        reading.problems.append(Problem(Place(file), "holds no definition", "start with `saga: NAME`"))


class _Document:
    """One document: its value, the place of each part, and what YAML allows but we refuse."""

    def __init__(self, file: str, root: yaml.Node) -> None:
        self._file = file
        self._around: list[yaml.Node] = []
        self._parts = 0
        self.problems: list[Problem] = []
        self.places = Places(_place(file, root.start_mark))
        self.value = self._value(root, ())

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._parts += 1
        if node in self._around or self._parts > _MOST_PARTS:
            if not self.problems:
                self._refuse(node, "aliases that never end", "write the part out")
            return None
        if node.tag not in _PLAIN_TAGS:
            self._refuse(node, f"the tag {node.tag} is not allowed", "remove it")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._around.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return dict(self._entries(node, path))
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._around.pop()

    def _item(self, node: yaml.Node, path: Path) -> Any:
        place = _place(self._file, node.start_mark)
        self.places.put(path, place, place)
        return self._value(node, path)

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, "a key must be a word", "write `word: value`")
                continue
            word = key.value
            if word == "<<" and key.style is None:
                self._refuse(
                    key, "merge keys (<<) are not allowed", "write the words out, or use an alias as a value"
                )
                continue
            place = _place(self._file, key.start_mark)
            if word in lines:
                self._refuse(key, f"`{word}` is written twice (first in line {lines[word]})", "keep one")
                continue
            lines[word] = place.line
            plain = isinstance(value, yaml.ScalarNode)
            inner = (*path, word)
            self.places.put(inner, place, _place(self._file, value.start_mark) if plain else None)
            yield word, self._value(value, inner)

    def _refuse(self, node: yaml.Node, what: str, remedy: str) -> None:
        self.problems.append(Problem(_place(self._file, node.start_mark), what, remedy))


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style is not None:  # quoted, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)
