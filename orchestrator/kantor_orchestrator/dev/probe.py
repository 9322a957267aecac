"""Whether a Kafka cluster answers, and which loopback ports are free."""

from __future__ import annotations

import errno
import logging
import random
import socket

# Below the ports that Linux (32768) and macOS (49152) hand out by themselves: a client that keeps trying to reach a
# stopped broker on such a port can end up connected to itself, and then the broker can't have it back.
PORTS = range(20_000, 32_000)


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


def is_free(port: int) -> bool:
    """Whether a server may listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Java does: old connections don't count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free_port(*unwanted: int) -> int:
    """A free loopback port outside ``unwanted``. Somebody may take it before it is used: be ready to ask again."""
    while True:
        port = random.choice(PORTS)
        if port not in unwanted and is_free(port):
            return port
