"""When nothing is under way any more: waiting for it, by what Kafka says of every group and shard."""

from __future__ import annotations

from collections.abc import Mapping

from integration.chaos_services import SERVICES
from integration.platform_kit import Orders, Platform
from kantor.clients import Partition
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.formats import topics
from waiting import until


def settle(platform: Platform, orders: Orders) -> None:
    """Until all orders have ended, or wait for a person, and nothing is under way any more: every group has read
    everything."""
    waiting_on = ""

    def settled() -> bool:
        nonlocal waiting_on
        platform.follower.catch_up()
        open_ = {id_: platform.follower.status(id_) for id_ in _open(platform, orders)}
        sources = _sources(platform)
        wanted = {f"chaos.{name}": _read_by(name, sources) for name in SERVICES}
        wanted[INTAKE_GROUP] = sources
        behind = {group: found for group, ends in wanted.items() if (found := platform.behind(group, ends))}
        if found := _unprocessed(platform):
            behind["the engine"] = found
        waiting_on = f"{len(open_)} of {len(orders)} orders {list(open_.items())[:5]}, groups {behind}"
        if open_ or behind:
            return False
        platform.follower.catch_up()
        waiting_on = f"a pause: {sources} is {_sources(platform)} meanwhile"
        return not _open(platform, orders) and _sources(platform) == sources

    until(settled, "everything has settled", lambda: f"waiting for {waiting_on}\n{platform.tails()}")


def _open(platform: Platform, orders: Orders) -> list[str]:
    follower = platform.follower
    return [id_ for id_ in orders if not platform.ended([id_]) and not follower.waits_for_a_person(id_)]


def _sources(platform: Platform) -> dict[Partition, int]:
    """After the last record of each of our topics."""
    counts = platform.admin.topics()
    return platform.admin.ends([(name, p) for name in platform.sources for p in range(counts[name])])


def _unprocessed(platform: Platform) -> dict[Partition, tuple[int, int]]:
    """Where a shard's record is before its last entry that can change something. (The group's offsets are for lag
    tools, and follow when there is time.)"""
    entries = [record for record in platform.read(topics.JOURNAL, platform.began) if record.key() is not None]
    ends = {(topics.JOURNAL, record.partition()): record.offset() + 1 for record in entries}
    positions: dict[Partition, int] = {}
    for record in platform.read(topics.STATE):
        if record.key() == topics.SHARD_KEY:
            positions[topics.JOURNAL, record.partition()] = platform.codec.decode(record.value())["position"]
    return {p: (positions.get(p, 0), end) for p, end in ends.items() if positions.get(p, 0) < end}


def _read_by(service: str, sources: Mapping[Partition, int]) -> dict[Partition, int]:
    read = {handler.topic for handler in SERVICES[service].handlers}
    return {partition: end for partition, end in sources.items() if partition[0] in read}
