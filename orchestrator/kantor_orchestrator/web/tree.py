"""The causal tree: what caused what, as lines with a depth."""

from __future__ import annotations

from collections.abc import Sequence

from kantor_orchestrator.view.trace import Message

#: Deeper ones are shown at this depth: a chain of a thousand causes is no thousand columns.
DEEPEST = 12
MOST_LINES = 300


def causal_tree(timeline: Sequence[Message]) -> list[tuple[int, Message]]:
    """Each message once, below what caused it; the first ``MOST_LINES``. What nobody known has caused is a root."""
    known = {message.id: number for number, message in reversed(list(enumerate(timeline))) if message.id}
    below: dict[int, list[int]] = {}
    roots = []
    for number, message in enumerate(timeline):
        cause = known.get(message.causation_id) if message.causation_id else None
        if cause is None or cause >= number:  # a cause comes first; whatever else ids say, this is no circle
            roots.append(number)
        else:
            below.setdefault(cause, []).append(number)
    found: list[tuple[int, Message]] = []
    waiting = [(0, number) for number in reversed(roots)]
    while waiting and len(found) < MOST_LINES:
        depth, number = waiting.pop()
        found.append((min(depth, DEEPEST), timeline[number]))
        waiting += [(depth + 1, child) for child in reversed(below.get(number, ()))]
    return found
