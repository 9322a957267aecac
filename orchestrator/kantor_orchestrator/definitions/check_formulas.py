"""Do the names in expressions mean something, at the time when they are evaluated?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kantor.envelope import TRANSACTION_ENDED
from kantor_orchestrator.definitions import avro, expressions, kinds, references, syntax
from kantor_orchestrator.definitions.expressions import Ref
from kantor_orchestrator.definitions.kinds import ANY
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_orchestrator.definitions.references import ELEMENT, Use
from kantor_orchestrator.definitions.scopes import Scope, Scopes
from kantor_orchestrator.definitions.tree import Node

#: What CEL has no type for: passed on, compared for equality, but not reckoned with.
_SEALED = {
    "decimal",
    "date",
    "time-millis",
    "time-micros",
    "uuid",
    "local-timestamp-millis",
    "local-timestamp-micros",
}
#: Where else a scope is known.
_ELSEWHERE = {
    "event": "`event` is known only in `match`",
    "item": "`item` is known only inside an `each`",
    "index": "`index` is known only inside an `each`",
    "env": "`env` is known only in the url and headers of a call",
}


class FormulaCheck:
    """``when`` in the methods: until when something must be known, as the end of a sentence."""

    def __init__(self, found: Findings, scopes: Scopes) -> None:
        self._found = found
        self._scopes = scopes

    def check(self, text: str, known: Mapping[str, Scope], node: Node | None, when: str, *at: Path) -> bool:
        """Whether everything that an expression refers to is known."""
        uses = references.uses(text)
        guarded = references.guarded(uses)
        known_ones = [self._use(use, known, node, when, guarded, at) for use in uses]  # every problem is told
        if not all(known_ones):
            return False
        if not uses:
            return self._constant(text, at)
        if not all(self._constant(part, at) for part in _conversions(text)):
            return False
        if not self._sums(text, known, at):
            return False
        nulls = dict.fromkeys(
            null for use in uses if (null := self._null(use, known, references.compared(uses)))
        )
        for path in nulls:
            shown = _shown(path)
            type_ = self._scopes.typed(path, known)
            self._found.add(
                f"{shown} is {avro.shown(type_)}, and the expression {text!r} fails if it is null",
                f"check it first: {shown} != null && ..., or {shown} != null ? ... : ...",
                *at,
            )
        return not nulls

    def _sums(self, text: str, known: Mapping[str, Scope], at: tuple[Path, ...]) -> bool:
        """Whether everything that is summed can be."""
        asks = any(ELEMENT in path for path in references.compared(references.uses(text)))
        wrong = False
        for type_ in self._scopes.summed(text, known):
            why = kinds.unsummable(type_)
            if not why or (why == kinds.NULL_INSIDE and asks):  # it asks first, as far as can be told
                continue
            wrong = True
            remedy = "give it a list of numbers"
            self._found.add(
                f"sum() can't add up what it gets in {text!r}: {avro.shown(type_)}, which {why}",
                f"{remedy}, without null: LIST.filter(x, x != null)" if why == kinds.NULL_INSIDE else remedy,
                *at,
            )
        return not wrong

    def _constant(self, text: str, at: tuple[Path, ...]) -> bool:
        """Whether an expression that refers to nothing has a value."""
        try:
            expressions.Formula(text, lasting=True)({})
        except expressions.EvaluationError as error:
            self._found.add(f"the expression always fails: {error}", "correct the expression", *at)
            return False
        return True

    def _null(self, use: Use, known: Mapping[str, Scope], compared: set[tuple[str, ...]]) -> tuple[str, ...]:
        """The part of a path that may be null where the expression can't do with null; empty: none."""
        for length in range(2, len(use.path) + 1):
            path = use.path[:length]
            if (length < len(use.path) or use.strict) and path not in compared:
                type_ = self._scopes.typed(path, known)
                if isinstance(type_, list) and {"type": "null"} in type_:
                    return path
        return ()

    def guard(self, text: str, known: Mapping[str, Scope], node: Node, when: str, *at: Path) -> None:
        """The same, and what it gives is a truth value, as far as can be told."""
        asked = expressions.truth(text, lambda use: self._scopes.is_flag(use, node))
        type_ = self.type_of(asked, known) if self.check(asked, known, node, when, *at) else ANY
        if isinstance(type_, list) and {"type": "null"} in type_ and "boolean" in avro.shown(type_):
            self._found.add(
                f"{text} is {avro.shown(type_)}, and null is not a boolean", f"write {text} == true", *at
            )
            return
        if (value := expressions.literal(asked)) is not None and not isinstance(value[0], bool):
            self._found.add(f"{text!r} is {value[0]!r}, not a boolean", "write a comparison", *at)
        elif type_ is not ANY and "boolean" not in avro.shown(type_):
            self._found.add(f"{text} is {avro.shown(type_)}, not a boolean", "compare it with a value", *at)

    def kept(self, text: str, known: Mapping[str, Scope], *at: Path) -> None:
        """What it gives can be written as JSON and kept, as far as can be told."""
        if kinds.holds_duration(self.type_of(text, known)):
            self._found.add(
                f"{text} gives a duration, which only `sleep` takes",
                "convert it to a string: string(...)",
                *at,
            )

    def key(self, text: str, known: Mapping[str, Scope], node: Node | None, when: str, *at: Path) -> None:
        """The same, and what it gives can be a record's key, as far as can be told."""
        if not self.check(text, known, node, when, *at):
            return
        if expressions.literal(text) == ("",):
            self._found.add(
                f"{text} is empty, which can't be a record's key",
                "use a string that is never empty, or remove `key`: without it, the key is the transaction's id",
                *at,
            )
            return
        type_ = self.type_of(text, known)
        branches = type_ if isinstance(type_, list) else [type_]
        if type_ is not ANY and not all(_is_key(branch) for branch in branches):
            self._found.add(
                f"{text} is {avro.shown(type_)}, which can't be a record's key",
                "use a string or an integer that is always present",
                *at,
            )

    def ref(self, ref: Ref, known: Mapping[str, Scope], node: Node | None, when: str, *at: Path) -> bool:
        """Whether a field that is referred to exists."""
        return self._use(Use((ref.scope, ref.name), 0, 0), known, node, when, {(ref.scope, ref.name)}, at)

    def type_of(self, text: str, known: Mapping[str, Scope]) -> Any:
        """The Avro type of what an expression gives, as far as it can be told; else ``ANY``."""
        return self._scopes.type_of(text, known)

    def _use(
        self,
        use: Use,
        known: Mapping[str, Scope],
        node: Node | None,
        when: str,
        guarded: set[tuple[str, ...]],
        at: tuple[Path, ...],
    ) -> bool:
        root = use.path[0]
        if root not in known:
            self._unknown(use.path, known, node, when, at)
            return False
        try:
            type_ = self._scopes.typed(use.path, known)
        except LookupError as error:
            self._no_field(use.path, error, known, at)
            return False
        if use.reckoned and _is_sealed(type_):
            self._found.add(
                f"{_shown(use.path)} is {avro.shown(type_)}, which expressions can't calculate with",
                "let the service that publishes it add a number",
                *at,
            )
            return False
        if use.strict and _is_sealed(type_, whole=True):
            self._found.add(
                f"{_shown(use.path)} is {avro.shown(type_)}, which expressions can only pass on and compare for equality",
                "let the service that publishes it add a number or a text",
                *at,
            )
            return False
        scope = known[root]
        may_lack = scope.is_event and not scope.certain and use.path[1:2] != ("status",)
        if may_lack and not any(use.path[: len(path)] == path for path in guarded):
            self._found.add(
                f"{_shown(use.path)} may be unknown {when}: {root} {self.why(root, node)}",
                f"write has({_shown(use.path)}) ? ... : ...",
                *at,
            )
            return False
        return True

    def why(self, root: str, node: Node | None) -> str:
        """Why a step's success may be unknown."""
        if node is not None and root == node.name:
            return "is also compensated while its outcome is unknown"
        named = self._scopes.tree.visible(node) if node else self._scopes.tree.children(None)
        if root in named and named[root].may_be_missing:
            return "may be skipped" if named[root].step.when else "is optional and may fail"
        return "may not have happened by then"

    def _unknown(
        self,
        path: tuple[str, ...],
        known: Mapping[str, Scope],
        node: Node | None,
        when: str,
        at: tuple[Path, ...],
    ) -> None:
        root, tree = path[0], self._scopes.tree
        visible = tree.visible(node) if node else tree.children(None)
        inner = next((other for other in tree.nodes.values() if other.name == root), None)
        around = [outer.name for outer in node.around] if node else []
        rest = f".{'.'.join(path[1:])}" if len(path) > 1 and ELEMENT not in path else ""
        remedy = f"known by then: {', '.join(known)}"
        if root in _ELSEWHERE:
            what = f"{root}{rest}: {_ELSEWHERE[root]}"
        elif root in visible or root in around:
            what = f"{root}{rest}: {root} has not succeeded yet {when}"
        elif inner is not None and inner.parent is not None:
            what = f"{root}{rest}: {root} is inside {inner.parent.path}"
            remedy = f"go through {inner.parent.name}.succeeded or {inner.parent.name}.failed"
        else:
            what = f"{root}{rest}: there is no step {root}"
            if near := nearest(root, known):
                remedy = f"did you mean {near}{rest}?"
        self._found.add(what, remedy, *at)

    def _no_field(
        self, path: tuple[str, ...], error: LookupError, known: Mapping[str, Scope], at: tuple[Path, ...]
    ) -> None:
        name, fields = error.args
        before = path[: path.index(name, 1)]
        scope = known[path[0]]
        named = len(before) == 1 and scope.event not in ("", TRANSACTION_ENDED)
        owner = scope.event if named else _shown(before)
        near = nearest(name, fields)
        remedy = (
            f"did you mean {_shown((*before, near))}?"
            if near
            else f"it has {', '.join(fields) or 'no fields'}"
        )
        self._found.add(f"{_shown(path)}: {owner} has no field {name}", remedy, *at)


def _conversions(text: str) -> Iterator[str]:
    """The parts that make a value of what is written there, such as ``timestamp('2026-02-29T00:00:00Z')``."""
    waiting = [syntax.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, syntax.Call) and all(isinstance(part, syntax.Literal) for part in node.parts):
            yield text[node.at : node.end]
        waiting += node.parts


def _is_sealed(type_: Any, *, whole: bool = False) -> bool:
    """Whether CEL has no type for some of it; ``whole``: for all of it but null."""
    branches = type_ if isinstance(type_, list) else [type_]
    sealed = [branch is not ANY and branch.get("logicalType") in _SEALED for branch in branches]
    nulls = [branch == {"type": "null"} for branch in branches]
    return any(sealed) and (not whole or sum(sealed) + sum(nulls) == len(branches))


def _shown(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(f".{ELEMENT}", ELEMENT)


def _is_key(type_: Any) -> bool:
    """A date or a time is read as one: it is no number any more."""
    return type_["type"] in ("string", "int", "long", "enum") and type_.get("logicalType", "uuid") == "uuid"
