"""Topics that a service needs are made if they are missing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kantor.errors import ConfigError
from kantor.kafka import Admin, TopicSpec

ENV_PARTITIONS = "KANTOR_TOPIC_PARTITIONS"


def partitions() -> int:
    """How many partitions a new topic gets. Raises ``ConfigError``."""
    text = os.environ.get(ENV_PARTITIONS, "4")
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"{ENV_PARTITIONS}={text!r} is no number of partitions")
    return int(text)


def ensure(admin: Admin, names: Iterable[str]) -> None:
    """Create those that are missing. Raises ``KafkaUnavailableError``."""
    count = partitions()
    admin.create_topics([TopicSpec(name, count) for name in sorted(set(names))])
