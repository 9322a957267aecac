"""What nobody foresees, anywhere in a shard's turn (log-7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kantor_orchestrator.engine.log import DecisionLog
from kantor_orchestrator.engine.sending import Sender
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.timers import ShardTimers
from kantor_orchestrator.engine.writing import LogWriter
from unit.engine_place import CATALOG, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.engine.close()


class Boom:
    """Raises what nobody expects, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.raised = False
        call = getattr(owner, name)

        def raising(*args: Any, **kwargs: Any) -> Any:
            if not self.raised:
                self.raised = True
                raise ZeroDivisionError("boom")
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, raising)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (ShardTimers, "set_by"),
        (LogWriter, "put"),
        (Sender, "send"),
        (DecisionLog, "append"),
        (Shard, "take_checkpoint"),
    ],
)
def test_an_exception_that_nobody_foresees(
    place: Place, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """Wherever it is raised, the shard is retaken, nothing half done is committed, and each message leaves once (log-7)."""
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    place.turn_until(lambda: bool(place.engine._shards))
    boom = Boom(monkeypatch, owner, name)
    before = place.engine._metrics.retaken._value.get()
    for type_ in ("shop.OrderPlaced", "inventory.StockReserved", "payment.PaymentCaptured"):
        place.event("t", type_)
    place.turn_until(lambda: "command_sent" in place.kinds("t") and boom.raised)
    place.turn_until(lambda: place.broker.topics["cmd.shipping.v1"].logs[0].end > 0)
    place.turn_until(lambda: bool(place.engine._shards))
    assert place.engine._metrics.retaken._value.get() == before + 1
    assert place.kinds("t").count("started") == place.kinds("t").count("command_sent") == 1
    assert place.broker.topics["cmd.shipping.v1"].logs[0].end == 1
