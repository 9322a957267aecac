"""The checkpoint: state and position in the state topic, behind the log, now and then.

A checkpoint is a picture of the shard at a position q of the journal: the snapshot of each transaction that changed since the last
one, the marks that moved, and the shard record. It is taken between two entries, while the work goes on, and committed in
one Kafka transaction once the log has every decision on entries before q, and all their messages have left. So a shard that
is taken over from it has to look at the log behind the checkpoint, and at nothing before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kantor.clients import Clients, Producer
from kantor.clock import Clock
from kantor.codec import Codec
from kantor.errors import KantorError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.store import Row
from kantor_schemas import system

log = logging.getLogger("kantor.shard")

#: Seconds between checkpoints of a shard that works, and entries after which there is one sooner. Each is a Kafka transaction, with a dozen
#: requests among brokers and client; what lies behind the last one is read again by whoever takes the shard.
INTERVAL, MOST_ENTRIES = 1.0, 5_000
#: Seconds between checkpoints of a shard in which nothing changes but its position.
REST_INTERVAL = 5.0
#: Until the commit, which sends what is left at once, a checkpoint's records wait for each other (ms).
_LINGER = 1_000
#: Seconds that a commit may take. After that it hangs in the client, whatever limit that was given.
HANGS = 15.0

#: Headers of a snapshot: what taking a shard must know of it without decoding it. Text of numbers, ms.
DUE, EXPIRES = "due", "expires"


@dataclass(slots=True)
class Checkpoint:
    """A picture of a shard, on its way into the state topic."""

    position: int  # next journal entry
    clock: int
    rows: dict[str, Row | None]
    marks: Mapping[str, int | None]  # None: it is forgotten
    holds: Mapping[str, Any]  # of the shard record
    journal_id: str = ""
    history_id: str = ""
    epoch: int = -1
    history: int = -1  # next record of the log
    sent: int = 0  # the last message before it
    is_passed: bool = False
    changelog: int = field(default=0)  # next record of the state topic, once it is committed

    def passed(self, epoch: int, history: int, sent: int) -> None:
        """All decisions before it are in the log, and their messages have been handed over."""
        self.epoch, self.history, self.sent = epoch, history, sent
        self.is_passed = True


class Checkpointer:
    """Commits the checkpoints of one shard. Its ``transactional.id`` is the shard's: who takes the shard fences the last owner."""

    def __init__(self, clients: Clients, number: int, codec: Codec, clock: Clock) -> None:
        self._number = number
        self._clock = clock
        self._encode_shard = codec.encoder(system("ShardRecord"), topics.STATE)
        self._encode_mark = codec.encoder(system("SourceMark"), topics.STATE)
        #: The next record behind the last checkpoint, or where the state ended when it was read.
        self._written = 0
        self._is_another: Callable[[], bool] = lambda: False
        self.producer: Producer = clients.producer(
            f"kantor-engine-{number}",
            transactional_id=f"kantor-engine-{number}",
            linger_ms=_LINGER,
            extra={"message.max.bytes": topics.LARGEST},
        )

    def read_up_to(self, end: int, is_another: Callable[[], bool]) -> None:
        """Where the state ended that the shard was restored from; whether its topic is another one now."""
        self._written, self._is_another = end, is_another

    def confirm(self) -> None:
        """Commit nothing. Raises ``FencedError`` if somebody has begun to take the shard since ``init_transactions``, and
        ``KafkaUnavailableError`` if nobody knows."""
        self.producer.begin()
        self.producer.produce(topics.STATE, None, topics.NOTHING_KEY, None, self._number)
        self.producer.commit()

    def commit(self, checkpoint: Checkpoint) -> float:
        """Commit it; how long that took (s). In a thread of its own. After any error nobody knows whether it is committed:
        retake the shard."""
        began, before = self._clock.monotonic(), self._written
        producer, number = self.producer, self._number
        producer.begin()
        produce = producer.produce
        for id_, row in checkpoint.rows.items():
            if row is None:
                produce(topics.STATE, None, id_.encode(), None, number)
            else:
                produce(topics.STATE, row[0], id_.encode(), _headers(row), number)
        for mark, offset in sorted(checkpoint.marks.items()):
            mark_value = None if offset is None else self._encode_mark({"offset": offset, "index": 0})
            produce(topics.STATE, mark_value, topics.MARK_PREFIX + mark.encode(), None, number)
        own = {
            "position": checkpoint.position,
            "clock": checkpoint.clock,
            "epoch": checkpoint.epoch,
            "history": checkpoint.history,
            **checkpoint.holds,
            "journal_id": checkpoint.journal_id,
            "history_id": checkpoint.history_id,
        }
        value = self._encode_shard(own)
        produce(topics.STATE, value, topics.SHARD_KEY, None, number, on_delivery=self._on_written)
        producer.commit()
        checkpoint.changelog = self._written
        if self._written <= before and self._is_another():
            self._take_back(
                [*checkpoint.rows, *(topics.MARK_PREFIX.decode() + mark for mark in checkpoint.marks)]
            )
        return self._clock.monotonic() - began

    def _take_back(self, keys: Iterable[str]) -> None:
        """The topic was deleted and recreated since the shard was taken: it has this checkpoint, and nothing of what did not change since
        the last one. Without a shard record whoever takes the shard folds all that the log has. Raises ``KantorError``."""
        producer, number = self.producer, self._number
        producer.begin()
        for key in keys:
            producer.produce(topics.STATE, None, key.encode(), None, number)
        producer.produce(topics.STATE, None, topics.SHARD_KEY, None, number)
        producer.commit()
        what = f"{topics.STATE}/{number} was deleted and recreated: the shard is restored from all that {topics.HISTORY}/{number} has"
        log.error(
            "%s, and what it sent is sent again", what, extra={"action": "state_recreated", "shard": number}
        )
        raise KantorError(what)

    def close(self) -> None:
        """Abandon it."""
        self.producer.purge()

    def _on_written(self, error: Any, record: Any) -> None:
        if error is None:
            self._written = record.offset() + 1


def _headers(row: Row) -> list[tuple[str, bytes | None]] | None:
    _, due, expires = row
    found: list[tuple[str, bytes | None]] = []
    if due is not None:
        found.append((DUE, b"%d" % due))
    if expires is not None:
        found.append((EXPIRES, b"%d" % expires))
    return found or None
