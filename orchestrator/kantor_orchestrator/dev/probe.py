"""Whether a Kafka cluster answers."""

from __future__ import annotations

import logging


def answers(address: str, timeout_s: float) -> bool:
    """Whether a broker of the cluster at ``address`` answers a metadata request within ``timeout_s`` and is in service.

    Waits for it: the client connects again every 100 ms.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    silent = logging.getLogger("kantor.dev.probe")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False  # "connection refused" is what we wait through, not news
    client = AdminClient(
        {
            "bootstrap.servers": address,
            "reconnect.backoff.max.ms": 100,
            "socket.connection.setup.timeout.ms": max(1000, int(timeout_s * 1000)),
        },
        logger=silent,
    )
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False
