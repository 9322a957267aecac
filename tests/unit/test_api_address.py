"""The role that serves pages and API: what it can't write, or what ends its server, is told."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from kantor.errors import KantorError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.api.server import run_api
from kantor_orchestrator.config import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home that can be no folder: a file is there."""
    monkeypatch.setenv("KANTOR_API_ADDRESS", "127.0.0.1:0")
    (tmp_path / "file").touch()
    return Settings(KafkaSettings("127.0.0.1:1"), tmp_path / "file", f"sqlite:///{tmp_path}/view.db")


def test_pages_are_served_where_nobody_can_write_their_address(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it, too."""
    stop, ready = Event(), list[bool]()

    def served() -> None:
        ready.append(True)
        stop.set()

    with caplog.at_level(logging.INFO):
        run_api(settings, stop, served, ApiMetrics(CollectorRegistry()))
    assert ready == [True]
    assert "address_untold" in {getattr(record, "action", "") for record in caplog.records}


def test_a_server_that_ends_by_itself_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its role begins again, after a pause, and is not ready meanwhile."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    with pytest.raises(KantorError, match="has ended by itself"):
        run_api(settings, Event(), lambda: None, ApiMetrics(CollectorRegistry()))
