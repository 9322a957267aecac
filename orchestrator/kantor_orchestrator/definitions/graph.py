"""The order of a saga's steps: ``after`` makes a directed graph without cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: By step: the steps that come right before it.
Graph = Mapping[str, Sequence[str]]


def ordered(graph: Graph) -> list[str]:
    """Topological order; where that leaves a choice, the order of writing. Steps on or behind a cycle are left out."""
    done: dict[str, None] = {}
    waiting = list(graph)
    while ready := next((name for name in waiting if all(other in done for other in graph[name])), None):
        done[ready] = None
        waiting.remove(ready)
    return list(done)


def cycle(graph: Graph) -> list[str]:
    """One cycle, its first step repeated at the end; empty if there is none."""
    done = set(ordered(graph))
    name = next((name for name in graph if name not in done), None)
    way: list[str] = []
    while name is not None and name not in way:
        way.append(name)
        name = next((other for other in graph[name] if other in graph and other not in done), None)
    return [*way[way.index(name) :], name][::-1] if name is not None else []


def before(graph: Graph, name: str) -> list[str]:
    """Every step that comes before ``name``, nearest first; equally near ones as ``after`` names them."""
    found: dict[str, None] = {}
    level = list(graph[name])
    while level:
        fresh = [other for other in dict.fromkeys(level) if other not in found and other in graph]
        found.update(dict.fromkeys(fresh))
        level = [further for other in fresh for further in graph[other]]
    found.pop(name, None)
    return list(found)
