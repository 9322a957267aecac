"""What records mean to the view: records in, changes of rows out. No SQL, no Kafka, no clock.

Where a transaction and its steps stand comes from the history alone (view-2); the journal and the commands' topics tell what
was said, by whom and where. The topics are read independently, so any interleaving must give the same picture: a
transition carries what it needs, and messages are joined with it when they are shown. Within a partition the positions
decide (view-5): a record below its partition's position has been projected and changes nothing.

The hot path of the view: about 16 records a transaction, 1,000 transactions a second, beside everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

from kantor.clients import Partition, Record
from kantor.codec import Codec, SchemaStore
from kantor.envelope import KANTOR_SOURCE, TRANSACTION_ID, UNREADABLE
from kantor.errors import CodecError, UndecodableError, UnknownSchemaError
from kantor_orchestrator.core.transaction import Kind
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import Epoch, is_epoch, may_be_ours, prefix_of
from kantor_orchestrator.formats.marks import MALFORMED, Mark, load_uncorrelated
from kantor_orchestrator.view.facts import EntryFacts, detail_of, frame, frames
from kantor_orchestrator.view.kept import OlderFacts
from kantor_orchestrator.view.reading import HistoryReader, Said, UnfoldableError
from kantor_orchestrator.view.rows import Folded, RowChanges, TransactionRow
from kantor_orchestrator.view.sagas import SagaFacts, Sagas, keys_in

log = logging.getLogger("kantor.view")

#: Transactions in each of two generations kept in memory (view-10): most records are about one that was just seen. As many as a
#: batch can touch, so that no batch loads a transaction twice.
GENERATION = 10_000

_MESSAGES = (journal.EVENT, journal.COMMAND)
_OURS = KANTOR_SOURCE.encode()
#: Headers, in the order of the fields of facts.Entry and facts.Command.
_OF_ENTRIES = (journal.ENTRY, "ce_type", journal.ORIGIN, "ce_id", "ce_causationid", "ce_source")
_NUMBERS = (journal.TIMESTAMP, journal.TOPIC_ID, journal.AGAIN)
_OF_COMMANDS = ("ce_id", "ce_type", "ce_causationid")

#: Loads a transaction: its row, and its transitions so far.
Find = Callable[[str], tuple[TransactionRow, bytes] | None]
#: Projects a record; its partition and its offset.
RecordHandler = Callable[[Record, int, int], None]


class Projector:
    """Folds records into rows. After a failure it is thrown away: its rows have changed, the database has not."""

    def __init__(
        self,
        codec: Codec,
        schemas: SchemaStore,
        sagas: Sagas,
        find: Find,
        next_no: int,
        positions: Mapping[Partition, int],
        given_up: frozenset[int] = frozenset(),
        epochs: Mapping[int, Epoch] | None = None,
        patient_since: int = 0,
    ) -> None:
        """``find`` looks into the database, where ``next_no`` and what follows are free. ``given_up``: schema ids that
        stayed unknown for too long; history written with them is skipped, and counted. ``epochs``: by shard, as far as its
        history has been read. Older history than ``patient_since`` (ms) does not wait for its schema."""
        self._changes = RowChanges()
        self._read = HistoryReader(codec, schemas, lambda id_, s: self._changes.schemas.append((id_, s))).read
        self._sagas = sagas
        self._find = find
        self._next_no = next_no
        self._positions = dict(positions)
        self._given_up = given_up
        self._patient_since = patient_since
        self._first_unreadable = ""
        self._epochs = {shard: replace(epoch) for shard, epoch in (epochs or {}).items()}
        self._young: dict[str, TransactionRow] = {}
        self._old: dict[str, TransactionRow] = {}
        self._known_sagas: dict[tuple[str, int], SagaFacts] = {}
        #: By topic; any other is one of commands.
        self._handlers: dict[str, RecordHandler] = {
            topics.JOURNAL: self._entry, topics.HISTORY: self._move, topics.WATERMARKS: self._watermark,
        }  # fmt: skip

    def project(self, records: Iterable[Record]) -> RowChanges:
        """What these records change. The caller stores it, all or nothing.

        Raises ``UnknownSchemaError``, ``RegistryUnavailableError`` or ``KafkaUnavailableError``: wait, and project the
        same records again with a new projector.
        """
        changes = self._changes = RowChanges()
        count = position = 0
        topic, partition = "", -1
        handle: RecordHandler = self._command
        for record in records:
            offset = record.offset()
            if record.partition() != partition or record.topic() != topic:  # they come in runs
                if topic:
                    self._positions[topic, partition] = changes.positions[topic, partition] = position
                topic, partition = record.topic(), record.partition()
                position = self._positions.get((topic, partition), 0)
                handle = self._handlers.get(topic, self._command)
            if offset >= position:
                position = offset + 1
                count += 1
                handle(record, partition, offset)
        if topic:
            self._positions[topic, partition] = changes.positions[topic, partition] = position
        changes.records = count
        if changes.unreadable:
            log.error(
                "%d records were skipped; the first is %s",
                changes.unreadable,
                self._first_unreadable,
                extra={"action": "view_unreadable", "count": changes.unreadable},
            )
        return changes

    def position(self, partition: Partition) -> int:
        """The offset after the last record of it that was projected."""
        return self._positions.get(partition, 0)

    def recall(self, told: Iterable[OlderFacts]) -> RowChanges:
        """What an older view knows and Kafka does not any more. It comes before everything else."""
        changes = self._changes = RowChanges()
        for one in told:
            row = self._transaction(one.id, one.shard, one.started_at, one.is_known)
            row.unread = one.unread
            row.messages += one.messages
            row.entry = max((m.position for m in one.messages if isinstance(m, EntryFacts)), default=-1)
            for offset, value in one.moves:
                said = self._read(value)
                self._recalled(one.shard, said)
                self._apply(row, said, offset)
            row.updated_at = max((row.updated_at, *(message.at for message in one.messages)))
        return changes

    def unknown(self, records: Iterable[Record]) -> set[str]:
        """Transactions that ``find`` will have to be asked for, as far as the records' keys tell."""
        keys = {key for record in records if (key := record.key()) is not None}
        return {_text(key) for key in keys} - self._young.keys() - self._old.keys()

    # -- the journal

    def _entry(self, record: Record, shard: int, offset: int) -> None:
        headers = dict(record.headers() or ())
        key = record.key()
        at = record.timestamp()[1]
        kind = headers.get(journal.ENTRY)
        if key is None:
            return
        id_ = _text(key)
        if kind is None or not self._is_transaction(id_):
            said = headers.get(UNREADABLE)
            why = (
                said.decode("utf-8", "replace")
                if said
                else f"no entry of intake, of transaction {id_!r:.100}"
            )
            self._skip(record, why)
            return
        detail = ""
        if kind not in _MESSAGES:
            detail = detail_of(record.value() or b"")
        sent, topic, again = map(headers.get, _NUMBERS)
        row = self._transaction(id_, shard, at, kind != journal.ACT)
        row.entry = max(row.entry, offset)
        row.messages.append(
            (
                offset, at, *_texts(headers, _OF_ENTRIES), _number(sent) if sent else 0, detail,
                crc32(topic) if topic else 0, _number(again) if again else -1,
            )
        )  # fmt: skip

    # -- what intake says of itself

    def _watermark(self, record: Record, partition: int, offset: int) -> None:  # noqa: ARG002 - as the others
        changes, at = self._changes, record.timestamp()[1]
        kind, _, name = _text(record.key() or b"").partition("/")
        value = record.value()
        if value is None or kind not in ("mark", "uncorrelated"):
            return
        try:
            if kind == "mark":
                changes.refused += [(topic, why, at) for topic, why in Mark.load(value).refused.items()]
                changes.seen_intake = max(changes.seen_intake, at)
                return
            member, _, topic = name.partition("/")
            for reason, found in load_uncorrelated(value, at).items():
                changes.uncorrelated.append((topic, member, found.count, reason, found.sample, at))
        except MALFORMED as error:
            self._skip(record, f"no watermark: {error}")

    # -- the engine's commands, where they were sent

    def _command(self, record: Record, partition: int, offset: int) -> None:
        headers = dict(record.headers() or ())
        id_ = headers.get("ce_correlationid")
        if headers.get("ce_source") != _OURS or id_ is None:
            return  # somebody else's: the journal has it
        if not self._is_transaction(name := _text(id_)):
            self._skip(record, f"a command of Kantor, of transaction {name!r:.100}")
            return
        at = record.timestamp()[1]
        place = f"{record.topic()}/{partition}/{offset}"
        self._transaction(name, -1, at).messages.append((at, place, *_texts(headers, _OF_COMMANDS)))

    # -- the history

    def _move(self, record: Record, shard: int, offset: int) -> None:
        epoch = self._epochs.get(shard)
        if epoch is None:
            epoch = self._epochs[shard] = Epoch()
        if is_epoch(record):
            if epoch.entry >= 0:  # who takes the shard has not looked further yet; the one before had
                self._changes.looked_at[shard] = max(epoch.entry, self._changes.looked_at.get(shard, -1))
            epoch.begin(offset, prefix_of(record))
            self._changes.epochs[shard] = epoch
            return
        try:
            said = self._read(record.value())
        except UnfoldableError as error:
            if epoch.takes(error.epoch, error.journal_offset):
                self._changes.epochs[shard] = epoch
                self._lack(record, shard, str(error), "run the version of Kantor that wrote it")
            else:
                self._skip(record, str(error))
            return
        except UndecodableError as error:  # its schema is known: no engine writes that
            self._skip(record, str(error))
            return
        except CodecError as error:
            is_ours = may_be_ours(record.value(), epoch.prefix)
            is_young = record.timestamp()[1] > self._patient_since or (is_ours and epoch.prefix)
            if isinstance(error, UnknownSchemaError) and error.schema_id not in self._given_up and is_young:
                raise
            if is_ours:
                self._lack(record, shard, str(error), "register its schema in the registry again")
            else:
                self._skip(record, str(error))
            return
        if not epoch.takes(said.epoch, said.journal_offset):
            self._void(shard, offset, said, epoch)
            return
        self._changes.epochs[shard] = epoch
        if said.transaction_id:
            row = self._transaction(said.transaction_id, shard, said.at, said.has_transaction)
            self._apply(row, said, offset)
        else:  # of a whole saga
            self._hold(shard, said)

    def _hold(self, shard: int, said: Said) -> None:
        for move in said.moves:
            if move.kind is not Kind.IGNORED:
                reason = move.reason if move.kind is Kind.HELD else ""
                self._changes.holds.append((move.saga, shard, reason, move.at))

    def _apply(self, row: TransactionRow, said: Said, offset: int) -> None:
        record, changes, at = said.record, self._changes, said.at
        row.moves += (frame(offset, len(record)), record)
        if at > row.updated_at:
            row.updated_at = at
        folded = row.folded
        if folded is None:
            folded = row.folded = Folded(row.id)
        before = folded.open
        if folded.fold(said):
            changes.incidents_closed += [(at, row.no, n) for n in before if n not in folded.open]
            changes.incidents_opened += [
                (row.no, n, i.kind, i.step, i.reason, i.opened_at, 0)
                for n, i in folded.open.items()
                if n not in before
            ]
        txn = folded.txn
        facts = row.facts
        if facts is None or facts.saga != txn.saga or facts.version != txn.version:
            facts = row.facts = self._saga(txn.saga, txn.version)
        if said.captured and facts and len(row.keys) < len(facts.keys):
            for captured in said.captured:
                for name, text in keys_in(captured, facts.keys):
                    if row.keys.setdefault(name, text) is text:
                        changes.keys.append((name, text, row.no))

    def _recalled(self, shard: int, said: Said) -> None:
        """Of what an older view knew: what comes from Kafka goes on behind it."""
        epoch = self._epochs.setdefault(shard, Epoch())
        if said.journal_offset > epoch.entry:
            epoch.epoch, epoch.entry = said.epoch, said.journal_offset
            self._changes.epochs[shard] = epoch

    # -- looking things up

    def _transaction(self, id_: str, shard: int, at: int, is_known: bool = True) -> TransactionRow:
        """The row, listed among the changes. ``is_known``: it is more than the name in an operator action."""
        row = self._young.get(id_)
        if row is None:
            row = self._old.get(id_) or self._load(id_)
            if row is None:
                row = TransactionRow(self._next_no, id_, shard, at)
                self._next_no += 1
            if len(self._young) >= GENERATION:
                self._old, self._young = self._young, {}
            self._young[id_] = row
        if not row.touched:
            row.touched = True
            self._changes.transactions.append(row)
        if at > row.updated_at:
            row.updated_at = at
        elif at < row.seen_at:  # the topics are read in any order
            row.seen_at = at
            row.shown = None
        if row.shard < 0:
            row.shard = shard
        if is_known and not row.is_known:
            row.is_known, row.shown = True, None
        return row

    def _load(self, id_: str) -> TransactionRow | None:
        found = self._find(id_)
        if found is None:
            return None
        row, moves = found
        captured: list[dict[str, Any]] = []
        for _, value in frames(moves):
            said = self._read(value)
            if row.folded is None:
                row.folded = Folded(id_)
            row.folded.fold(said)
            captured += said.captured
        if (txn := row.txn) is not None:
            row.facts = self._saga(txn.saga, txn.version)
        names = row.facts.keys if row.facts else ()
        for fields in captured:
            for name, text in keys_in(fields, names):
                row.keys.setdefault(name, text)
        return row

    def _saga(self, name: str, version: int) -> SagaFacts | None:
        found = self._known_sagas.get((name, version))
        if found is None and name:
            found = self._sagas.get(name, version)
            if found is not None:
                self._known_sagas[name, version] = found
                self._changes.sagas.append(found)
        return found

    def _void(self, shard: int, offset: int, said: Said, epoch: Epoch) -> None:
        log.info(
            "%s/%d/%d is void: of epoch %d and entry %d, after epoch %d and entry %d",
            topics.HISTORY, shard, offset, said.epoch, said.journal_offset, epoch.epoch, epoch.entry,
            extra={"action": "history_void", "transaction": said.transaction_id},
        )  # fmt: skip

    def _is_transaction(self, id_: str) -> bool:
        """Whether this can be one's id: intake and engine write no others."""
        return id_ in self._young or id_ in self._old or TRANSACTION_ID.fullmatch(id_) is not None

    def _lack(self, record: Record, shard: int, why: str, remedy: str) -> None:
        """What counts, or may, can't be read: people are told of whom, and where (view-6)."""
        self._skip(record, why)
        why = f"{why.partition(';')[0]}; {remedy}"
        place, at, key = f"{topics.HISTORY}/{shard}/{record.offset()}", record.timestamp()[1], record.key()
        id_ = _text(key) if key is not None else ""
        if self._is_transaction(id_):
            row = self._transaction(id_, shard, at)
            row.unread, row.shown = row.unread or f"{place}: {why}", None
        else:
            id_ = ""
        self._changes.unread.append((shard, 1, place, id_, why, at))

    def _skip(self, record: Record, why: str) -> None:
        """Not the platform's own, or not to be read: it is counted, and told with the batch (view-6)."""
        changes = self._changes
        if not changes.unreadable:
            self._first_unreadable = f"{record.topic()}/{record.partition()}/{record.offset()}: {why}"
        changes.unreadable += 1


def _texts(headers: Mapping[str, bytes | None], names: tuple[str, ...]) -> list[str]:
    try:
        return [value.decode() if value else "" for value in map(headers.get, names)]
    except UnicodeDecodeError:
        return [(headers.get(name) or b"").decode("utf-8", "replace") for name in names]


def _number(value: bytes) -> int:
    try:
        return int(value) if len(value) < 20 else 0
    except ValueError:
        return 0


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
