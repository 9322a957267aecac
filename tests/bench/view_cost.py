"""What one saga costs the view, CPU microseconds: projection and SQL, without Kafka (reading costs 3.8 us a record).

    python tests/bench/view_cost.py [sagas] [at a time] [--profile]

Half complete, half compensate; their records are interleaved as if 400 (``at a time``) were under way at once, in batches as
the role takes them at most. With all at a time it is a burst, as in case A: every batch has one or two records of each.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # view_traffic is there

import cProfile  # noqa: E402
import gc  # noqa: E402
import pstats  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402

from kantor.envelope import derived_id  # noqa: E402
from kantor_orchestrator.formats import topics  # noqa: E402
from kantor_orchestrator.view.database import ViewWriter  # noqa: E402
from kantor_orchestrator.view.projector import Projector  # noqa: E402
from kantor_orchestrator.view.role import BATCH  # noqa: E402
from view_records import Written  # noqa: E402
from view_saga import CHECKOUT  # noqa: E402
from view_traffic import SHARDS, KnownSagas, Traffic, in_order  # noqa: E402

AT_A_TIME = 400


def interleaved(traffic: Traffic, sagas: int, at_a_time: int) -> list[Written]:
    """Every transaction's records in their order, those of ``at_a_time`` transactions one after the other."""
    for shard in range(SHARDS):
        traffic.take(shard)
    taken = list(traffic.records)
    by_transaction = []
    for number in range(sagas):
        start = len(traffic.records)
        (traffic.completed if number % 2 else traffic.compensated)(derived_id("bench", number), number)
        by_transaction.append(traffic.records[start:])
    records: list[Written] = []
    for first in range(0, sagas, at_a_time):
        group = by_transaction[first : first + at_a_time]
        for place in range(max(map(len, group))):
            records += [of_one[place] for of_one in group if place < len(of_one)]
    return in_order(traffic, [*taken, *records])


def batches(records: list[Written]) -> Iterator[list[Written]]:
    for start in range(0, len(records), BATCH):
        # As a consumer hands them over: partition by partition.
        yield sorted(records[start : start + BATCH], key=lambda record: (record.topic(), record.partition()))


def project(traffic: Traffic, records: list[Written]) -> tuple[float, float, int, int]:
    """CPU seconds of folding and of SQL, rows of the timeline, bytes on disk: into a new database."""
    folding = storing = 0.0
    with tempfile.TemporaryDirectory() as folder:
        database = ViewWriter(Path(folder) / "view.db")
        projector = Projector(traffic.codec, traffic.schemas, KnownSagas(CHECKOUT), database.find, 1, {})
        for batch in batches(records):
            start = time.process_time()
            changes = projector.project(batch)
            middle = time.process_time()
            database.store(changes, {})
            folding += middle - start
            storing += time.process_time() - middle
        ((parts,),) = database.database.rows("SELECT count(*) FROM timeline")
        database.close()
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return folding, storing, parts, size


def reading_cost(traffic: Traffic, records: list[Written]) -> float:
    """CPU seconds for a whole decision: what this machine gives at the moment."""
    history = next(r.value() for r in records if r.topic() == topics.HISTORY and r.key() is not None)
    start = time.process_time()
    for _ in range(10_000):
        traffic.codec.decode(history)
    return (time.process_time() - start) / 10_000


def main() -> None:
    gc.disable()  # as in the role, while it projects a batch
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    sagas, at_a_time = [*numbers, *(4_000, AT_A_TIME)[len(numbers) :]]
    traffic = Traffic()
    records = interleaved(traffic, sagas, at_a_time)
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(project, traffic, records)
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
        return
    reference = min(reading_cost(traffic, records) for _ in range(5))
    runs = [project(traffic, records) for _ in range(7)]
    folding, storing, parts, size = min(runs, key=lambda run: run[0] + run[1])
    each = 1e6 / sagas
    print(
        f"{sagas} sagas, {len(records) / sagas:.1f} records each in {parts / sagas:.1f} parts: {(folding + storing) * each:.0f} us a saga (folding"
        f" {folding * each:.0f}, SQL {storing * each:.0f}), {size / sagas:.0f} bytes on disk; the best of 7 runs, while"
        f" reading all fields takes {reference * 1e6:.1f} us a decision"
    )


if __name__ == "__main__":
    main()
