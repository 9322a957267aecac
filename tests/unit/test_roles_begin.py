"""What a role needs in order to begin."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.config import Settings
from kantor_orchestrator.process.wellness import PATIENCE, Wellness
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


def test_a_new_life_is_not_measured_by_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its positions begin anew. An intake that had begun anew was not ready until it had confirmed as many records as its last life, and was
    replaced for it."""
    stop, lives = Event(), Event()
    found: list[Wellness] = []
    again = iter([KafkaUnavailableError("it is away"), None])

    def live(stop: Event, _: Callable[[], None]) -> None:
        (wellness,) = found
        if (error := next(again)) is not None:
            wellness.position("records", 5, 9)
            wellness.missing({"a shard": (0.0, "is not taken")})
            raise error
        wellness.position("records", 0)
        lives.set()
        stop.wait()

    def made(_settings: object, _shards: object, _registry: object, wellness: Wellness) -> roles.Life:
        found.append(wellness)
        return live

    monkeypatch.setattr(roles, "_RETRY", 0.0)
    monkeypatch.setattr(roles, "agree", lambda *_: 1)
    monkeypatch.setitem(roles.ROLES, "intake", made)
    settings = Settings(KafkaSettings("127.0.0.1:1"), Path(), "")
    role = Thread(target=roles.run_role, args=("intake", settings, stop))
    role.start()
    try:
        assert lives.wait(60)
        (wellness,) = found
        wellness._clock = lambda: time.monotonic() + PATIENCE + 1
        assert [reason for reason in wellness.reasons() if "records" in reason] == []
        assert wellness.waits() == []
    finally:
        stop.set()
        role.join()
