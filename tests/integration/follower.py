"""What the platform says while it works: the history, as it comes."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from integration.decisions import Log
from kantor.codec import Codec
from kantor.kafka import KafkaSettings
from kantor_orchestrator.core.transaction import Status, Transaction, Transition, evolve
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import decided_from
from kantor_orchestrator.operations.acts import moves_of
from waiting import PATIENCE, patiently


class Follower:
    """Reads the history, valid decisions only, from where it ended when it was made."""

    def __init__(self, settings: KafkaSettings, codec: Codec) -> None:
        self._admin = settings.admin()
        self._codec = codec
        self._consumer = settings.consumer("chaos-follower", ends=True)
        partitions = [(topics.HISTORY, p) for p in range(self._admin.topics()[topics.HISTORY])]
        self._positions = patiently(lambda: self._admin.ends(partitions))
        self.moves: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        #: The same, as ``evolve`` takes them.
        self.transitions: defaultdict[str, list[Transition]] = defaultdict(list)
        self._log = Log(codec)
        self._consumer.assign(self._positions)

    def poll(self, timeout: float = 0.1) -> None:
        batch = self._consumer.poll(timeout, 5_000)
        for record in batch.records:
            self._positions[record.topic(), record.partition()] = record.offset() + 1
            if (found := self._log.valid(record)) is not None:
                self._learn(found)
        self._positions.update(batch.ends)

    def _learn(self, decision: dict[str, Any]) -> None:
        id_ = decision["transaction_id"]
        self.moves[id_] += moves_of(decision)
        self.transitions[id_] += decided_from(decision).transitions

    def catch_up(self) -> None:
        """Read all that is there now."""
        ends = self._admin.ends(list(self._positions))
        deadline = time.monotonic() + PATIENCE
        while any(self._positions[partition] < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"not caught up: {self._positions} of {ends}"
            self.poll()

    def folded(self, id_: str) -> Transaction:
        """The transaction that the history makes."""
        found = Transaction(id_)
        for transition in self.transitions.get(id_, ()):
            evolve(found, transition)
        return found

    def waits_for_a_person(self, id_: str) -> bool:
        """It has an open incident, so people see it in their lists."""
        return bool(self.folded(id_).incidents)

    def status(self, id_: str) -> Status | None:
        moves = self.moves.get(id_)
        return Status(moves[-1]["status"]) if moves else None

    def close(self) -> None:
        self._consumer.close()
