"""A transaction's status, as people are told (words-1)."""

from __future__ import annotations

from enum import StrEnum

from kantor_orchestrator.core.transaction import Status

#: In the view's database, the status of what only operator actions name: it is no transaction, and is not shown (view-19).
NO_TRANSACTION = ""


class ShownStatus(StrEnum):
    """Of a transaction, as people are told: ``Status``, and that of one of which only the journal tells so far."""

    RUNNING = Status.RUNNING.value
    PARKED = Status.PARKED.value
    COMPENSATING = Status.COMPENSATING.value
    COMPLETED = Status.COMPLETED.value
    COMPENSATED = Status.COMPENSATED.value
    CLOSED = Status.CLOSED.value
    OBSERVED = Status.OBSERVED.value
    NOT_LOOKED_AT = "not_looked_at"


#: How people are told what is not a word by itself.
_IN_WORDS = {ShownStatus.NOT_LOOKED_AT.value: "not looked at yet (engine behind)"}


def in_words(status: str) -> str:
    return _IN_WORDS.get(status, status)


def is_not_looked_at(status: str, saga: str, entry: int, looked_at: int) -> bool:
    """Whether a transaction (view-13) is observed only because no engine is known to have looked at its last ``entry`` in the
    journal; ``looked_at``: the last one of its shard at which one has."""
    return status == ShownStatus.OBSERVED and not saga and entry > looked_at
