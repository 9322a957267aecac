"""Where the API listens, and what it says of it."""

from __future__ import annotations

import socket
import threading
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kantor.errors import ConfigError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.api import server
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.api.server import run_api
from kantor_orchestrator.config import ADDRESS_FILE, Settings
from view_traffic import Traffic, project
from waiting import PATIENCE


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    traffic = Traffic()
    traffic.completed("tx-1")
    project(traffic, tmp_path / "view.db")
    return Settings(KafkaSettings("127.0.0.1:1"), tmp_path, f"sqlite:///{tmp_path / 'view.db'}")


def test_it_serves_until_it_is_told_to_stop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is in a file meanwhile; who listens to changes does not hold it up."""
    monkeypatch.delenv("KANTOR_API_TOKENS", raising=False)
    monkeypatch.setenv("KANTOR_API_ADDRESS", "127.0.0.1:0")
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=run_api, args=(settings, stop, ready.set, ApiMetrics(CollectorRegistry()))
    )
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        url = (settings.home / ADDRESS_FILE).read_text().strip()
        with urllib.request.urlopen(f"{url}/api/v1/transactions/tx-1") as answer:
            assert answer.status == 200
        listener = urllib.request.urlopen(f"{url}/api/v1/events")
        assert listener.readline() == b"retry: 2000\n"
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not (settings.home / ADDRESS_FILE).exists()
    listener.close()


def test_who_waits_for_the_address_never_finds_a_part_of_it(tmp_path: Path) -> None:
    """Its file is replaced: whoever reads the old one reads all of it."""
    path = tmp_path / ADDRESS_FILE
    path.write_text("http://127.0.0.1:1\n")
    with path.open() as reader:
        server._write(path, "http://127.0.0.1:2")
        assert reader.read() == "http://127.0.0.1:1\n"
    assert [found.name for found in tmp_path.iterdir()] == [ADDRESS_FILE]
    assert path.read_text() == "http://127.0.0.1:2\n"


def test_a_port_that_was_chosen_and_is_taken_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would look for it elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("KANTOR_API_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(ConfigError, match=f"{port} can't be used"):
            run_api(settings, threading.Event(), lambda: None, ApiMetrics(CollectorRegistry()))
