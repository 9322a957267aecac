"""What the decision log takes for granted of the broker: that a record which was acknowledged stays
(docs/design/log.md#a1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kantor_orchestrator import topics

#: The platform's truth.
_KEPT = (topics.HISTORY, topics.JOURNAL, topics.STATE)


class Asked(Protocol):
    """What is asked: see ``kantor.kafka.Admin``."""

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]: ...
    def replicas(self, timeout: float = 10.0) -> dict[str, int]: ...


def weaknesses(admin: Asked, timeout: float = 5.0) -> list[tuple[str, str]]:
    """What lets a broker's end take back what it has acknowledged, with the remedy each. One broker alone, without replicas,
    loses what it loses: that is a choice, and not told. Raises ``KafkaUnavailableError`` if the broker does not tell."""
    replicas = admin.replicas(timeout)
    return [
        found
        for topic in _KEPT
        if replicas.get(topic, 0) > 1
        for found in _of(topic, replicas[topic], admin.config(topic, timeout))
    ]


def _of(topic: str, replicas: int, config: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    if int(config.get("min.insync.replicas", "1")) < 2:
        what = f"{topic} has {replicas} replicas, and one alone may acknowledge: its end loses decisions that were acted on"
        found.append((what, f"set min.insync.replicas=2 on {topic}"))
    if config.get("unclean.leader.election.enable", "false") == "true":
        what = f"{topic} lets a replica lead that lacks records: decisions that were acted on can be lost"
        found.append((what, f"set unclean.leader.election.enable=false on {topic}"))
    return found
