"""Where an order's milliseconds go: what passed between one record of it and the next, while the platform has little to do.

    PYTHONPATH=tests python -m bench.hops [seconds]

Nobody watches meanwhile: when each record was written says the record itself (events, commands and announcements when their
producer had them, journal and history when the broker had them), to a millisecond; means are finer than that.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from bench.latency import RATE
from bench.services import GOOD
from bench.stack import Moments, ground, platform
from bench.stats import percentile
from kantor.clients import BEGINNING
from kantor.codec import Codec
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.formats import topics

#: The records of an order in which every step succeeds, as topic and type say it, in the order in which they follow each other.
WAY = (
    ("evt", "shop.OrderPlaced"),
    ("evt", "inventory.StockReserved"),
    ("evt", "payment.PaymentCaptured"),
    ("journal", "payment.PaymentCaptured"),
    ("history", "payment.PaymentCaptured"),
    ("cmd", "shipping.BookShipment"),
    ("evt", "shipping.ShipmentBooked"),
    ("journal", "shipping.ShipmentBooked"),
    ("history", "shipping.ShipmentBooked"),
    ("evt", "kantor.TransactionEnded"),
)
#: Seconds without a record after which all has been read.
_QUIET = 3.0

Place = tuple[str, str]


def trace(settings: KafkaSettings, moments: Mapping[str, Moments]) -> dict[str, list[float]]:
    """Milliseconds by hop (``cmd shipping.BookShipment`` is what passed until it was written, from the record before it in ``WAY``);
    ``seen`` is from the announcement's writing until our own consumer had it."""
    wall = (time.time_ns() - time.monotonic_ns()) / 1e6
    found: dict[str, dict[Place, float]] = {id_: {} for id_ in moments}
    for id_, place, at in _written(settings):
        if id_ in found:
            found[id_].setdefault(place, at)
    hops: dict[str, list[float]] = {}
    for id_, moment in moments.items():
        before = moment.placed / 1e6 + wall
        for place in WAY:
            at = found[id_][place]
            hops.setdefault(" ".join(place), []).append(at - before)
            before = at
        hops.setdefault("seen", []).append(moment.announced / 1e6 + wall - before)
        hops.setdefault("all", []).append((moment.announced - moment.placed) / 1e6)
    return hops


def _written(settings: KafkaSettings) -> Iterator[tuple[str, Place, float]]:
    """Every message and every decision: its transaction, what it is, when it was written (ms)."""
    codec = Codec(schema_store(settings))
    counts = settings.admin("bench-hops").topics()
    wanted = [n for n in counts if n in (topics.JOURNAL, topics.HISTORY) or n.startswith(("evt.", "cmd."))]
    consumer = settings.consumer("bench-hops")
    consumer.assign({(name, number): BEGINNING for name in wanted for number in range(counts[name])})
    until = time.monotonic() + _QUIET
    while time.monotonic() < until:
        batch = consumer.poll(0.2, 10_000)
        if batch.records:
            until = time.monotonic() + _QUIET
        for record in batch.records:
            topic, key = record.topic(), (record.key() or b"").decode()
            if topic == topics.HISTORY:
                if key:
                    decided = codec.decode(record.value())
                    yield key, ("history", decided["message_type"]), float(record.timestamp()[1])
                continue
            type_ = dict(record.headers() or ()).get("ce_type") or b""
            kind = "journal" if topic == topics.JOURNAL else topic[:3]
            yield key, (kind, type_.decode()), float(record.timestamp()[1])
    consumer.close()


def table(hops: Mapping[str, Sequence[float]]) -> str:
    lines = [f"{'ms':36} {'mean':>7} {'p50':>7} {'p90':>7} {'p99':>7}"]
    for name, values in hops.items():
        numbers = [sum(values) / len(values), *(percentile(values, share) for share in (0.5, 0.9, 0.99))]
        lines.append(f"{name:36} " + " ".join(f"{number:7.2f}" for number in numbers))
    return "\n".join(lines)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with ground(print) as found, platform(found, 500) as running:
        moments = running.place(int(RATE * seconds), GOOD, RATE)
        print(table(trace(found.settings, moments)))


if __name__ == "__main__":
    main()
