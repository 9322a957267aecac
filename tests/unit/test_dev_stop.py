"""`kantor dev stop` where KANTOR_BOOTSTRAP_SERVERS is set."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.dev.process import Ending
from kantor_orchestrator.dev.record import BrokerRecord


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DevBroker:
    """One of ours, whose stop is only told."""

    def stop(_: DevBroker) -> Ending:
        return "stopped"

    monkeypatch.setattr(DevBroker, "_stop", stop)
    broker = DevBroker(tmp_path, external="127.0.0.1:1")
    broker.folder.mkdir(parents=True)
    return broker


@pytest.mark.parametrize(("is_alive", "ending"), [(True, "stopped"), (False, "not running")])
def test_a_broker_of_ours_is_stopped_though_another_cluster_is_named(
    broker: DevBroker, monkeypatch: pytest.MonkeyPatch, is_alive: bool, ending: Ending
) -> None:
    """It was started before the variable was set; the other cluster is never touched."""
    monkeypatch.setattr(BrokerRecord, "is_alive", property(lambda _: is_alive))
    token = str(psutil.Process(os.getpid()).create_time())
    BrokerRecord("127.0.0.1:2", 2, 3, "4.3.0", os.getpid(), token, "2027-01-01T00:00:00Z").write(
        broker._state
    )
    assert broker.stop() == ending


def test_nothing_of_ours_is_not_looked_for_in_vain(broker: DevBroker) -> None:
    """Nothing was ever started here."""
    assert broker.stop() == "not running"
