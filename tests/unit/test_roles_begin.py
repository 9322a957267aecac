"""What a role needs in order to begin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.config import Settings
from kantor_orchestrator.running import roles


@pytest.mark.parametrize(("name", "begins"), [("api", True), ("engine", False)])
def test_the_pages_begin_while_kafka_is_away(
    name: str, begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show what is in the view, and say that Kafka does not answer; the other roles wait until the shards are known."""
    stop, lives, asked = Event(), Event(), Event()

    def live(stop: Event, ready: Callable[[], None]) -> None:
        ready()
        lives.set()
        stop.wait()

    def agree(*_: object) -> int:
        asked.set()
        raise KafkaUnavailableError("it does not answer")

    monkeypatch.setattr(roles, "agree", agree)
    monkeypatch.setitem(roles.ROLES, name, lambda *_: live)
    settings = Settings(KafkaSettings("127.0.0.1:1"), Path(), "")
    role = Thread(target=roles.run_role, args=(name, settings, stop))
    role.start()
    try:
        assert (lives if begins else asked).wait(60)
        assert (lives.is_set(), asked.is_set()) == (begins, not begins)
    finally:
        stop.set()
        role.join()
