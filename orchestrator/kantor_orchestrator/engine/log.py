"""A shard's decision log: its partition of ``sys.kantor.history`` (docs/design/log.md has the proof).

* log-3: who takes the shard appends an *epoch record*; its offset is the epoch. Each decision names the epoch under which it was
   made. A decision is valid if its epoch is the offset of the newest epoch record before it; others are void for every
   reader: stragglers of an owner that has lost the shard.
* log-4: the owner is the only writer, so its records follow each other without a gap. After each acknowledgement the owner looks
   whether they do. In a gap lie stragglers (void: it goes on behind them), or the epoch record of a new owner: then it
   stops, and sends nothing of what it has just written; the new owner will.
* log-1: the producer is idempotent, ordered and patient: it gives up on no record. One that can't be written for good breaks the
   producer, and the shard is retaken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kantor.clients import Admin, Clients, Partition, Record, deliver
from kantor.clock import Clock
from kantor.codec import Codec
from kantor.errors import CodecError, FencedError, KafkaUnavailableError, KantorError, UndecodableError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.history import EPOCH, PREFIX, Epoch, is_epoch, may_be_ours, prefix_of
from kantor_orchestrator.formats.snapshots import Decided, decided_from
from kantor_schemas import system

#: What the schema of a decision is called: what is of another one is foreign.
_DECISION = "kantor.Decision"

#: Seconds that reading a part of the log may take without a record.
_PATIENCE = 60.0
#: An empty fetch, which brings the end, would wait 500 ms.
_READ = {"fetch.wait.max.ms": 10}


class LogRecord(NamedTuple):
    """A record to be appended. ``key`` None: it is about no transaction."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes | None]] | None


