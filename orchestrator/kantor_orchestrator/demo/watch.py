"""The demo's transactions as the platform's view has them: the same queries that the terminal and the pages use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.queries import Summary, View
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.view.trace import Trace

ENDED = frozenset({"completed", "compensated"})


class Watch:
    """The transactions that were placed so far, by id."""

    def __init__(self, view: Location, ids: Collection[str]) -> None:
        """``ids`` may grow later. The view's database may not be there yet."""
        self._place = view
        self._ids = ids
        self._view: View | None = None

    def close(self) -> None:
        if self._view is not None:
            self._view.__exit__()

    def statuses(self) -> Mapping[str, str]:
        """By transaction id; the view may not know the latest yet."""
        return {summary.transaction_id: summary.status for summary in self._summaries(self._ids)}

    def counts(self) -> Counter[str]:
        return Counter(self.statuses().values())

    def ended(self) -> int:
        return sum(count for status, count in self.counts().items() if status in ENDED)

    def wait_only_for(self, service: str, ids: Collection[str]) -> bool:
        """Whether all of these have ended, or have nothing left to do but to wait for this service's confirmation."""
        found = self._summaries(ids)
        return len(found) == len(ids) and all(
            summary.status in ENDED or (summary.status == "compensating" and summary.waiting_on == [service])
            for summary in found
        )

    def trace(self, id_: str) -> Trace:
        """Everything about one transaction. Raises ``NotFoundError``."""
        return self._open().trace(id_)

    def _summaries(self, ids: Collection[str]) -> list[Summary]:
        try:
            return self._open().summaries(list(ids))
        except NoViewError:
            return []

    def _open(self) -> View:
        if self._view is None:
            self._view = View(self._place)
        return self._view
