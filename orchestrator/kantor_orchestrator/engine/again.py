"""Entries that were deferred come back as copies, at the journal's end (shard-24, shard-25; ``core.quarantine``).

A copy may come twice, late or never: the transaction's state waits for it, and asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from threading import Lock

from kantor.clients import Admin, Clients, Consumer, Partition, Record
from kantor.clock import Clock
from kantor.envelope import Headers
from kantor.errors import KafkaUnavailableError, KantorError
from kantor_orchestrator.engine.appending import EngineEntries
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.appending import LARGE, Alone

log = logging.getLogger("kantor.engine")

#: Seconds that one original may take to be read.
_PATIENCE = 10.0
#: One record is wanted: nothing is fetched ahead, and an empty fetch answers at once.
_FETCH = {"queued.min.messages": 1, "fetch.wait.max.ms": 10}


class Copies:
    """Reads originals from the journal and appends copies of them, beside the engine's thread."""

    def __init__(
        self, clients: Clients, admin: Admin, appender: EngineEntries, jobs: Executor, clock: Clock
    ) -> None:
        self._clients = clients
        self._appender = appender
        self._alone = Alone(clients, admin, clock, "kantor-engine-journal-large")
        self._one_by_one = Lock()  # large copies: a few of them would take all memory
        self._jobs = jobs
        self._clock = clock

    def ask(self, shard: int, transaction: str, offsets: Sequence[int]) -> None:
        """Append a copy of each of these entries of the shard's journal, in order."""
        self._jobs.submit(self._copy, shard, transaction, list(offsets))

    def _copy(self, shard: int, transaction: str, offsets: list[int]) -> None:
        place: Partition = (topics.JOURNAL, shard)
        offset = -1
        reader = self._clients.consumer(f"kantor-engine-again-{shard}", ends=True, extra=_FETCH)
        try:
            for offset in offsets:
                reader.assign({place: offset})
                found = self._read(reader, place, offset)
                if found is None:
                    value, why = None, f"the journal has lost the message at {offset}, which was deferred"
                    headers = _no_message(place, offset, why)
                elif not _is_message_of(transaction, found):  # a person named it, to start the transaction
                    value, why = None, f"the journal's entry {offset} is not a message of {transaction}"
                    headers = _no_message(place, offset, why)
                else:
                    value, headers = found.value(), list(found.headers() or ())
                self._append(shard, transaction, value, headers, offset)
        except Exception as error:  # noqa: BLE001 - told, and asked for again
            text = str(error) if isinstance(error, KantorError) else f"{type(error).__name__}: {error}"
            place_of = f"{topics.JOURNAL}/{shard}/{offset}"
            facts = {"action": "again_failed", "transaction": transaction}
            log.warning(
                "%s was deferred for %s and can't be brought back yet: %s",
                place_of,
                transaction,
                text,
                extra=facts,
            )
        finally:
            reader.close()

    def _append(
        self, shard: int, transaction: str, value: bytes | None, headers: Headers, offset: int
    ) -> None:
        """Behind the one before it, however large both are. What the journal does not take comes back as what can't be read:
        a person hears of it, and may do without it."""
        again = (journal.AGAIN, b"%d" % offset)
        size = len(value or b"") + sum(len(text) for _, text in headers if text)
        if size < LARGE:
            self._appender.copy(shard, transaction, value, [*headers, again])
            return
        self._appender.flush()
        with self._one_by_one:
            try:
                why = self._alone.append(value, transaction.encode(), [*headers, again], shard, size)
            except KantorError:
                self._alone.purge()
                raise
        if why:
            lost = _no_message((topics.JOURNAL, shard), offset, why)
            self._appender.copy(shard, transaction, None, [*lost, again])

    def close(self) -> None:
        self._alone.purge()

    def _read(self, reader: Consumer, place: Partition, offset: int) -> Record | None:
        """The entry; None if the journal has it no more."""
        patience = self._clock.monotonic() + _PATIENCE
        while self._clock.monotonic() < patience:
            batch = reader.poll(0.1, 1)
            for record in batch.records:
                return record if record.offset() == offset else None
            if batch.ends.get(place, -1) > offset:
                return None
        raise KafkaUnavailableError(
            f"{place[0]}/{place[1]}/{offset} could not be read within {_PATIENCE:.0f} s"
        )


def _is_message_of(transaction: str, entry: Record) -> bool:
    kind = dict(entry.headers() or ()).get(journal.ENTRY)
    return entry.key() == transaction.encode() and kind in (journal.EVENT, journal.COMMAND)


def _no_message(place: Partition, offset: int, why: str) -> list[tuple[str, bytes | None]]:
    where = f"{place[0]}/{place[1]}/{offset}".encode()
    return [
        (journal.ENTRY, journal.EVENT),
        (journal.ORIGIN, where),
        (journal.TIMESTAMP, b"0"),
        (journal.LOST, why.encode()),
    ]
