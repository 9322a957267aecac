"""The service kit's metrics: the whole catalogue, and the only module of the kit that imports prometheus_client.

Labels never hold ids; ``type`` is a message type that the service declared.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: Seconds. A handler takes 20 us in memory, some ms with a store, seconds if it calls out.
_HANDLER_BUCKETS = (0.00005, 0.0002, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
#: Seconds. A Kafka transaction's commit takes 2 to 10 ms.
_COMMIT_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)


class Metrics:
    """One service's metrics, in a registry of their own. Thread-safe."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        #: outcome: answered, declined, failed, retryable, expired, fenced, confirmed, repeated, dead
        self.messages = Counter(
            "kantor_kit_messages",
            "Messages that the service handled.",
            ["type", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "kantor_kit_handler_seconds",
            "Time spent in a handler.",
            ["type"],
            buckets=_HANDLER_BUCKETS,
            registry=registry,
        )
        self.retries = Counter(
            "kantor_kit_retries", "Retries of an event's handler.", ["type"], registry=registry
        )
        self.dead_letters = Counter(
            "kantor_kit_dead_letters",
            "Records written to the dead letter topic.",
            ["topic"],
            registry=registry,
        )
        self.fenced = Counter(
            "kantor_kit_fenced",
            "Actions refused because their compensation came first.",
            ["type"],
            registry=registry,
        )
        self.expired = Counter(
            "kantor_kit_expired", "Commands that had expired.", ["type"], registry=registry
        )
        self.inbox_hits = Counter(
            "kantor_kit_inbox_hits",
            "Messages answered with the stored answer.",
            ["type"],
            registry=registry,
        )
        self.skipped = Counter(
            "kantor_kit_skipped", "Records skipped because no handler takes their type.", registry=registry
        )
        self.in_flight = Gauge(
            "kantor_kit_in_flight", "Records in the batch being processed.", registry=registry
        )
        self.commits = Histogram(
            "kantor_kit_commit_seconds",
            "Time from the last handler's end until the batch was committed.",
            buckets=_COMMIT_BUCKETS,
            registry=registry,
        )
        self.clock_ahead = Gauge(
            "kantor_kit_clock_ahead_seconds",
            "Age of the youngest record of a minute by this machine's clock: beyond moments, the clock is ahead.",
            registry=registry,
        )
        self.resets = Counter("kantor_kit_resets", "Batches aborted and read again.", registry=registry)

    def count(self, outcomes: Mapping[tuple[str, str], int]) -> None:
        """What became of a batch's records: how many by type and outcome ("skipped" has no type, "again" is another try). Once a
        batch, because a labelled counter costs as much as decoding a header."""
        special = {"again": self.retries, "repeated": self.inbox_hits}
        special |= {"fenced": self.fenced, "expired": self.expired}
        for (type_, outcome), count in outcomes.items():
            if outcome == "skipped":
                self.skipped.inc(count)
                continue
            if outcome in special:
                special[outcome].labels(type_).inc(count)
            if outcome != "again":
                self.messages.labels(type_, outcome).inc(count)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
