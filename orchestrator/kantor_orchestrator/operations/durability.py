"""What the decision log takes for granted of the broker: that a record which was acknowledged stays
(docs/design/log.md#a1), for as long as it is wanted, and that what must be written is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from kantor.clients import Partition
from kantor_orchestrator.core.progress import STUB_TTL
from kantor_orchestrator.formats import topics

#: The platform's truth.
_KEPT = (topics.HISTORY, topics.JOURNAL, topics.STATE)
#: For how long the history must be kept (ms): the retained records of transactions that have ended point into it.
_STUBS = max(STUB_TTL.values())
#: For how long the journal must be kept (ms): an engine may be down for a night, and a start event may be a day late.
_DAY = 86_400_000
_DOWN = _DAY


class Asked(Protocol):
    """What is asked: see ``kantor.kafka.Admin``."""

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]: ...
    def replicas(self, timeout: float = 10.0) -> dict[str, int]: ...


class Closed(NamedTuple):
    """A partition into which Kafka takes nothing (NOT_ENOUGH_REPLICAS): ``needed`` replicas must be in sync. If these are more than there are,
    newer brokers want all there are."""

    place: Partition
    in_sync: int
    replicas: int
    needed: int


class AskedNow(Protocol):
    """What is asked: see ``kantor.kafka.Admin``."""

    def in_sync(self, timeout: float = 10.0) -> dict[Partition, tuple[int, int]]: ...
    def configs(
        self, topics: Sequence[str], timeout: float = 10.0
    ) -> tuple[dict[str, dict[str, str]], dict[str, str]]: ...


def closed(admin: AskedNow, timeout: float = 5.0) -> list[Closed]:
    """The partitions, of all that the platform reads or writes, that have a leader and too few replicas in sync: who writes there with
    ``acks=all`` waits, and librdkafka says nothing of it. What a topic does not tell of its settings is not told as a fault. Raises
    ``KafkaUnavailableError``."""
    found = {
        place: counts
        for place, counts in admin.in_sync(timeout).items()
        if place[0].startswith(("evt.", "cmd.", "sys.kantor.", "__consumer_offsets", "__transaction_state"))
    }
    configs, _ = admin.configs(sorted({topic for topic, _ in found}), timeout)
    short = []
    for place, (in_sync, replicas) in sorted(found.items()):
        needed = int(configs.get(place[0], {}).get("min.insync.replicas", "1"))
        if in_sync < needed:
            short.append(Closed(place, in_sync, replicas, needed))
    return short


def weaknesses(admin: Asked, timeout: float = 5.0) -> list[tuple[str, str]]:
    """What lets a broker's end take back what it has acknowledged, with the remedy each; and what lets it forget too soon, take
    away what is wanted, or refuse what must be written: topics that somebody made by hand keep their settings. One broker alone,
    without replicas, loses what it loses: that is a choice, and not told. Raises ``KafkaUnavailableError`` if the broker does
    not tell."""
    replicas = admin.replicas(timeout)
    found = []
    specs = topics.specs(1, topics.SMALLEST_JOURNAL)
    for spec in sorted(specs, key=lambda one: one.name != topics.HISTORY):  # the decision log above all
        topic = spec.name
        if topic not in replicas or not spec.config:
            continue
        config = admin.config(topic, timeout)
        if topic in _KEPT and replicas[topic] > 1:
            found += _of(topic, replicas[topic], config)
        found += _differs(topic, spec.config, config)
        if topic == topics.HISTORY:
            found += _forgets(config)
        if topic == topics.JOURNAL and 0 <= int(config.get("retention.ms", "-1")) < _DOWN:
            what = f"{topic} is kept too briefly (retention.ms is {config['retention.ms']}, less than a day)"
            found.append(
                (
                    f"{what}: events are lost if no engine runs for so long",
                    f"set retention.ms={30 * _DAY} on {topic}",
                )
            )
    return found


def _differs(topic: str, wanted: Mapping[str, str], config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Settings without which the platform does not work, whoever made the topic."""
    policy, asked = config.get("cleanup.policy"), wanted["cleanup.policy"]
    if policy is not None and policy != asked:
        harm = (
            "Kafka deletes its old records, even those still in use"
            if asked == "compact"
            else "Kafka keeps only the last record of each transaction"
        )
        yield f"{topic} has cleanup.policy={policy}: {harm}", f"set cleanup.policy={asked} on {topic}"
    stamp, asked = config.get("message.timestamp.type"), wanted.get("message.timestamp.type", "")
    if stamp is not None and asked and stamp != asked:
        yield (
            f"{topic} has message.timestamp.type={stamp}: timers follow the clocks of the machines that write, not the broker's",
            f"set message.timestamp.type={asked} on {topic}",
        )
    largest, asked = config.get("max.message.bytes"), wanted.get("max.message.bytes", "")
    if largest is not None and asked and int(largest) < int(asked):
        yield (
            f"{topic} takes records of {int(largest):,} bytes at most: a larger one stops the role that must write it",
            f"set max.message.bytes={asked} on {topic}, or more",
        )


def _forgets(history: Mapping[str, str]) -> list[tuple[str, str]]:
    what = f"{topics.HISTORY} is kept too briefly (%s): late messages for ended transactions would become incidents"
    found = []
    if 0 <= int(history.get("retention.ms", "-1")) < _STUBS:
        days = f"retention.ms is {history['retention.ms']}, less than {_STUBS // 86_400_000} days"
        found.append((what % days, f"set retention.ms={_STUBS} on {topics.HISTORY}, or more"))
    if int(history.get("retention.bytes", "-1")) >= 0:
        size = f"retention.bytes is {history['retention.bytes']}, which may be reached sooner than that"
        found.append((what % size, f"set retention.bytes=-1 on {topics.HISTORY}"))
    return found


def _of(topic: str, replicas: int, config: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    if int(config.get("min.insync.replicas", "1")) < 2:
        what = f"{topic} has {replicas} replicas, but one alone may acknowledge: if it fails, decisions that were acted on are lost"
        found.append((what, f"set min.insync.replicas=2 on {topic}"))
    if config.get("unclean.leader.election.enable", "false") == "true":
        what = f"{topic} lets a replica that lacks records become leader: decisions that were acted on can be lost"
        found.append((what, f"set unclean.leader.election.enable=false on {topic}"))
    return found
