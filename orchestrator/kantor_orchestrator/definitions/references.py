"""What an expression refers to: the paths of fields that it reads, found without evaluating it.

CEL's own ``references()`` names variables only. Here ``parcels.failed.map(p, p.item.amount)`` refers to the list
``parcels.failed`` and to ``parcels.failed.[].item.amount``: variables of macros stand for the elements of what they go
through. The text is one that CEL has accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kantor_orchestrator.definitions import syntax
from kantor_orchestrator.definitions.syntax import Node

#: In a path: any element of the list (or value of the map) before it.
ELEMENT = "[]"

Path = tuple[str, ...]

#: What orders or reckons: only numbers, texts and times can be beside it.
_RECKONING = {"<", "<=", ">", ">=", "+", "-", "*", "/", "%"}


@dataclass(frozen=True, slots=True)
class Use:
    """A path that an expression reads. ``listed``: only how many elements it has, or which, not what is in them.
    ``guarded``: by ``has``, so it may be unknown. ``reckoned``: it stands beside an operator that orders or reckons.
    ``compared``: with null. ``strict``: where null would raise."""

    path: Path
    at: int
    end: int
    listed: bool = False
    guarded: bool = False
    reckoned: bool = False
    compared: bool = False
    strict: bool = False


def uses(text: str) -> list[Use]:
    """Every path that ``text`` reads, in the order of writing."""
    reader = _Reader()
    reader.read(syntax.parse(text), {})
    return reader.found


def compared(found: list[Use]) -> set[Path]:
    """The paths that the expression compares with null somewhere."""
    return {use.path for use in found if use.compared}


def guarded(found: list[Use]) -> set[Path]:
    """The paths that some ``has`` of the expression looks at."""
    return {use.path for use in found if use.guarded}


class _Reader:
    """``bound`` in the methods: the paths of the variables of macros around; empty if one has none."""

    def __init__(self) -> None:
        self.found: list[Use] = []

    def read(self, node: Node, bound: Mapping[str, Path], **how: bool) -> None:
        """``how``: what the node around does with it, as in ``Use``."""
        if isinstance(node, syntax.Group):
            self.read(node.parts[0], bound, **how)
        else:
            self._note(node, self._path(node, bound), **how)

    def _note(self, node: Node, path: Path, **how: bool) -> None:
        if path:
            self.found.append(Use(path, node.at, node.end, **how))

    def _path(self, node: Node, bound: Mapping[str, Path]) -> Path:
        """The path that a node is, empty if it is none; what it is made of is noted."""
        match node:
            case syntax.Name(name):
                return bound.get(name, (name,))
            case syntax.Group(parts=(inner,)):
                return self._path(inner, bound)
            case syntax.Member(name, parts=(of,)):
                path = self._path(of, bound)
                return path and (*path, name)
            case syntax.Element(parts=(of, index)):
                path = self._path(of, bound)
                self.read(index, bound)
                said = index.said if isinstance(index, syntax.Literal) else None
                return path and (*path, ELEMENT if said is None else said)
            case syntax.Macro(name, variable, parts=(of, *bodies)):
                path = self._path(of, bound)
                self._note(of, path, listed=True, strict=True)
                for body in bodies:
                    self.read(body, {**bound, variable: path and (*path, ELEMENT)})
                return path if name == "filter" else ()
            case syntax.Method(name, parts=(of, *arguments)):
                self._note(of, self._path(of, bound), listed=name == "size", strict=True)
                for argument in arguments:
                    self.read(argument, bound)
            case syntax.Call(name, parts=arguments):
                before = len(self.found)
                for argument in arguments:
                    self.read(argument, bound, strict=name != "has")
                is_size, is_has = name == "size", name == "has"
                self.found[before:] = [
                    replace(use, listed=use.listed or is_size, guarded=use.guarded or is_has)
                    for use in self.found[before:]
                ]
            case syntax.Signed(signs, parts=(of,)):
                self.read(of, bound, reckoned=signs[0] == "-", strict=True)
            case syntax.Operation():
                self._operation(node, bound)
            case syntax.Conditional(parts=(asked, one, other)):
                self.read(asked, bound, strict=True)
                self.read(one, bound)
                self.read(other, bound)
            case _:
                for part in node.parts:
                    self.read(part, bound)
        return ()

    def _operation(self, node: syntax.Operation, bound: Mapping[str, Path]) -> None:
        """From the third operand on, what stands left of the operator is what those before gave, and not a path."""
        first, second, *_ = node.parts
        for index, part in enumerate(node.parts):
            sign = node.signs[max(index - 1, 0)]
            is_equal = sign in ("==", "!=")
            self.read(
                part,
                bound,
                reckoned=sign in _RECKONING,
                compared=is_equal and index < 2 and _is_null(second if index == 0 else first),
                strict=not is_equal and (sign != "in" or index > 0),
            )


def _is_null(node: Node) -> bool:
    return isinstance(node, syntax.Literal) and node.written == "null"
