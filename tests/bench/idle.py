"""What the whole platform writes while nothing happens: many source partitions, many shards, no message.

Bytes are those that the broker has appended to its log files, by topic, Kafka's own for groups and Kafka transactions
included; what KRaft notes for itself twice a second is not the platform's.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench import processes
from bench.ends import BenchError
from bench.stack import Ground
from kantor.clients import TopicSpec
from kantor_orchestrator.formats import topics

_FOR_EACH_TOPIC = 100
_OF_THE_BROKER = "__cluster_metadata"
#: The platform is at rest when it has used less than this (cores, and seconds in a row).
_IDLE, _QUIET = 0.5, 5
_PATIENCE = 300.0


def measure(ground: Ground, partitions: int, seconds: float) -> dict[str, Any]:
    """``partitions``: of source topics, in all."""
    ground.say(f"an idle platform, {partitions} source partitions")
    sizes = [_FOR_EACH_TOPIC] * (partitions // _FOR_EACH_TOPIC) + [partitions % _FOR_EACH_TOPIC]
    ground.admin.create_topics(
        [TopicSpec(f"evt.idle.n{number}.v1", size) for number, size in enumerate(sizes) if size],
        timeout=120.0,
    )
    process = ground.run()
    try:
        _await_rest(process.pid)
        began, written, before = time.monotonic(), Counter[str](), _sizes(ground.kafka_data)
        while time.monotonic() - began < seconds:
            time.sleep(min(5.0, seconds))
            after = _sizes(ground.kafka_data)
            # A file that shrank was compacted, or recreated.
            written.update(
                {path.parent.name: max(0, size - before.get(path, 0)) for path, size in after.items()}
            )
            before = after
        hours = (time.monotonic() - began) / 3600
        if process.poll() is not None:
            raise BenchError(f"the platform ended with {process.returncode}")
    finally:
        processes.stop([process])
    by_topic = Counter[str]()
    for folder, size in written.items():
        by_topic[folder.rpartition("-")[0]] += size
    return {
        "idle_mb_per_h": round(by_topic.total() / 1e6 / hours, 3),
        "idle": {
            "source_partitions": partitions,
            "shards": ground.admin.topics()[topics.JOURNAL],
            "seconds": round(hours * 3600),
            "kb_per_h_by_topic": {
                name: round(size / 1e3 / hours, 1) for name, size in by_topic.most_common(6) if size
            },
        },
    }


def _sizes(data: Path) -> dict[Path, int]:
    """Bytes by log file."""
    found: dict[Path, int] = {}
    for path in data.glob("*-*/*.log"):
        if not path.parent.name.startswith(_OF_THE_BROKER):
            try:
                found[path] = path.stat().st_size
            except FileNotFoundError:  # it has just been deleted
                continue
    return found


def _await_rest(pid: int) -> None:
    """Until the platform has its partitions and is quiet."""
    accounts = processes.Accounts({"supervisor": pid})
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    before = accounts.sample()
    while time.monotonic() < deadline:
        time.sleep(1.0)
        after = accounts.sample()
        busy = sum(after.values()) - sum(before.values()) > _IDLE
        quiet = quiet + 1 if len(after) > 1 and after.keys() == before.keys() and not busy else 0
        if quiet >= _QUIET:
            return
        before = after
    raise BenchError(f"the platform was not at rest within {_PATIENCE:.0f} s")
