"""The view's metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ViewMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Counter(
            "kantor_view_records", "Records projected: journal, history and commands", registry=registry
        )
        self._unreadable = Counter(
            "kantor_view_unreadable",
            "History records that could not be decoded and were skipped",
            registry=registry,
        )
        self._batch = Histogram(
            "kantor_view_batch_seconds",
            "Projecting and storing one batch",
            buckets=_FAST,
            registry=registry,
        )
        self._behind = Gauge(
            "kantor_view_behind_seconds",
            "Age of the newest record when it was stored; 0 while nothing comes",
            registry=registry,
        )
        self._restarts = Counter(
            "kantor_view_restarts", "Times that the projection started anew after trouble", registry=registry
        )

    def projected(self, records: int, unreadable: int, seconds: float, behind: float) -> None:
        self._records.inc(records)
        if unreadable:
            self._unreadable.inc(unreadable)
        self._batch.observe(seconds)
        self._behind.set(behind)

    def idle(self) -> None:
        self._behind.set(0)

    def restarted(self) -> None:
        self._restarts.inc()
