"""Whether a Kafka cluster answers."""

from __future__ import annotations

from kantor.errors import KantorError
from kantor.kafka import KafkaSettings

# "connection refused" is what we wait through: it is no news, and no reason to try less often
PATIENT = {"log_level": "0", "reconnect.backoff.max.ms": "100"}


def answers(settings: KafkaSettings, timeout_s: float) -> bool:
    """Whether the cluster answers a metadata request. Tries for ``timeout_s``, so that it can be asked in a loop."""
    admin = KafkaSettings(settings.bootstrap_servers, {**settings.extra, **PATIENT}).admin("kantor-dev")
    try:
        admin.topics(timeout_s)
    except KantorError:
        return False
    return True
