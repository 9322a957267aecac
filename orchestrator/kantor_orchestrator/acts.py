"""What people do to transactions and sagas, as the API and the command line ask for it: entries of the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import uuid4

from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.errors import KantorError, NotFoundError
from kantor.kafka import Admin, Consumer, KafkaSettings, Producer
from kantor.schemas import schema_store
from kantor_orchestrator import journal, topics

#: Seconds that the engine has to answer.
PATIENCE = 10.0

#: What the engine made of an act: a ``kantor.Transition``.
Move = dict[str, Any]


class NoAnswerError(KantorError):
    """The act is in the journal and will be carried out; nobody has done so yet."""


class Acts:
    """Writes acts, and waits for what the engine makes of them. What they mean, and when they are not possible:
    ``core.acts`` and ``holds``."""

    def __init__(self, kafka: KafkaSettings, registry_url: str = "") -> None:
        """Raises ``NotFoundError`` where no platform has run yet, ``KafkaUnavailableError``."""
        self._kafka = kafka
        self._admin = Admin(kafka)
        self._shards = self._admin.topics().get(topics.HISTORY, 0)
        if not self._shards:
            raise NotFoundError("there is no platform on this cluster: start it with `kantor run`")
        self._producer = Producer(kafka, "kantor-acts", linger_ms=0)
        self._codec = Codec(schema_store(kafka, registry_url))

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
    ) -> list[Move]:
        """Do something to a transaction; the moves that the engine made of it, of which ``ignored`` says why not.

        ``id_``: give the same again, and it is done once (``ignored``, code ``done_already``). Raises ``NoAnswerError``, and ``KafkaUnavailableError`` (give
        the same id again)."""
        entry = journal.Act(id_ or str(uuid4()), act, actor, why, step, dict(fields or {}))
        shard = shard_of(transaction_id, self._shards)
        moves = self._answers(entry.id, [shard], lambda: self._write(entry, transaction_id.encode(), shard))
        if not moves:
            raise NoAnswerError(
                f"the engine has not answered in {PATIENCE:.0f} s: the act is in the journal and will be carried out, if there "
                f"is a transaction {transaction_id}; see `kantor status` and `kantor trace {transaction_id}`"
            )
        return moves[shard]

    def do_to_all(self, act: str, saga: str, *, actor: str, why: str, id_: str = "") -> list[Move]:
        """Hold or release a saga (``holds.ALL``: every one): an entry for every shard, and a move of each. Raises as
        :meth:`do`; ``NoAnswerError`` if some shard has not answered."""
        entry = journal.Act(id_ or str(uuid4()), act, actor, why, saga=saga)

        def write() -> None:
            for shard in range(self._shards):
                self._write(entry, None, shard)

        moves = self._answers(entry.id, range(self._shards), write)
        if len(moves) < self._shards:
            silent = [shard for shard in range(self._shards) if shard not in moves]
            raise NoAnswerError(
                f"the engine has not answered in {PATIENCE:.0f} s for the shards {silent}: the act is in the journal and will "
                "be carried out; see `kantor status`"
            )
        return [move for found in moves.values() for move in found]

    def _write(self, entry: journal.Act, key: bytes | None, shard: int) -> None:
        self._producer.produce(topics.JOURNAL, entry.dump(), key, journal.ACT_HEADERS, shard)
        self._producer.flush()

    def _answers(self, id_: str, shards: Iterable[int], write: Callable[[], None]) -> dict[int, list[Move]]:
        """By shard: the moves that name the act, up to the first ones of each shard."""
        history = [(topics.HISTORY, shard) for shard in shards]
        reader = Consumer(self._kafka, "kantor-acts")
        try:
            reader.assign(self._admin.ends(history))
            write()
            deadline = time.monotonic() + PATIENCE
            moves: dict[int, list[Move]] = {}
            while len(moves) < len(history) and time.monotonic() < deadline:
                for record in reader.poll(0.1).records:
                    move = self._codec.decode(record.value())
                    if move["message_id"] == id_:
                        moves.setdefault(record.partition(), []).append(move)
            return moves
        finally:
            reader.close()