class DecisionLog:
    """One owner's hand on the log of one shard. :meth:`begin` comes first; one thread at a time."""

    def __init__(
        self,
        clients: Clients,
        admin: Admin,
        number: int,
        owner: str,
        codec: Codec,
        clock: Clock,
        time: BrokerTime,
    ) -> None:
        """``owner``: who takes it; another one each time."""
        self._clients = clients
        self._admin = admin
        self._place: Partition = (topics.HISTORY, number)
        self._owner = owner
        self._codec = codec
        self._clock = clock
        self._time = time
        self._acked: tuple[int, int] | None = None  # (offset, timestamp) of the last record
        self._written = time.writing()
        self._is_closed = False
        self.epoch = -1
        #: Where the next record will lie, if nobody else writes.
        self.end = 0
        #: Of the epochs that were read: their offsets, and the ids of the journals that their decisions are about.
        self.journals: list[tuple[int, str]] = []
        self._producer = clients.producer(
            f"kantor-engine-log-{number}",
            linger_ms=100,  # whoever appends flushes: one request for all
            extra={
                "message.timeout.ms": 0,
                "enable.gapless.guarantee": True,
                "delivery.report.only.error": False,
                "message.max.bytes": topics.LARGEST,
            },
        )

    def begin(self, position: int, journal: str = "") -> int:
        """Take the log; the epoch. ``position``: where in the journal the owner goes on; ``journal``: its topic's id. Raises ``KafkaUnavailableError``,
        ``KantorError``: the shard can't be taken now."""
        encode = self._codec.encoder(system("Epoch"), topics.HISTORY)
        own = {"shard": self._place[1], "owner": self._owner, "at": self._clock.now(), "position": position}
        value = encode(own | {"journal_id": journal})
        prefix = self._codec.prefix(system("Decision"), topics.HISTORY)
        self._write([LogRecord(None, value, [("ce_type", EPOCH), (PREFIX, prefix)])])
        offset = self._acked[0] if self._acked is not None else -1
        if offset < 0:  # the broker knew it already: it is somewhere before the end
            offset = self._find(value)
        self.epoch, self.end = offset, offset + 1
        return offset

    def append(self, records: Sequence[LogRecord]) -> Sequence[int]:
        """Append these, in order; returns when they are in the log, with the offset of each. Raises ``FencedError``: somebody has taken the shard,
        send nothing; ``KantorError``: nobody knows what is in the log, retake the shard."""
        self._write(records)
        expected = self.end + len(records) - 1
        offset = self._acked[0] if self._acked is not None else -1
        if offset == expected:
            first, self.end = self.end, offset + 1
            return range(first, self.end)
        if 0 <= offset < expected:
            raise KantorError(
                f"{self._where()}: the last of {len(records)} records lies at {offset}, expected was {expected}"
            )
        end = offset + 1 if offset >= 0 else self._sampled_end()
        mine = {record.value for record in records}
        between = self._without_new_owner(self.end, end)
        found = [record.offset() for record in between if record.value() in mine]
        if len(found) != len(records):
            raise KantorError(
                f"{self._where()}: {len(found)} records were found before {end}, not the {len(records)} appended"
            )
        self.end = end
        return found

    def check(self) -> None:
        """Look whether the log still is ours: before sending, after a pause. Raises ``FencedError`` if it is not,
        ``KafkaUnavailableError``."""
        end = self._sampled_end()
        for _ in self._without_new_owner(self.end, end):
            pass
        self.end = max(self.end, end)

    def read_valid(self, position: int, epoch: int, end: int) -> list[tuple[int, Decided]]:
        """The valid decisions from ``position`` (where ``epoch`` is in force) to ``end``, with their offsets. What is no
        engine's is void. ``journals`` says afterwards which journal they are about. Raises ``KafkaUnavailableError``, and
        ``KantorError`` for what may be a valid decision and can't be read: to pass over it would be to decide again."""
        found, valid = [], Epoch(epoch, is_certain=True)
        prefix: bytes | None = None  # of the epoch in force; None: it was not looked up
        self.journals = []
        for record in self._read(position, end):
            if is_epoch(record):
                valid.begin(record.offset())
                prefix = prefix_of(record)
                self.journals.append((record.offset(), self._journal_of(record)))
                continue
            try:
                raw = self._codec.decode(record.value(), expected=_DECISION)
            except UndecodableError:  # its schema is known: no engine writes that
                continue
            except CodecError as error:
                if prefix is None:
                    prefix = self._prefix_at(epoch)
                if may_be_ours(record.value(), prefix):
                    raise self._unreadable(record, valid.epoch, error) from error
                continue
            if not valid.takes(*_place_of(raw)):
                continue
            try:
                found.append((record.offset(), decided_from(raw)))
            except ValueError as error:
                raise self._unreadable(record, valid.epoch, error) from error
        return found

    def _prefix_at(self, epoch: int) -> bytes:
        """Of an epoch that began before what is read. Empty: it is gone."""
        for record in self._read(max(0, epoch), epoch + 1):
            if is_epoch(record):
                return prefix_of(record)
        return b""

    def _unreadable(self, record: Record, epoch: int, why: Exception) -> KantorError:
        return KantorError(
            f"{self._where()}/{record.offset()} may be a decision of epoch {epoch}, and can't be read: {why}; register its "
            "schema in the registry again, or run the version of Kantor that wrote it"
        )

    def close(self) -> None:
        """Abandon it: what is queued may or may not come into the log, where it is void once somebody has taken it."""
        self._is_closed = True
        self._producer.purge()

    # -- beneath

    def _journal_of(self, epoch: Record) -> str:
        """Empty: it does not say."""
        try:
            return str(self._codec.decode(epoch.value(), expected="kantor.Epoch").get("journal_id", ""))
        except (
            CodecError
        ):  # somebody else's, or an engine's of later times: whose decisions are void, or will tell
            return ""

    def _write(self, records: Sequence[LogRecord]) -> None:
        topic, number = self._place
        produce = self._producer.produce
        self._acked, self._written = None, self._time.writing()
        last = len(records) - 1
        for n, record in enumerate(records):
            produce(
                topic,
                record.value,
                record.key,
                record.headers,
                number,
                on_delivery=self._on_acked if n == last else None,
            )
        deliver(self._producer, self._clock, lambda: self._is_closed)

    def _on_acked(self, error: Any, record: Any) -> None:
        if error is None:
            self._acked = record.offset(), record.timestamp()[1]
            self._written(self._acked[1])

    def _sampled_end(self) -> int:
        end = self._admin.ends([self._place]).get(self._place)
        if end is None:
            raise KafkaUnavailableError(f"{self._where()} is gone")
        return end

    def _without_new_owner(self, start: int, end: int) -> Iterator[Record]:
        for record in self._read(start, end):
            if is_epoch(record) and record.offset() > self.epoch:
                raise FencedError(f"{self._where()}: somebody has taken it at {record.offset()}")
            yield record

    def _find(self, value: bytes) -> int:
        for record in self._read(0, self._sampled_end()):
            if record.value() == value:
                return record.offset()
        raise KantorError(f"{self._where()}: the epoch record was acknowledged, and is not there")

    def _read(self, start: int, end: int) -> Iterator[Record]:
        """Every record in between. Nobody writes here in Kafka transactions; what of an old one is open is passed by."""
        if start >= end:
            return
        reader = self._clients.consumer(
            f"kantor-engine-log-reader-{self._place[1]}", ends=True, isolation="read_uncommitted", extra=_READ
        )
        try:
            reader.assign({self._place: start})
            reached, patience = start, self._clock.monotonic() + _PATIENCE
            while reached < end:
                batch = reader.poll(0.1, 2_000)
                for record in batch.records:
                    if record.offset() >= end:
                        return
                    yield record
                    reached = record.offset() + 1
                reached = max(reached, batch.ends.get(self._place, 0))
                now = self._clock.monotonic()
                if batch.records:
                    patience = now + _PATIENCE
                elif now > patience or self._is_closed:
                    raise KafkaUnavailableError(
                        f"{self._where()} was read up to {reached} only, not to {end}"
                    )
        finally:
            reader.close()

    def _where(self) -> str:
        return f"{self._place[0]}/{self._place[1]}"


def _place_of(raw: dict[str, Any]) -> tuple[int, int]:
    """A decision's epoch and entry; of what has none, one that never counts."""
    epoch, entry = raw.get("epoch"), raw.get("journal_offset")
    return (epoch, entry) if isinstance(epoch, int) and isinstance(entry, int) else (-2, -2)
