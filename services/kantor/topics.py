"""Topics that a service needs are made if they are missing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kantor.clients import Admin, TopicSpec
from kantor.errors import ConfigError

ENV_PARTITIONS = "KANTOR_TOPIC_PARTITIONS"
#: Bytes: a dead letter may be as large as the largest record that some topic takes.
MAX_RECORD = 10_485_760
#: Bytes of an answer's payload: with its headers it must stay below what brokers and clients take unless told otherwise
#: (1,048,588 and 1,000,000).
MAX_ANSWER = 980_000


def dead_letters(group: str) -> str:
    """Where a group sets records aside."""
    return f"dlq.{group}"


def partitions() -> int:
    """How many partitions a new topic gets. Raises ``ConfigError``."""
    text = os.environ.get(ENV_PARTITIONS, "4")
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"{ENV_PARTITIONS}={text!r} is not a number of partitions")
    return int(text)


def ensure(admin: Admin, names: Iterable[str]) -> None:
    """Create those that are missing. Raises ``KafkaUnavailableError``."""
    count = partitions()
    large = {"max.message.bytes": str(MAX_RECORD)}
    admin.create_topics(
        [TopicSpec(name, count, large if name.startswith("dlq.") else {}) for name in sorted(set(names))]
    )
