"""Topics, their settings, offsets and groups: what is asked of the cluster itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import confluent_kafka as ck
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, though its type hints don't export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from kantor.clients import Partition, TopicSpec
from kantor.errors import KafkaUnavailableError, StuckError
from kantor.kafka import edge
from kantor.kafka.consumer import Consumer
from kantor.watchdog import Guard

T = TypeVar("T")

#: Topics whose settings are asked for in one request: each answers with some 3 KB.
_CONFIGS = 500


class Admin:
    """Topics and offsets, without a group."""

    def __init__(self, client_id: str, config: dict[str, Any], reader: Callable[[str], Consumer]) -> None:
        """``config``: librdkafka's settings, see :meth:`KafkaSettings.admin`. ``reader``: makes a consumer of a group that
        does not join it."""
        self._name = f"the admin client {client_id}"
        self._config = config
        self._reader = reader
        self._readers: dict[str, Consumer] = {}
        self._client = self._made()

    def _made(self) -> tuple[AdminClient, Guard]:
        return edge.made(AdminClient, self._config), Guard(self._name)

    def _ask(self, what: str, timeout: float, ask: Callable[[AdminClient], T]) -> T:
        """What ``ask`` gets of the client, whose own limit is ``timeout``. One of which a question hangs is left behind with it:
        the next question goes to another, as whoever asks has this object for as long as it lives. Raises ``StuckError``."""
        asked = self._client
        client, guard = asked
        try:
            return guard(lambda: ask(client), 2 * (timeout + edge.GRACE), what)
        except StuckError:
            if self._client is asked:
                self._client = self._made()
                left = [asked]
                del asked, client, guard
                # Its end may hang as well.
                threading.Thread(target=left.clear, name="kantor-left", daemon=True).start()
            raise

    def create_topics(self, specs: Sequence[TopicSpec], timeout: float = 30.0) -> list[str]:
        """Create those that do not exist; the created names. Returns when all brokers' metadata shows them."""
        existing = self.topics()
        missing = [spec for spec in specs if spec.name not in existing]
        if not missing:
            return []
        new = [NewTopic(s.name, s.partitions, s.replication, config=dict(s.config)) for s in missing]
        created = []

        def create(client: AdminClient) -> None:
            asked = client.create_topics(new, operation_timeout=timeout, request_timeout=timeout)
            for name, future in asked.items():
                try:
                    edge.answer(future, timeout)
                    created.append(name)
                except ck.KafkaException as error:
                    if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:
                        edge.translate(error)

        self._ask("create_topics", timeout, create)
        deadline = time.monotonic() + timeout
        waiting = {spec.name for spec in missing}
        while waiting - set(self.topics()):
            if time.monotonic() > deadline:
                raise KafkaUnavailableError(f"topics {sorted(waiting)} were created but do not show up")
            time.sleep(0.02)
        return created

    def topics(self, timeout: float = 10.0) -> dict[str, int]:
        """Partition counts by topic."""
        return {name: len(topic.partitions) for name, topic in self._metadata(timeout).items()}

    def replicas(self, timeout: float = 10.0) -> dict[str, int]:
        """By topic, how many brokers have each of its records: of its partition that has the fewest."""
        return {
            name: min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
            for name, topic in self._metadata(timeout).items()
        }

    def leaderless(self, timeout: float = 10.0) -> set[Partition]:
        """Partitions that have no leader: nobody can read or write them now."""
        return {
            (name, number)
            for name, topic in self._metadata(timeout).items()
            for number, partition in topic.partitions.items()
            if partition.leader < 0
        }

    def in_sync(self, timeout: float = 10.0) -> dict[Partition, tuple[int, int]]:
        """Of each partition that has a leader: how many replicas are in sync now, and how many there are."""
        return {
            (name, number): (len(partition.isrs), len(partition.replicas))
            for name, topic in self._metadata(timeout).items()
            for number, partition in topic.partitions.items()
            if partition.leader >= 0
        }

    def closed(self, topics: Sequence[str], timeout: float = 10.0) -> dict[str, str]:
        """Those of these topics that have a partition for which Kafka accepts no record now, and why."""
        configs, _ = self.configs(topics, timeout)
        found: dict[str, str] = {}
        for name, topic in self._metadata(timeout).items():
            if name in topics:
                least = int(configs.get(name, {}).get("min.insync.replicas", "1"))
                for number, partition in sorted(topic.partitions.items()):
                    in_sync, replicas = len(partition.isrs), len(partition.replicas)
                    if partition.leader < 0:
                        found.setdefault(name, f"{name}/{number} has no leader")
                    elif in_sync < least:
                        why = (
                            f"{name}/{number} has {in_sync} of {replicas} replicas in sync, and needs {least}"
                        )
                        found.setdefault(name, why)
        return found

    def _metadata(self, timeout: float) -> dict[str, Any]:
        """What the cluster says of each topic."""
        try:
            found = self._ask(
                "list_topics", timeout, lambda client: client.list_topics(timeout=timeout)
            ).topics
        except ck.KafkaException as error:
            edge.translate(error)
        return {name: topic for name, topic in found.items() if topic.error is None}

    def topic_ids(self, names: Sequence[str], timeout: float = 10.0) -> dict[str, str]:
        """Topic ids (KIP-516): a topic that is deleted and recreated gets another one."""
        if not names:
            return {}

        def ask(client: AdminClient) -> dict[str, str]:
            found = client.describe_topics(ck.TopicCollection(list(names)), request_timeout=timeout)
            result = {}
            for name, future in found.items():
                try:
                    result[name] = str(edge.answer(future, timeout).topic_id)
                except ck.KafkaException as error:
                    if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                        edge.translate(error)
            return result

        return self._ask("describe_topics", timeout, ask)

    def ends(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        """The *read_uncommitted* end of each partition, asked of the brokers now: also what an open Kafka
        transaction has written counts. Partitions of deleted topics are left out."""
        return self._offsets(partitions, OffsetSpec.latest(), timeout)  # type: ignore[no-untyped-call]

    def starts(self, partitions: Sequence[Partition], timeout: float = 10.0) -> dict[Partition, int]:
        """The first offset that each partition still has. Partitions of deleted topics are left out."""
        return self._offsets(partitions, OffsetSpec.earliest(), timeout)  # type: ignore[no-untyped-call]

    def _offsets(
        self, partitions: Sequence[Partition], spec: OffsetSpec, timeout: float
    ) -> dict[Partition, int]:
        request = {ck.TopicPartition(t, p): spec for t, p in partitions}

        def ask(client: AdminClient) -> dict[Partition, int]:
            found = client.list_offsets(
                request, isolation_level=ck.IsolationLevel.READ_UNCOMMITTED, request_timeout=timeout
            )
            result = {}
            for partition, future in found.items():
                try:
                    result[partition.topic, partition.partition] = int(edge.answer(future, timeout).offset)
                except ck.KafkaException as error:
                    if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
            return result

        if not partitions:
            return {}
        return self._ask("list_offsets", timeout, lambda client: edge.led(lambda: ask(client), timeout))

    def configs(
        self, topics: Sequence[str], timeout: float = 10.0
    ) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        """Settings in force, by topic; and of those that don't tell (they are gone, or an ACL forbids it), why. Asked in few
        requests."""
        found: dict[str, dict[str, str]] = {}
        silent: dict[str, str] = {}
        for start in range(0, len(topics), _CONFIGS):
            wanted = [ConfigResource(ResourceType.TOPIC, name) for name in topics[start : start + _CONFIGS]]

            def ask(client: AdminClient, wanted: list[ConfigResource] = wanted) -> None:
                for resource, future in client.describe_configs(wanted, request_timeout=timeout).items():
                    try:
                        entries = edge.answer(future, timeout)
                    except ck.KafkaException as error:
                        silent[resource.name] = str(error.args[0])
                    else:
                        found[resource.name] = {n: e.value for n, e in entries.items() if e.value is not None}

            self._ask("describe_configs", timeout, ask)
        return found, silent

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]:
        """A topic's settings in force."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            entries = self._ask(
                "describe_configs",
                timeout,
                lambda client: edge.answer(
                    client.describe_configs([resource], request_timeout=timeout)[resource], timeout
                ),
            )
        except ck.KafkaException as error:
            edge.translate(error)
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    def set_config(self, topic: str, name: str, value: str, timeout: float = 10.0) -> None:
        """Change one setting of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        try:
            self._ask(
                "incremental_alter_configs",
                timeout,
                lambda client: edge.answer(
                    client.incremental_alter_configs([resource], request_timeout=timeout)[resource], timeout
                ),
            )
        except ck.KafkaException as error:
            edge.translate(error)

    def group_offsets(self, group: str, timeout: float = 10.0) -> dict[Partition, int]:
        """A group's committed positions.

        A consumer that never joins the group asks for them: where a coordinator is not there (yet), librdkafka's admin request
        for them reads a null pointer, and the process is gone (2.16, rd_kafka_handle_OffsetFetch).
        """
        places = [(topic, number) for topic, count in self.topics(timeout).items() for number in range(count)]
        reader = self._readers.get(group)
        if reader is None:
            reader = self._readers[group] = self._reader(group)
        try:
            return reader.committed(places, timeout)
        except StuckError:
            del self._readers[group]
            raise

    def group_members(self, group: str, timeout: float = 10.0) -> dict[str, list[Partition]]:
        """Partitions by member (its client id and host) of a group; empty if there is no such group."""
        try:
            members = self._ask(
                "describe_consumer_groups",
                timeout,
                lambda client: edge.answer(
                    client.describe_consumer_groups([group], request_timeout=timeout)[group], timeout
                ),
            ).members
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            edge.translate(error)
        return {
            f"{m.client_id}@{m.host}#{m.member_id[-6:]}": [
                (p.topic, p.partition) for p in m.assignment.topic_partitions
            ]
            for m in members
        }
