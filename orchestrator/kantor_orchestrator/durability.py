"""What the decision log takes for granted of the broker: that a record which was acknowledged stays
(docs/design/log.md#a1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kantor_orchestrator import topics
from kantor_orchestrator.core.progress import STUB_TTL

#: The platform's truth.
_KEPT = (topics.HISTORY, topics.JOURNAL, topics.STATE)
#: For how long the history must be kept (ms): the stubs of transactions that have ended point into it.
_STUBS = max(STUB_TTL.values())


class Asked(Protocol):
    """What is asked: see ``kantor.kafka.Admin``."""

    def config(self, topic: str, timeout: float = 10.0) -> dict[str, str]: ...
    def replicas(self, timeout: float = 10.0) -> dict[str, int]: ...


def weaknesses(admin: Asked, timeout: float = 5.0) -> list[tuple[str, str]]:
    """What lets a broker's end take back what it has acknowledged, with the remedy each; and what lets it forget decisions too
    soon. One broker alone, without replicas, loses what it loses: that is a choice, and not told. Raises ``KafkaUnavailableError`` if the broker does not tell."""
    replicas = admin.replicas(timeout)
    found = []
    for topic in _KEPT:
        if topic not in replicas or (replicas[topic] < 2 and topic != topics.HISTORY):
            continue
        config = admin.config(topic, timeout)
        if replicas[topic] > 1:
            found += _of(topic, replicas[topic], config)
        if topic == topics.HISTORY:
            found += _forgets(config)
    return found


def _forgets(history: Mapping[str, str]) -> list[tuple[str, str]]:
    what = f"{topics.HISTORY} is kept too briefly (%s): late messages for ended transactions would wait for a person"
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
