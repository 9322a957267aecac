"""A service whose machine's clock is ahead says so, and takes no backlog for that (kit-26)."""

from __future__ import annotations

import logging
import threading

import pytest

from kantor import Service
from kantor.ages import Ages
from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.metrics import Metrics
from kantor.runner import Session
from kantor.testing.broker import MemoryBroker
from kantor.testing.clock import SkewedClock, VirtualClock
from kantor.writing import Writer
from kantor_examples.checkout.messages import BookShipment, ShipmentBooked
from unit.kit_harness import FakeRecord
from unit.kit_services import BOOK, BOOKED


class Stamped(FakeRecord):
    """A record with a time of its own."""

    def __init__(self, *stamp: int) -> None:
        super().__init__(b"", [])
        self._stamp = (stamp[0], stamp[1])

    def timestamp(self) -> tuple[int, int]:
        return self._stamp


class Minute:
    """A minute of polls."""

    def __init__(self, ahead: float) -> None:
        self.clock = VirtualClock()
        self.metrics = Metrics()
        self.ages = Ages(SkewedClock(self.clock, ahead), self.metrics)

    def comes(self, *ages: float, kind: int = 1, waits: bool = True) -> None:
        """Records that are so old (s), after a poll that brought nothing, unless they wait behind others."""
        if waits:
            self.ages.polled([])
        now = self.clock.now()
        self.ages.polled([Stamped(kind, now - int(age * 1000)) for age in ages])

    def ends(self) -> float | None:
        self.clock.sleep(60)
        self.ages.polled([])
        return self.metrics.registry.get_sample_value("kantor_kit_clock_ahead_seconds")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if vars(line).get("action") == "clock_ahead"]


def test_a_clock_that_is_ahead(caplog: pytest.LogCaptureFixture) -> None:
    """The youngest record of the minute tells by how much, once."""
    minute = Minute(30)
    for age in (2, 0, 1):
        minute.comes(age)
    assert minute.ends() == 30
    (line,) = said(caplog)
    assert "at least 30 s old by it" in line
    assert minute.ends() == 30
    assert len(said(caplog)) == 1


@pytest.mark.parametrize(("ahead", "shown"), [(0, 0), (4, 4), (-30, 0)])
def test_a_clock_that_is_right_enough(caplog: pytest.LogCaptureFixture, ahead: float, shown: float) -> None:
    """Moments are nothing, and one that is behind lets nothing expire."""
    minute = Minute(ahead)
    for _ in range(3):
        minute.comes(0)
    assert minute.ends() == shown
    assert said(caplog) == []


def test_a_backlog_is_no_clock(caplog: pytest.LogCaptureFixture) -> None:
    """What waits is old; as are the first records after an outage. Then young ones come."""
    minute = Minute(0)
    for _ in range(50):
        minute.comes(3_600, waits=False)
    minute.comes(3_600)
    minute.comes(3_600, 0)
    minute.comes(3_600)
    assert minute.ends() == 0
    assert said(caplog) == []


def test_a_few_records_tell_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nor do those without a time."""
    minute = Minute(0)
    minute.comes(3_600)
    minute.comes(3_600)
    for _ in range(3):
        minute.comes(3_600, waits=False)
        minute.comes(3_600, kind=0)
    assert minute.ends() == 0
    assert said(caplog) == []


def test_a_service_whose_commands_all_seem_expired(caplog: pytest.LogCaptureFixture) -> None:
    """It says why, within two minutes."""
    caplog.set_level(logging.WARNING)
    clock = VirtualClock()
    broker = MemoryBroker(clock)
    broker.create_topic(TopicSpec(BookShipment.TOPIC, 1))
    schemas, clients, metrics = MemorySchemas(), broker.clients(), Metrics()
    service = Service("shipping")

    @service.handles(BookShipment)
    def book(command: BookShipment) -> ShipmentBooked:
        return BOOKED

    session = Session(
        service,
        clients,
        schemas,
        metrics,
        None,
        instance="0",
        stop=threading.Event(),
        clock=SkewedClock(clock, 20),
    )
    session.start(lambda _: None)
    writer, producer = Writer("kantor", Codec(schemas), [BookShipment]), clients.producer("kantor")
    for number in range(12):
        out = writer.start(writer.encode(BOOK, clock.now()), f"t{number}", 0)
        producer.produce(out.topic, out.value, out.key, out.headers, 0)
        producer.flush()
        until = clock.monotonic() + 10
        while clock.monotonic() < until:
            session.turn()
    session.close()
    assert len(said(caplog)) in (1, 2)
    assert "at least 20 s old" in said(caplog)[0]
