"""Taking over the port of a process that is about to end."""

from __future__ import annotations

import threading

import pytest

from kantor.errors import ConfigError
from kantor.health import HealthServer
from kantor.metrics import Metrics
from kantor_orchestrator.process.handover import when_free


def served(port: int = 0) -> HealthServer:
    return HealthServer(Metrics(), lambda: True, port, "127.0.0.1")


def test_a_port_in_use_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The role before us is still ending: it is taken as soon as that has ended, and the log says what is waited for."""
    before, stop = served(), threading.Event()
    attempts = list[int]()

    def take() -> HealthServer:
        attempts.append(1)
        if len(attempts) == 3:
            before.close()
        return served(before.port)

    when_free(take, stop).close()
    assert len(attempts) == 3
    waits = [one.message for one in caplog.records if vars(one).get("action") == "port_waits"]
    assert len(waits) == 1
    assert f"KANTOR_HTTP_PORT={before.port}" in waits[0]


def test_a_port_that_stays_in_use_is_an_error() -> None:
    """It names the port and the remedy, as at once."""
    before = served()
    try:
        with pytest.raises(ConfigError, match=f"KANTOR_HTTP_PORT={before.port}, .*name another port"):
            when_free(lambda: served(before.port), threading.Event(), patience=0.4)
    finally:
        before.close()


def test_what_does_not_pass_is_not_waited_for() -> None:
    """An address that is not this machine's."""
    attempts = list[int]()

    def take() -> HealthServer:
        attempts.append(1)
        return HealthServer(Metrics(), lambda: True, 0, "203.0.113.1")

    with pytest.raises(ConfigError, match=r"203\.0\.113\.1"):
        when_free(take, threading.Event())
    assert len(attempts) == 1
