"""Sagas that run as steps of others: what a parent must know of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kantor_orchestrator.definitions.kinds import ANY
from kantor_orchestrator.definitions.meaning import Child
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.scopes import Scopes
from kantor_schemas import Schema


def children_of(sagas: Iterable[SagaModel], schemas: Mapping[str, Schema]) -> dict[str, Child]:
    """Each of these sagas as a child, by name, with the types of what it returns as far as they are known."""
    return {saga.saga: Child(saga.starts_on, _returns(saga, schemas)) for saga in sagas}


def _returns(saga: SagaModel, schemas: Mapping[str, Schema]) -> dict[str, object]:
    scopes = Scopes(saga, schemas, {})
    known = scopes.at_end("completed")
    found: dict[str, object] = {}
    for name, value in saga.returns.items():
        found[name] = scopes.type_of(value, known) if isinstance(value, str) else ANY
    return found


def started_by(saga: SagaModel) -> list[str]:
    """The sagas that it runs as its steps."""
    return list(dict.fromkeys(step.saga for step in saga.every_step() if step.saga is not None))


def recursion(saga: SagaModel, child: str, sagas: Mapping[str, SagaModel]) -> list[str]:
    """A way from ``child`` back to ``saga``, with ``saga`` at both ends; empty if there is none."""
    ways = [[saga.saga, child]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        if way[-1] == saga.saga:
            return way
        if way[-1] in seen or way[-1] not in sagas:
            continue
        seen.add(way[-1])
        ways += [[*way, further] for further in started_by(sagas[way[-1]])]
    return []
