"""Waiting for conditions, never for a time: one patience for all that tests wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kantor.errors import KafkaUnavailableError, RegistryUnavailableError

Answer = TypeVar("Answer")

#: Seconds: long enough for a noisy machine; nothing waits longer than it must.
PATIENCE = 300.0


def until(
    condition: Callable[[], object], what: str, explain: Callable[[], str] = str, *, pause: float = 0.1
) -> None:
    """Wait for a condition. What Kafka can't answer just now is asked again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (KafkaUnavailableError, RegistryUnavailableError) as error:
            trouble = str(error)
        else:
            trouble = ""
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE:.0f} s: {what} {trouble}\n{explain()}")
        time.sleep(pause)


def patiently(ask: Callable[[], Answer]) -> Answer:
    """The answer; what Kafka can't answer just now (a topic was just made) is asked again."""
    answers: list[Answer] = []

    def answered() -> bool:
        answers.append(ask())
        return True

    until(answered, "Kafka answers")
    return answers[0]
