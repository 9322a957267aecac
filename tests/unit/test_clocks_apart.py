"""Machines whose clocks disagree: who lives is told all the same, and whose clock it is."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.formats import marks, topics, watermarks
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.operations import condition, standing
from kantor_orchestrator.operations.condition import Condition
from kantor_orchestrator.operations.diagnosis import condition_as_json, diagnose
from kantor_orchestrator.view.queries import View

DAYS = 2 * 86_400_000
NOW = 1_700_000_000_000


class Clock:
    """This machine's."""

    def __init__(self, at: int = NOW) -> None:
        self.at, self.running = at, 1_000.0

    def now(self) -> int:
        return int(self.at + self.running * 1_000)

    def monotonic(self) -> float:
        return self.running

    def sleep(self, seconds: float) -> None:
        self.running += seconds


class Signs:
    """A view on a machine whose clock is ``ahead`` (ms) of the broker's; it has been dead for ``dead`` seconds, -1: it lives."""

    def __init__(self, clock: Clock, ahead: int, dead: float = -1) -> None:
        self.clock, self.ahead, self.dead = clock, ahead, dead
        self.began = clock.monotonic()

    def seen(self) -> dict[str, int]:
        last = self.clock.monotonic() // 2 * 2 if self.dead < 0 else self.began - self.dead
        return {"view": int(NOW + last * 1_000) + self.ahead}


def judged(ahead: int, dead: float = -1, machine: int = 0) -> tuple[bool, dict[str, int], float]:
    """Does it live, whose clock is another one, and how long (s) that took to find out."""
    clock = Clock(NOW + machine)
    time = BrokerTime(clock)
    time.observe(int(NOW + clock.monotonic() * 1_000))
    view, found = Signs(clock, ahead, dead), Condition("broker:9092")
    began = clock.monotonic()
    lives = condition._lives(lambda: nullcontext(cast("View", view)), view.seen()["view"], time, clock, found)
    return lives, found.apart, clock.monotonic() - began


@pytest.mark.parametrize("machine", [0, DAYS, -DAYS])
@pytest.mark.parametrize("ahead", [0, DAYS, -DAYS, 60_000, -60_000])
def test_a_view_lives_whatever_its_clock_says(ahead: int, machine: int) -> None:
    """Its next sign comes; a clock that is far away is named."""
    lives, apart, _ = judged(ahead, machine=machine)
    assert lives
    assert list(apart) == (["the view"] if abs(ahead) == DAYS else [])
    assert all(abs(found - ahead) < 5_000 for found in apart.values())


@pytest.mark.parametrize("machine", [0, DAYS, -DAYS])
@pytest.mark.parametrize("ahead", [0, DAYS, -DAYS, 600_000])
def test_a_dead_view_does_not_look_alive(ahead: int, machine: int) -> None:
    """Not even while its last sign is one of the future; and of the dead no clock is told."""
    assert judged(ahead, dead=20, machine=machine)[:2] == (False, {})


def test_who_has_the_right_time_is_not_watched() -> None:
    """`kantor status` waits for the next sign only in doubt."""
    assert judged(0)[2] == 0


def test_an_engines_clock_is_told() -> None:
    """It says what time it is for itself; the broker's stamp is beside it."""
    told = watermarks.Statements()
    for name, ahead in (("slow", -DAYS), ("fast", DAYS), ("good", 1_000), ("old", -NOW)):
        said = marks.Shards([0], {}, clock=NOW + ahead)
        told.take(f"engine/{name}".encode(), said.dump(), NOW)
    found = Condition("broker:9092")
    owners = {"e": [(topics.JOURNAL, 0)]}
    found.apart = standing.stand(told, 1, owners, NOW + 1_000).apart
    assert found.apart == {"the engine fast": DAYS, "the engine slow": -DAYS}
    first, second = (one for one in diagnose(found) if one.what.startswith("clocks apart"))
    assert first.what == "clocks apart: the engine fast has a clock that is 2 d ahead of Kafka's"
    assert second.what == (
        "clocks apart: the engine slow has a clock that is 2 d behind Kafka's, and all timeouts of its shards fire late by as much"
    )
    assert "NTP" in first.remedy
    assert condition_as_json(found, [])["clocks_apart"][0] == {
        "process": "the engine fast",
        "ahead_ms": DAYS,
    }


def test_an_engine_that_is_gone_has_no_clock() -> None:
    """What it said last is not told for ever."""
    told = watermarks.Statements()
    told.take(b"engine/e", marks.Shards([0], {}, clock=NOW - DAYS).dump(), NOW)
    assert standing.stand(told, 1, {}, NOW + 60_000).apart == {}


@pytest.mark.parametrize("ahead", [0, DAYS, -DAYS])
def test_pages_tell_no_age_that_is_only_the_views_clock(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to date while signs come, old once none comes any more."""
    clock = Clock()
    backend = Backend.__new__(Backend)
    view = Signs(clock, ahead)
    monkeypatch.setattr(
        "kantor_orchestrator.api.backend.time", SimpleNamespace(time=lambda: clock.now() / 1_000)
    )
    for name, value in {"_clock": clock.monotonic, "_lock": nullcontext(), "_sign": None}.items():
        setattr(backend, name, value)

    @contextmanager
    def opened() -> Any:
        yield view

    backend.view = opened  # type: ignore[method-assign]
    backend.complete_until()  # of the first sign nobody knows how old it is
    clock.sleep(3)
    assert backend.complete_until() == 0
    view.dead, view.began = 0, clock.monotonic() // 2 * 2
    clock.sleep(10)
    assert backend.complete_until() == view.seen()["view"]
