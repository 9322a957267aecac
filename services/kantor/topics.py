"""Topics that a service needs are made if they are missing (kit-24)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from kantor.clients import Admin, TopicSpec
from kantor.errors import ConfigError
from kantor.numbers import whole_number

ENV_PARTITIONS = "KANTOR_TOPIC_PARTITIONS"
MOST_PARTITIONS = 10_000
#: Bytes: a dead letter may be as large as the largest record that some topic takes.
MAX_RECORD = 10_485_760
#: Bytes of an answer's payload (wire-11): with its headers it must stay below what brokers and clients take unless told otherwise
#: (1,048,588 and 1,000,000).
MAX_ANSWER = 980_000
#: Bytes of a record that its key and its headers may take: each of those that an answer hands on is bounded.
_ENVELOPE = 4_096


def dead_letters(group: str) -> str:
    """The dead letter topic of a group."""
    return f"dlq.{group}"


def partitions() -> int:
    """How many partitions a new topic gets. Raises ``ConfigError``."""
    text = os.environ.get(ENV_PARTITIONS, "4")
    number = whole_number(text, MOST_PARTITIONS)
    if not number:
        raise ConfigError(
            f"{ENV_PARTITIONS}={text!r:.100} is not a number of partitions; give it a whole number from 1 to {MOST_PARTITIONS}"
        )
    return number


def ensure(admin: Admin, names: Iterable[str]) -> None:
    """Create those that are missing. Raises ``KafkaUnavailableError``."""
    count = partitions()
    large = {"max.message.bytes": str(MAX_RECORD)}
    admin.create_topics(
        [TopicSpec(name, count, large if name.startswith("dlq.") else {}) for name in sorted(set(names))]
    )


def limits(admin: Admin, names: Sequence[str]) -> dict[str, int]:
    """Bytes that a payload may have, for each of these topics that takes less than ``MAX_ANSWER``. One that does not tell takes
    that."""
    found, _ = admin.configs(names)
    takes = {
        name: int(settings["max.message.bytes"])
        for name, settings in found.items()
        if "max.message.bytes" in settings
    }
    return {name: size - _ENVELOPE for name, size in takes.items() if size - _ENVELOPE < MAX_ANSWER}
