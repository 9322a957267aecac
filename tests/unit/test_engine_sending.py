"""What a shard sends: written by one thread, looked at by another (shard-26)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kantor.clients import Clients
from kantor_orchestrator.engine.sending import Sender
from kantor_orchestrator.formats.snapshots import Outgoing

MESSAGE = Outgoing("cmd.a.v1", b"t", [], b"")


@pytest.fixture
def _eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _at_once(*_: Any, on_delivery: Any) -> None:
    on_delivery(None, None)


@pytest.mark.usefixtures("_eager_threads")
def test_whether_all_has_left_can_be_asked_while_messages_are_sent() -> None:
    """The engine's thread asks, the shard's writer sends: the answer is yes or no, never an exception that costs the shard."""
    clients = SimpleNamespace(producer=lambda *_, **__: SimpleNamespace(produce=_at_once))
    sender = Sender(cast("Clients", clients), 0, lambda *_: None)
    over = Event()

    def write() -> None:
        while not over.is_set():
            sender.send("t", [MESSAGE])

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in range(300_000):
            sender.has_left(0)
    finally:
        over.set()
        writer.join()
    assert sender.has_left(sender.sent)
