"""What is deployed, as the API answers it and the pages show it."""

from __future__ import annotations

from typing import Any

from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.problems import ProblemError
from kantor_orchestrator.definitions.bundle import Bundle
from kantor_orchestrator.view import as_json
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.view.search import OPEN, Criteria

#: Open transactions that are looked at to say how many are at each step.
MOST_OPEN = 2_000


def definition(bundle: Bundle, counts: dict[str, dict[str, int]] | None) -> dict[str, Any]:
    """A deployed version; ``counts``: of the transactions of each saga by status, None if nobody knows."""
    counted = None if counts is None else counts.get(bundle.model.saga, {})
    return as_json.definition(bundle) | {"transactions": counted}


def at_each_step(backend: Backend, saga: str, version: int) -> dict[str, int]:
    """How many open transactions are at each step, of at most ``MOST_OPEN``."""

    def count(view: View) -> dict[str, int]:
        found: dict[str, int] = {}
        page = view.search(Criteria(saga=saga, version=version, status=OPEN), limit=MOST_OPEN)
        for one in page.transactions:
            for step in one.open_steps:
                found[step] = found.get(step, 0) + 1
        return found

    try:
        with backend.view() as view:
            return count(view)
    except NoViewError:
        return {}


def deployed(backend: Backend, saga: str, version: int) -> Bundle:
    """Raises ``ProblemError`` if there is none."""
    found = backend.definitions().bundle(saga, version)
    if found is None:
        raise ProblemError(404, f"no version {version} of a saga {saga} is deployed")
    return found
