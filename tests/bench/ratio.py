"""The engine's speed beside that of the bare loop (``bare_loop``): what the work on transactions costs on top of Kafka.

Both run alone, one after the other, each pinned to one core (its threads, too) with the broker on another, and read the
same prefilled entries. *Messages per second* are the entries that each has read and committed the results of, by the
offsets that it commits in its Kafka transactions. The engine writes more than one message for an entry
(``written_per_entry``), the bare loop one; that is the engine's burden, and not counted in its favour.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

from bench import processes, recorded
from bench.bare_loop import GROUP
from bench.ends import BenchError, Ends
from bench.stack import Ground
from bench.stats import slope
from kantor.clients import TopicSpec
from kantor.kafka import Admin
from kantor_orchestrator.config import ENGINE_GROUP, LOCAL_SHARDS
from kantor_orchestrator.formats import topics

_SOURCE, _TARGET = "bench.bare.source", "bench.bare.target"
#: Seconds between looks at the committed offsets.
_LOOK = 0.05


def measure(ground: Ground, sagas: int) -> dict[str, Any]:
    broker_core, core = (processes.cores() * 2)[:2]
    processes.pin(ground.broker_pid, broker_core)
    ground.admin.create_topics(
        [
            TopicSpec(_SOURCE, LOCAL_SHARDS, {"message.timestamp.type": "LogAppendTime"}),
            TopicSpec(_TARGET, LOCAL_SHARDS),
        ]
    )
    ends = Ends(ground.settings)
    try:
        ground.say(f"recording {sagas} sagas")
        entries = recorded.fill(ground.settings, [topics.JOURNAL, _SOURCE], LOCAL_SHARDS, sagas)
        ground.say("the bare loop")
        arguments = ["-m", "bench.bare_loop", _SOURCE, _TARGET, str(LOCAL_SHARDS)]
        bare, _ = _rate(ground, ground.start("bare-loop", arguments, core=core), GROUP, entries)
        ground.say("the engine")
        engine, cpu = _rate(ground, ground.run("engine", core=core), ENGINE_GROUP, entries)
        ends.wait(sagas, 30.0)
        ends.check([f"recorded-{number}" for number in range(sagas)], "completed")
    finally:
        ends.close()
    written = sum(ground.admin.ends(_partitions(ground.admin)).values())
    return {
        "engine_loop_ratio": round(engine / bare, 3),
        "engine_loop": {
            "engine_per_s": round(engine),
            "bare_per_s": round(bare),
            "engine_cpu_us_per_entry": round(cpu / entries * 1e6, 1),
            "written_per_entry": round(written / entries, 2),
            "entries": entries,
            "pinned": processes.can_pin(),
        },
    }


def _partitions(admin: Admin) -> list[tuple[str, int]]:
    """Where the engine writes."""
    return [
        (name, number)
        for name, count in admin.topics().items()
        for number in range(count)
        if name in (topics.HISTORY, topics.STATE, topics.ENDED) or name.startswith("cmd.")
    ]


def _rate(
    ground: Ground, process: subprocess.Popen[bytes], group: str, entries: int, timeout: float = 600.0
) -> tuple[float, float]:
    """Entries per second, and the CPU seconds that the process has used by then."""
    accounts = processes.Accounts({"it": process.pid})
    samples: list[tuple[float, float]] = []
    deadline = time.monotonic() + timeout
    try:
        while not samples or samples[-1][1] < entries:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{group} committed {samples[-1:]} of {entries} entries")
            done = float(sum(ground.admin.group_offsets(group).values()))
            samples.append((time.monotonic(), done))
            time.sleep(_LOOK)
        used = sum(accounts.sample().values())
    finally:
        processes.stop([process])
    try:
        return slope(samples), used
    except ValueError as error:
        raise BenchError(f"{group}: {error}") from error
