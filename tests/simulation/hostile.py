"""What the fuzz tests (``tests/fuzz/hostile.py``) send, as a list: always the same one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kantor.testing.log import Header

#: In whose name: nobody has promised them anything.
STRANGERS = [f"h-{number}" for number in range(6)]
#: How many records there are to choose from.
_MANY = 150


@dataclass(frozen=True, slots=True)
class Attack:
    """One record. ``sound``: the value if nothing was wrong with it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[Header] | None
    sound: bytes | None


@cache
def corpus() -> tuple[Attack, ...]:
    """Made when it is first needed: that takes a second."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    from fuzz import hostile

    found: list[Attack] = []
    sound = {record.value for record in hostile.WELL_FORMED}

    @settings(
        derandomize=True,
        max_examples=_MANY,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(hostile.records(), hostile.entries()))
    def collect(record: hostile.HostileRecord) -> None:
        value = record.value if record.value in sound else None
        found.append(Attack(record.topic, record.partition, record.key, record.value, record.headers, value))

    collect()
    return tuple(found)
