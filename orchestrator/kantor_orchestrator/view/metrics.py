"""The view's metrics."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kantor_orchestrator.view.search import OPEN

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ViewMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Counter(
            "kantor_view_records", "Records projected: journal, history and commands", registry=registry
        )
        self._unreadable = Counter(
            "kantor_view_unreadable",
            "Records that were skipped because they can't be read or were not written by the platform",
            registry=registry,
        )
        self._batch = Histogram(
            "kantor_view_batch_seconds",
            "Time to project and store one batch",
            buckets=_FAST,
            registry=registry,
        )
        self._behind = Gauge(
            "kantor_view_behind_seconds",
            "Age of the newest record when it was stored; 0 when idle",
            registry=registry,
        )
        self._complete = Gauge(
            "kantor_view_complete_timestamp_seconds",
            "Everything written up to this time is in the view; 0: another replica writes to it",
            registry=registry,
        )
        self._restarts = Counter(
            "kantor_view_restarts", "Times that the projection restarted after a failure", registry=registry
        )

    def projected(self, records: int, unreadable: int, seconds: float, behind: float) -> None:
        self._records.inc(records)
        if unreadable:
            self._unreadable.inc(unreadable)
        self._batch.observe(seconds)
        self._behind.set(behind)

    def idle(self) -> None:
        self._behind.set(0)

    def complete(self, milliseconds: int) -> None:
        self._complete.set(milliseconds / 1000)

    def restarted(self) -> None:
        self._restarts.inc()


class CensusMetrics:
    """All transactions together, as the replica that writes to the view counts them. A saga that was shown once is shown with
    0 later, so that an alert ends because of a number and not because one is missing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "kantor_transactions_open",
            "Transactions that have not ended",
            ["saga", "status"],
            registry=registry,
        )
        self._incidents = Gauge("kantor_incidents_open", "Open incidents", ["saga"], registry=registry)
        self._oldest = Gauge(
            "kantor_incident_oldest_age_seconds",
            "How long the oldest open incident has waited; 0: none is open",
            registry=registry,
        )
        self._held = Gauge(
            "kantor_held", "1: a person holds this saga (empty: every saga)", ["saga"], registry=registry
        )
        self._sagas: set[str] = set()
        self._holds: set[str] = set()

    def forget(self) -> None:
        """Another replica may count by now: two that say something else would both be believed."""
        for gauge in (self._open, self._incidents, self._held):
            gauge.clear()
        self._oldest.set(0)
        self._sagas, self._holds = set(), set()

    def counted(
        self,
        transactions: Mapping[tuple[str, str], int],
        incidents: Mapping[str, int],
        oldest: float,
        holds: set[str],
    ) -> None:
        """By saga and status; by saga; seconds; the sagas that are held."""
        self._sagas |= {saga for saga, _ in transactions if saga} | set(incidents)
        for saga in self._sagas:
            self._incidents.labels(saga).set(incidents.get(saga, 0))
            for status in OPEN:
                self._open.labels(saga, status).set(transactions.get((saga, status), 0))
        self._oldest.set(oldest)
        self._holds |= holds
        for saga in self._holds:
            self._held.labels(saga).set(saga in holds)
