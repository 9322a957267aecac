"""The orchestrator's metrics: every name, its meaning and its unit, in one place.

``kantor_`` prefix, base units, no ids as labels. Each role gets its own class over the registry that it is handed.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SAGA = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86400)


class IntakeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._read = Counter("kantor_intake_records", "Records read from source topics", registry=registry)
        self._journaled = Counter(
            "kantor_intake_journaled", "Records appended to the journal", registry=registry
        )
        self._uncorrelated = Counter(
            "kantor_intake_uncorrelated",
            "Records that were not journaled because they name no valid transaction, can't be accepted, or were deleted by Kafka before "
            "intake read them",
            ["topic"],
            registry=registry,
        )
        self._refused = Gauge(
            "kantor_intake_refused",
            "1: intake may see this topic but not read it, so every timeout waits",
            ["topic"],
            registry=registry,
        )
        self._watermark = Gauge(
            "kantor_intake_watermark_timestamp_seconds",
            "Everything up to this time is in the journal",
            registry=registry,
        )

        self._behind = Gauge(
            "kantor_intake_behind_records",
            "Records in this intake's topics that are not in the journal yet",
            registry=registry,
        )

    def behind(self, records: int) -> None:
        self._behind.set(records)

    def journaled(self, journaled: int, read: int) -> None:
        self._read.inc(read)
        self._journaled.inc(journaled)

    def uncorrelated(self, topic: str, count: int = 1) -> None:
        self._uncorrelated.labels(topic).inc(count)

    def refused(self, topics: Collection[str]) -> None:
        """All that are; those of before are no more."""
        self._refused.clear()
        for topic in topics:
            self._refused.labels(topic).set(1)

    def watermark(self, seconds: float) -> None:
        self._watermark.set(seconds)


class Tally:
    """Counts of one batch, put into the metrics once: a labelled counter costs as much as decoding a message."""

    def __init__(self) -> None:
        self._seen: dict[Counter, list[str | tuple[str, ...]]] = {}

    def of(self, counter: Counter) -> list[str | tuple[str, ...]]:
        """Append to it the labels of each thing to be counted: the one, or a tuple of all."""
        return self._seen.setdefault(counter, [])

    def flush(self) -> None:
        for counter, seen in self._seen.items():
            for labels, count in collections.Counter(seen).items():
                counter.labels(*(labels if isinstance(labels, tuple) else (labels,))).inc(count)
            seen.clear()


class EngineMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        #: For what is counted with each entry: flushed at the end of a batch.
        self.tally = Tally()
        self.entries = Counter(
            "kantor_engine_entries",
            "Journal entries processed, by outcome",
            ["outcome"],
            registry=registry,
        )
        self.started = Counter(
            "kantor_transactions_started", "Transactions started", ["saga"], registry=registry
        )
        self.finished = Counter(
            "kantor_transactions_finished", "Transactions ended", ["saga", "status"], registry=registry
        )
        self.duration = Histogram(
            "kantor_transaction_duration_seconds",
            "Time from a transaction's start to its end",
            ["saga", "status"],
            buckets=_SAGA,
            registry=registry,
        )
        self.transitions = Counter(
            "kantor_transitions", "Transitions written to the history", ["kind"], registry=registry
        )
        self.commands = Counter("kantor_commands_sent", "Commands sent", ["type"], registry=registry)
        self.incidents = Counter("kantor_incidents_opened", "Incidents opened", ["saga"], registry=registry)
        self.ignored_starts = Counter(
            "kantor_starts_ignored",
            "Starts that started nothing because they were sent more than 24 h ago, or before their saga was deployed",
            ["kind"],
            registry=registry,
        )
        self.commit = Histogram(
            "kantor_engine_commit_seconds",
            "Time to commit a shard's checkpoint",
            buckets=_FAST,
            registry=registry,
        )
        self.batch = Histogram(
            "kantor_engine_batch_entries",
            "Entries that a shard decides on in one turn",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.timer_lateness = Histogram(
            "kantor_timer_lateness_seconds", "How late a timer fired", buckets=_FAST, registry=registry
        )
        self.retaken = Counter(
            "kantor_shards_retaken",
            "Shards retaken after a failure",
            registry=registry,
        )
        self.lost = Counter(
            "kantor_journal_lost_entries",
            "Journal entries that retention removed before any engine had read them",
            registry=registry,
        )
        self.recreated = Counter(
            "kantor_shard_topics_recreated",
            "Times that a shard's journal or history turned out to be a different one: the topic was recreated, or truncated",
            ["topic"],
            registry=registry,
        )
        self.shards = Gauge("kantor_engine_shards", "Shards that this engine owns", registry=registry)
        self.all_shards = Gauge("kantor_shards", "All shards, whoever owns them", registry=registry)
        self.waiting = Gauge(
            "kantor_engine_waiting_shards",
            "Shards that wait because a schema, a definition or the registry is missing",
            registry=registry,
        )
        self.unread = Gauge(
            "kantor_engine_unread_definitions",
            "Deployed definitions that this engine can't read; transactions that need them wait",
            registry=registry,
        )
        self.untaken = Gauge(
            "kantor_engine_untaken_seconds",
            "How long this engine has been trying to take an assigned shard (the longest); 0: it has all of them",
            registry=registry,
        )
        self.without_disk = Gauge(
            "kantor_engine_stores_without_disk",
            "Shards that can't write their store to disk: they keep working, with more memory",
            registry=registry,
        )
        self.behind = Gauge(
            "kantor_engine_behind_seconds",
            "Age of the oldest journal entry that was read but not decided on yet; 0: none waits",
            registry=registry,
        )
        self.overdue = Gauge(
            "kantor_engine_timer_overdue_seconds",
            "How long the timer with the earliest due time has been overdue; 0: none is overdue",
            registry=registry,
        )
        self.ahead = Gauge(
            "kantor_engine_broker_ahead_seconds",
            "How far the broker's time is ahead of this machine's clock; negative: behind",
            registry=registry,
        )
        self.cached = Gauge("kantor_engine_cached_transactions", "Transactions in memory", registry=registry)


class RoleMetrics:
    """What every role's process reports about itself, beside Python's own ``process_`` metrics (memory, CPU, files)."""

    def __init__(self, registry: CollectorRegistry, role: str, version: str) -> None:
        ProcessCollector(registry=registry)
        Gauge("kantor_build_info", "1; the version is a label", ["version"], registry=registry).labels(
            version
        ).set(1)
        self._ready = Gauge(
            "kantor_role_ready",
            "1: the role works; 0: it is starting or waiting",
            ["role"],
            registry=registry,
        ).labels(role)
        self._standing_still = Gauge(
            "kantor_role_standing_still_seconds",
            "How long a loop has been stuck, or a position has not moved although there are records to read; 0: everything moves",
            ["role"],
            registry=registry,
        ).labels(role)
        self._restarts = Counter(
            "kantor_role_restarts",
            "Times that the role recreated its Kafka clients after a failure",
            ["role"],
            registry=registry,
        ).labels(role)
        self._reachable = Gauge(
            "kantor_kafka_reachable",
            "1: Kafka answered the last check; 0: it did not",
            registry=registry,
        )

    def ready_is(self, ready: Callable[[], bool]) -> None:
        """Asked at each scrape."""
        self._ready.set_function(lambda: float(ready()))

    def standing_still_is(self, seconds: Callable[[], float]) -> None:
        """Asked at each scrape."""
        self._standing_still.set_function(seconds)

    def restarted(self) -> None:
        self._restarts.inc()

    def reachable(self, is_reachable: bool) -> None:
        self._reachable.set(is_reachable)
