"""Topics and offsets of the broker in memory, without a group; contracts as in ``kantor.kafka``."""

from __future__ import annotations

from collections.abc import Sequence

from kantor.clients import Partition, TopicSpec
from kantor.errors import KafkaUnavailableError
from kantor.testing.broker import MemoryClients


class MemoryAdmin:
    """See ``kantor.kafka.Admin``."""

    def __init__(self, clients: MemoryClients) -> None:
        self._broker = clients.broker
        self._faults = clients.faults

    def create_topics(self, specs: Sequence[TopicSpec], timeout: float = 30.0) -> list[str]:
        self._faults.before("create topics")
        created = [spec.name for spec in specs if self._broker.create_topic(spec)]
        self._faults.after("create topics")
        return created

    def topics(self, timeout: float = 10.0) -> dict[str, int]:
        self._faults.before("topics")
        return self._broker.counts()

    def topic_ids(self, names: Sequence[str], timeout: float = 10.0) -> dict[str, str]:
        self._faults.before("topic ids")
        topics = self._broker.topics
        return {name: topics[name].id for name in names if name in topics}

    def ends(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        self._faults.before("ends")
        self._broker.tick()
        topics = self._broker.topics
        return {p: self._broker.log(p).end for p in partitions if p[0] in topics}

    def configs(
        self, topics: Sequence[str], timeout: float = 10.0
    ) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        there, hidden = self._broker.topics, self._broker.refused
        found = {name: dict(there[name].config) for name in topics if name in there and name not in hidden}
        return found, {name: "Broker: Topic authorization failed" for name in topics if name not in found}

    def starts(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        self._faults.before("ends")
        topics = self._broker.topics
        return {p: self._broker.log(p).start for p in partitions if p[0] in topics}

    def closed(self, topics: Sequence[str], timeout: float = 10.0) -> dict[str, str]:
        """None: there is one broker."""
        return {}

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]:
        if topic not in self._broker.topics:
            raise KafkaUnavailableError(f"UNKNOWN_TOPIC_OR_PART: {topic}")
        return dict(self._broker.topics[topic].config)

    def set_config(self, topic: str, name: str, value: str, timeout: float = 10.0) -> None:
        if topic not in self._broker.topics:
            raise KafkaUnavailableError(f"UNKNOWN_TOPIC_OR_PART: {topic}")
        self._broker.topics[topic].config[name] = value

    def group_offsets(self, group: str, timeout: float = 10.0) -> dict[Partition, int]:
        return dict(self._broker.group(group).offsets)
