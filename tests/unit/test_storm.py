"""The weather forecast of `make chaos`."""

from __future__ import annotations

from random import Random

from integration.storm import PROGRAMS, ROLES, forecast


def test_a_seed_is_always_the_same_weather() -> None:
    """So that a storm can be had again."""
    assert forecast(Random("7/12"), 20) == forecast(Random("7/12"), 20)
    assert forecast(Random("7/12"), 20) != forecast(Random("7/13"), 20)


def test_everybody_is_hit_in_every_way() -> None:
    """Sooner or later; never twice at the same moment."""
    gusts = forecast(Random(1), 2_000)
    assert all(len({fault.target for fault in gust.faults}) == len(gust.faults) for gust in gusts)
    hit = {(fault.kind, fault.target) for gust in gusts for fault in gust.faults}
    assert hit == {
        ("broker killed", ""),
        *((kind, role) for kind in ("reset", "half-closed", "mute") for role in ROLES),
        *((kind, program) for kind in ("killed", "frozen") for program in PROGRAMS),
    }
