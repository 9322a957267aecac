"""What the stories of the ten sagas share."""

from __future__ import annotations

from typing import Any

from kantor_orchestrator.core.transaction import Status
from unit.core_kit import Story
from unit.test_definitions_ten import compiled

DAY = 24 * 3600


def start(saga: str, event: str, /, **payload: Any) -> Story:
    return Story(compiled(saga)).when(event, payload=payload)


def check(story: Story, status: Status) -> None:
    assert story.status == status, story.steps
    assert story.replayed() == story.txn, "history and state tell the same"
