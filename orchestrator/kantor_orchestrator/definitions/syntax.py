"""The syntax of an expression: CEL's text as a tree of nodes, by CEL's precedence.

CEL's library says whether a text is CEL, but shows no tree. This is the only place that looks at tokens: what an expression
refers to (``references``), gives (``kinds``) and does (``evaluation``) is found by walking the nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
#: How strongly operators bind; all from left to right.
BINDS = {"||": 1, "&&": 2}
BINDS |= dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3)
BINDS |= {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
#: Nodes within each other. Whoever walks them may take a few frames of Python's stack for each.
DEEPEST = 200

_TOKEN = re.compile(
    r"""\s+ | //[^\n]*
    | (?P<text>[bB]?[rR](?:\"\"\".*?\"\"\"|'''.*?'''|"[^"]*"|'[^']*')
        | [bB]?(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))
    | (?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>&&|\|\||[=!<>]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is written from ``at`` to before ``end``. ``parts``: what it is made of, in the order of writing."""

    at: int
    end: int
    parts: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A text with its quotes, a number with its sign (the least whole number has no positive one), or ``true``, ``false``
    and ``null``, which are of the kind ``name``."""

    kind: str
    written: str

    @property
    def said(self) -> str | None:
        """What a text says; None of anything else, of bytes, and of a text with escapes."""
        quoted = self.written.lstrip("rR")
        if self.kind != "text" or quoted[0] in "bB" or "\\" in quoted:
            return None
        width = 3 if quoted[:3] in ("'''", '"""') else 1
        return quoted[width:-width]


class Group(Node):
    """``(part)``."""


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``part.name``."""

    name: str


class Element(Node):
    """``part[part]``."""


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``name(parts)``."""

    name: str


@dataclass(frozen=True, slots=True)
class Method(Node):
    """``part.name(parts)``; ``named``: where its name is written."""

    name: str
    named: int


@dataclass(frozen=True, slots=True)
class Macro(Node):
    """``part.name(variable, parts)``: one of these, or a condition and one (of ``map``)."""

    name: str
    variable: str


@dataclass(frozen=True, slots=True)
class Signed(Node):
    """``!part``, ``--part``; the sign next to the part comes first."""

    signs: str


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """``part + part - part``: operators that bind equally strongly, from left to right. However long, it is not deep."""

    signs: tuple[str, ...]


class Conditional(Node):
    """``part ? part : part``."""


class List(Node):
    """``[parts]``."""


class Map(Node):
    """``{part: part, ...}``: keys and values in turn."""


@lru_cache(1_000)
def parse(text: str) -> Node:
    """The whole of an expression. Raises ``ValueError`` with what is wrong and the remedy, joined by ``; ``, for what CEL's
    library accepts and Kantor does not."""
    try:
        found = _Parser(text).whole()
    except RecursionError:
        found = None
    if found is None or _depth(found) > DEEPEST:
        raise ValueError(
            f"the expression {text[:40]!r}... is too deep: more than {DEEPEST} of its parts are within each other; "
            "let the service that publishes the data compute it"
        )
    return found


def strange(text: str, at: int, behind: int = 0) -> ValueError:
    """What Kantor's expressions don't have: the token that is ``behind`` so many others from ``at`` on."""
    token = [token for token in _tokens(text) if token.at >= at][behind]
    what = f"{token.text!r} at character {token.at + 1}" if token.text else "its end"
    return ValueError(
        f"the expression {text!r} has what Kantor's expressions don't have: {what}; "
        "docs/sagas-reference.md says what they have"
    )


def _depth(node: Node) -> int:
    level, depth = [node], 0
    while level:
        level, depth = [part for one in level for part in one.parts], depth + 1
    return depth


class _Token(NamedTuple):
    kind: str  # text | number | name | sign | end
    text: str
    at: int
    end: int


def _tokens(text: str) -> list[_Token]:
    found = [_Token(m.lastgroup, m[0], *m.span()) for m in _TOKEN.finditer(text) if m.lastgroup]
    return [*found, _Token("end", "", len(text), len(text))]


class _Parser:
    """Goes through the tokens once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def whole(self) -> Node:
        found = self._choice()
        self._take("")
        return found

    # -- tokens

    def _is(self, *signs: str) -> bool:
        token = self._tokens[self._at]
        return token.kind != "text" and token.text in signs

    def _take(self, *wanted: str) -> _Token:
        if wanted and not self._is(*wanted):
            raise self._strange()
        self._at += 1
        return self._tokens[self._at - 1]

    def _name(self) -> _Token:
        if self._tokens[self._at].kind != "name":
            raise self._strange()
        return self._take()

    def _strange(self) -> ValueError:
        return strange(self._text, self._tokens[self._at].at)

    # -- operators

    def _choice(self) -> Node:
        operands, signs = [self._operand()], []
        while self._is(*BINDS):
            signs.append(self._take().text)
            operands.append(self._operand())
        asked = _joined(operands, signs)
        if not self._is("?"):
            return asked
        self._take()
        one = self._choice()
        self._take(":")
        other = self._choice()
        return Conditional(at=asked.at, end=other.end, parts=(asked, one, other))

    def _operand(self) -> Node:
        signs: list[_Token] = []
        while self._is("!", "-"):
            signs.insert(0, self._take())
        if signs and signs[0].text == "-" and self._tokens[self._at].kind == "number":
            if self._tokens[self._at].text[-1] in "uU":
                raise self._strange()  # it has no negative one
            number = self._take()
            found: Node = Literal("number", f"-{number.text}", at=signs.pop(0).at, end=number.end)
        else:
            found = self._chain()
        if not signs:
            return found
        written = "".join(sign.text for sign in signs)
        return Signed(written, at=signs[-1].at, end=found.end, parts=(found,))

    # -- names, and what follows them

    def _chain(self) -> Node:
        found = self._begin()
        while self._is(".", "["):
            found = self._element(found) if self._take().text == "[" else self._member(found)
        return found

    def _begin(self) -> Node:
        token = self._tokens[self._at]
        at, end = token.at, token.end
        if token.kind == "name" and token.text not in ("true", "false", "null"):
            self._take()
            if not self._is("("):
                return Name(token.text, at=at, end=end)
            self._take()
            parts, end = self._listed(")")
            return Call(token.text, at=at, end=end, parts=parts)
        if token.kind in ("text", "number", "name"):
            return Literal(token.kind, self._take().text, at=at, end=end)
        opening = self._take("(", "[", "{").text
        if opening == "(":
            inner = self._choice()
            return Group(at=at, end=self._take(")").end, parts=(inner,))
        parts, end = self._listed("]" if opening == "[" else "}")
        return (List if opening == "[" else Map)(at=at, end=end, parts=parts)

    def _element(self, of: Node) -> Node:
        index = self._choice()
        return Element(at=of.at, end=self._take("]").end, parts=(of, index))

    def _member(self, of: Node) -> Node:
        name = self._name()
        if not self._is("("):
            return Member(name.text, at=of.at, end=name.end, parts=(of,))
        self._take()
        if name.text not in MACROS:
            parts, end = self._listed(")")
            return Method(name.text, name.at, at=of.at, end=end, parts=(of, *parts))
        variable = self._name().text
        self._take(",")
        parts, end = self._listed(")")
        if not 0 < len(parts) <= (2 if name.text == "map" else 1):
            raise self._strange()
        return Macro(name.text, variable, at=of.at, end=end, parts=(of, *parts))

    def _listed(self, closing: str) -> tuple[tuple[Node, ...], int]:
        """Up to the bracket that closes, and where that ends."""
        found: list[Node] = []
        while not self._is(closing):
            found.append(self._choice())
            if closing == "}":
                self._take(":")
                found.append(self._choice())
            if not self._is(closing):
                self._take(",")
        return tuple(found), self._take(closing).end


def _joined(operands: list[Node], signs: list[str]) -> Node:
    """Cut where the operators bind least."""
    if not signs:
        return operands[0]
    least = min(BINDS[sign] for sign in signs)
    cuts = [index for index, sign in enumerate(signs) if BINDS[sign] == least]
    ends = zip([0, *(cut + 1 for cut in cuts)], [*cuts, len(signs)], strict=True)
    parts = tuple(_joined(operands[begin : end + 1], signs[begin:end]) for begin, end in ends)
    return Operation(tuple(signs[cut] for cut in cuts), at=parts[0].at, end=parts[-1].end, parts=parts)
