"""A saga's steps as a tree: composites hold steps. Paths are the definition's: ``parcels.book``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from kantor_orchestrator.definitions import graph
from kantor_orchestrator.definitions.model import SagaModel, StepModel
from kantor_orchestrator.definitions.problem import Path


@dataclass(frozen=True, slots=True)
class Node:
    """A step in its place. ``at``: where it is written."""

    path: str
    name: str
    step: StepModel
    parent: Node | None
    at: Path

    @property
    def around(self) -> Iterator[Node]:
        """The composites that it is in, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    @property
    def each(self) -> Node | None:
        """The nearest composite around it that runs ``each``: whose ``item`` and ``index`` it sees."""
        return next((node for node in self.around if node.step.each is not None), None)

    @property
    def may_be_missing(self) -> bool:
        """Whether the saga can go on without its success."""
        return self.step.optional or self.step.when is not None


class Tree:
    """Every step by path, in the order of writing, composites before what they hold."""

    def __init__(self, saga: SagaModel) -> None:
        self.nodes: dict[str, Node] = {}
        self._children: dict[str, dict[str, Node]] = {}
        self._graphs: dict[str, dict[str, list[str]]] = {}
        self._before: dict[str, list[Node]] = {}
        self._add(None, saga.steps)

    def _add(self, parent: Node | None, steps: Mapping[str, StepModel]) -> None:
        group = self._children[parent.path if parent else ""] = {}
        for name, step in steps.items():
            path = f"{parent.path}.{name}" if parent else name
            node = Node(path, name, step, parent, (*(parent.at if parent else ()), "steps", name))
            self.nodes[path] = group[name] = node
            if step.children:
                self._add(node, step.children)

    def children(self, parent: Node | None) -> Mapping[str, Node]:
        """The steps of a composite (None: of the saga) by name."""
        return self._children.get(parent.path if parent else "", {})

    def siblings(self, node: Node) -> Mapping[str, Node]:
        return self.children(node.parent)

    def graph(self, parent: Node | None) -> dict[str, list[str]]:
        """What comes right before each step of a composite."""
        path = parent.path if parent else ""
        if path not in self._graphs:
            self._graphs[path] = self._graph(parent)
        return self._graphs[path]

    def _graph(self, parent: Node | None) -> dict[str, list[str]]:
        found = {name: [*node.step.after] for name, node in self.children(parent).items()}
        # One after the other and all of them: each knows what those before it brought.
        if parent is not None and parent.step.in_order and parent.step.each is None and not parent.step.need:
            names = list(found)
            for before, name in pairwise(names):
                if before not in found[name]:
                    found[name].append(before)
        return found

    def ordered(self, parent: Node | None = None) -> list[Node]:
        """Composites before what they hold, siblings in topological order; those on or behind a cycle left out."""
        children = self.children(parent)
        found: list[Node] = []
        for name in graph.ordered(self.graph(parent)):
            found += (
                [children[name], *self.ordered(children[name])]
                if children[name].step.steps
                else [children[name]]
            )
        return found

    def before(self, node: Node) -> list[Node]:
        """The steps of the same composite that come before it, the nearest first."""
        if node.path not in self._before:
            siblings = self.siblings(node)
            names = graph.before(self.graph(node.parent), node.name)
            self._before[node.path] = [siblings[name] for name in names]
        return self._before[node.path]

    def visible(self, node: Node) -> dict[str, Node]:
        """Every step that can be named from here, known by then or not: of the same composite and of those around."""
        found = dict(self.siblings(node))
        for outer in node.around:
            found = {**self.siblings(outer), **found}
        return found
