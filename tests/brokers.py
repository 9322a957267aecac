"""A Kafka of the tests' own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kantor_orchestrator.dev.broker import DevBroker


@contextmanager
def running_broker(folder: Path) -> Iterator[DevBroker]:
    """Started; nothing of it is left afterwards."""
    broker = DevBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.reset()


@contextmanager
def nobody_listens() -> Iterator[str]:
    """An address that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
