"""What an expression refers to: the paths of fields in its text, found without evaluating it.

CEL's own ``references()`` names variables only. Here ``parcels.failed.map(p, p.item.amount)`` refers to the list
``parcels.failed`` and to ``parcels.failed.[].item.amount``: variables of macros stand for the elements of what they go
through. The text is one that CEL has accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

#: In a path: any element of the list (or value of the map) before it.
ELEMENT = "[]"

Path = tuple[str, ...]

_TOKEN = re.compile(
    r"""\s+ | //[^\n]*
    | (?P<text>[rRbB]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))
    | (?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>&&|\|\||[=!<>]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
MACROS = {"map", "filter", "all", "exists", "exists_one"}
_WORDS = {"true", "false", "null", "in"}
_OPEN, _CLOSE = {"(", "[", "{"}, {")", "]", "}"}
#: What orders or reckons: only numbers, texts and times can be beside it.
RECKONING = {"<", "<=", ">", ">=", "+", "-", "*", "/", "%"}
_EQUAL = {"==", "!="}
#: What asks whether something is true, and what gives a truth value of two.
_ASKING, _BETWEEN = {"!", "&&", "||"}, {*RECKONING, *_EQUAL, "in"}
#: Functions that do not raise when they are given null.
_TAKE_NULL = {"has", "type"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # text | number | name | sign
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Use:
    """A path that an expression reads. ``listed``: only how many elements it has, or which, not what is in them.
    ``guarded``: by ``has``, so it may be unknown. ``reckoned``: it stands beside an operator of ``RECKONING``.
    ``compared``: with null. ``strict``: where null would raise."""

    path: Path
    at: int
    end: int
    listed: bool = False
    guarded: bool = False
    reckoned: bool = False
    compared: bool = False
    strict: bool = False


def tokens(text: str) -> list[Token]:
    return [Token(m.lastgroup, m[0], m.start()) for m in _TOKEN.finditer(text) if m.lastgroup]


def uses(text: str) -> list[Use]:
    """Every path that ``text`` reads, in the order of writing."""
    return _Reader(text).found


def compared(found: list[Use]) -> set[Path]:
    """The paths that the expression compares with null somewhere."""
    return {use.path for use in found if use.compared}


def guarded(found: list[Use]) -> set[Path]:
    """The paths that some ``has`` of the expression looks at."""
    return {use.path for use in found if use.guarded}


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._end = len(text)
        self.found: list[Use] = []
        self._read(0, len(self._tokens), {})

    def _read(self, at: int, end: int, bound: Mapping[str, Path]) -> None:
        """Expressions between two tokens."""
        while at < end:
            token = self._tokens[at]
            if token.kind == "name" and token.text not in _WORDS:
                at = self._chain(at, end, bound)
            elif self._is(at, "."):  # behind a bracket or a text: a method of what has no name
                at = self._rest(at, at, end, None, bound)
            else:
                at += 1

    def _chain(self, at: int, end: int, bound: Mapping[str, Path]) -> int:
        """One name and what follows it by ``.``, ``[`` and ``(``; the index of the token behind it."""
        first = self._tokens[at]
        if self._is(at + 1, "("):
            close = self._closing(at + 1)
            before = len(self.found)
            self._read(at + 2, close, bound)
            last = self._tokens[close - 1]
            whole = (self._tokens[at + 2].at, last.at + len(last.text)) if close > at + 2 else None
            self.found[before:] = [self._given(use, first.text, whole) for use in self.found[before:]]
            return self._rest(at, close + 1, end, None, bound)
        path: Path | None = bound.get(first.text, (first.text,))
        if first.text in bound and not bound[first.text]:
            path = None  # a variable for the elements of something that has no name
        return self._rest(at, at + 1, end, path, bound)

    @staticmethod
    def _given(use: Use, function: str, whole: tuple[int, int] | None) -> Use:
        """A path that a function is given; ``whole``: where its argument begins and ends, if it has only one."""
        is_argument = (use.at, use.end) == whole
        return replace(
            use,
            listed=use.listed or function == "size",
            guarded=use.guarded or function == "has",
            strict=use.strict or (is_argument and function not in _TAKE_NULL),
        )

    def _rest(self, first: int, at: int, end: int, path: Path | None, bound: Mapping[str, Path]) -> int:
        while at < end:
            if self._is(at, ".") and at + 1 < end:
                word = self._tokens[at + 1].text
                if not self._is(at + 2, "("):
                    path = None if path is None else (*path, word)
                    at += 2
                    continue
                close = self._closing(at + 2)
                if word in MACROS:
                    self._note(first, at, path, listed=True, strict=True)
                    variable = self._tokens[at + 3].text if at + 3 < close else ""
                    element = () if path is None else (*path, ELEMENT)
                    self._read(at + 5, close, {**bound, variable: element})
                    if word != "filter":
                        path = None
                else:
                    self._note(first, at, path, listed=word == "size", strict=True)
                    path = None
                    self._read(at + 3, close, bound)
                at = close + 1
            elif self._is(at, "["):
                close = self._closing(at)
                inner = self._tokens[at + 1 : close]
                if path is not None:
                    named = len(inner) == 1 and inner[0].kind == "text"
                    path = (*path, inner[0].text.strip("rR\"'") if named else ELEMENT)
                self._read(at + 1, close, bound)
                at = close + 1
            else:
                break
        self._note(first, at, path)
        return at

    def _note(
        self, first: int, behind: int, path: Path | None, *, listed: bool = False, strict: bool = False
    ) -> None:
        if path is None:
            return
        start, last = self._tokens[first].at, self._tokens[behind - 1]
        before, after = self._sign(first - 1), self._sign(behind)
        compared = (after in _EQUAL and self._word(behind + 1) == "null") or (
            before in _EQUAL and self._word(first - 2) == "null"
        )
        asked = (before in _ASKING or after in {*_ASKING, "?"}) and not {before, after} & _BETWEEN
        reckoned = bool({before, after} & RECKONING)
        strict = strict or reckoned or asked or before == "in"
        use = Use(
            path,
            start,
            last.at + len(last.text),
            listed,
            reckoned=reckoned,
            compared=compared,
            strict=strict,
        )
        if use not in self.found:
            self.found.append(use)

    def _sign(self, at: int) -> str:
        """An operator, or `in`; empty if there is none."""
        token = self._tokens[at] if 0 <= at < len(self._tokens) else None
        return token.text if token and (token.kind == "sign" or token.text == "in") else ""

    def _word(self, at: int) -> str:
        token = self._tokens[at] if 0 <= at < len(self._tokens) else None
        return token.text if token and token.kind == "name" else ""

    def _is(self, at: int, sign: str) -> bool:
        return at < len(self._tokens) and self._tokens[at].kind == "sign" and self._tokens[at].text == sign

    def _closing(self, at: int) -> int:
        """The bracket that closes the one at ``at``."""
        depth = 0
        for index in range(at, len(self._tokens)):
            token = self._tokens[index]
            if token.kind == "sign":
                depth += (token.text in _OPEN) - (token.text in _CLOSE)
                if depth == 0:
                    return index
        return len(self._tokens)
