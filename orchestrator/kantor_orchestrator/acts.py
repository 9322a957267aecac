"""What people do to transactions, as the API and the command line ask for it: entries of the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from kantor.envelope import shard_of
from kantor.kafka import KafkaSettings, Producer
from kantor_orchestrator import journal, topics


class Acts:
    """Writes acts. What they mean, and when they are not possible: ``core.acts``."""

    def __init__(self, kafka: KafkaSettings, shards: int) -> None:
        self._producer = Producer(kafka, "kantor-acts", linger_ms=0)
        self._shards = shards

    def do(
        self,
        act: str,
        transaction_id: str,
        *,
        actor: str,
        why: str,
        step: str = "",
        fields: Mapping[str, Any] | None = None,
        id_: str = "",
    ) -> str:
        """Append an act; returns its id when the journal has it. The engine carries it out, or says in the history why
        not. ``id_``: give the same again, and it is done once. Raises ``KafkaUnavailableError``: give the same id again."""
        entry = journal.Act(id_ or str(uuid4()), act, actor, why, step, dict(fields or {}))
        self._producer.produce(
            topics.JOURNAL,
            entry.dump(),
            transaction_id.encode(),
            journal.ACT_HEADERS,
            shard_of(transaction_id, self._shards),
        )
        self._producer.flush()
        return entry.id
