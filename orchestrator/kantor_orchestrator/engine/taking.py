"""Taking a shard: what was committed, then what the log has behind it (docs/design/log.md).

In this order: ``init_transactions`` ends the last owner's checkpoint; then the end of the state partition (*read_uncommitted*), and
the state read up to it (*read_committed*): what is visible at once may lack that checkpoint. Then the epoch record: from its offset
on nobody else's decisions count. Then a Kafka transaction for nothing: it fails if somebody else has begun to take the shard
meanwhile, who may have committed checkpoints that were not read, or be about to. Then the log from the checkpoint's position up to the
epoch. The journal is read again from the checkpoint's position; up to the last entry that the log knows of, the log says what
follows.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from kantor.clients import Admin, Clients, Partition, Record
from kantor.clock import Clock
from kantor.codec import Codec
from kantor.errors import CodecError, KafkaUnavailableError, KantorError, UnknownSchemaError
from kantor_orchestrator.engine.checkpoint import DUE, EXPIRES, Checkpointer
from kantor_orchestrator.engine.ended import Ended
from kantor_orchestrator.engine.log import DecisionLog
from kantor_orchestrator.engine.lost import pass_lost_entries, tell_lost_decisions
from kantor_orchestrator.engine.memory import Budget, Transactions
from kantor_orchestrator.engine.sending import Refuse, Sender
from kantor_orchestrator.engine.shard import Facts, Shard, TopicIds
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.brokertime import BrokerTime
from kantor_orchestrator.formats.holds import Holds
from kantor_orchestrator.formats.snapshots import Decided
from kantor_orchestrator.store import Row, StoreFullError
from kantor_orchestrator.store.sqlite import SqliteStore

log = logging.getLogger("kantor.shard")

#: Half of the state topic's delete.retention.ms (24 h), in seconds: an older store may know what is long gone.
STORE_MAX_AGE = 12 * 3600.0
#: Snapshots that are put into the store at once, for each shard that is being taken; and records that are taken from the
#: client at once: each is a dozen objects, and all shards may be taken at once.
_ROWS, _POLLED = 1_000, 250
#: Seconds without a record before the end of the state after which taking it is given up.
_PATIENCE = 120.0
#: After this long (s) without a record before the end, the Kafka transaction that is open there has no owner: the last
#: owner's was ended by ``init_transactions``.
_HANGING = 2.0
#: An empty fetch, which brings the changelog's end, would wait 500 ms: half a second for each shard that is taken. All shards
#: may be taken at once, so little is fetched ahead.
_READ = {"fetch.wait.max.ms": 10, "queued.max.messages.kbytes": 2_048, "fetch.message.max.bytes": 1_048_576}


@dataclass(frozen=True)
class Means:
    """What all shards of a process share."""

    clients: Clients
    admin: Admin
    codec: Codec
    folder: Path
    jobs: Executor
    budget: Budget
    refuse: Refuse
    clock: Clock
    time: BrokerTime


@dataclass(slots=True)
class Taking:
    """A shard that is ours and is not taken yet. Written by the thread that takes it (``does``) and the engine's own."""

    since: float  # monotonic (s)
    not_before: float = 0.0
    job: Future[Shard] | None = None
    began: float = 0.0
    does: str = ""  # what the try under way is about
    failed: str = ""  # why the last one failed

    def again(self, not_before: float, failed: str) -> Taking:
        """The next try. What the last one hangs in may go on: it writes into its own."""
        return Taking(self.since, not_before, failed=failed)

    @property
    def why(self) -> str:
        return self.failed or self.does or "its turn has not come"


def take(number: int, means: Means, taking: Taking) -> Shard:
    """Take a shard. In a thread of its own: other shards go on. Raises ``KantorError``: try again, nothing was changed."""
    with ExitStack() as undo:
        shard = _take(number, means, taking, undo)
        undo.pop_all()
        return shard


def _take(number: int, means: Means, taking: Taking, undo: ExitStack) -> Shard:
    began = means.clock.monotonic()
    taking.does = "the last owner's Kafka transaction is being ended"
    checkpointer = Checkpointer(means.clients, number, means.codec, means.clock)
    undo.callback(checkpointer.close)
    checkpointer.producer.init_transactions()
    taking.does = f"{topics.STATE}/{number} is being read"
    restored = _Restored(number, means, checkpointer, undo)
    facts, ids = restored.facts, restored.ids
    again = _recreated(number, facts, ids)
    taking.does = f"its epoch is being written to {topics.HISTORY}/{number}"
    decisions = DecisionLog(
        means.clients, means.admin, number, uuid4().hex, means.codec, means.clock, means.time
    )
    undo.callback(decisions.close)
    epoch = decisions.begin(facts.position, ids.journal)
    taking.does = f"its Kafka transaction into {topics.STATE}/{number} is being confirmed"
    checkpointer.confirm()
    taking.does = f"{topics.HISTORY}/{number} is being read"
    behind = facts.history
    found = decisions.read_valid(behind, facts.epoch, epoch)
    for offset, decision in found:
        decision.offset = offset
    since = _since(decisions.journals, facts, ids, epoch)
    older = [decision for offset, decision in found if offset < since]
    recorded = deque(
        decision
        for offset, decision in found
        if offset >= since and decision.journal_offset >= facts.position
    )
    place: Partition = (topics.JOURNAL, number)
    taking.does = f"the end of {topics.JOURNAL}/{number} is asked for"
    end = means.admin.ends([place])[place]
    starts = means.admin.starts([place, (topics.HISTORY, number)])
    start = starts.get(place, 0)
    if _ids_of(means.admin) != ids:
        raise KantorError(f"{topics.JOURNAL} or {topics.HISTORY} was recreated just now")
    is_another = since > facts.history or _is_another(facts.ids.journal, ids.journal)
    facts.ids = ids
    shard = Shard(
        number,
        facts,
        Transactions(restored.store, means.codec, means.budget),
        decisions,
        Ended(means.clients, means.admin, number, means.codec, means.clock),
        Sender(means.clients, number, means.refuse),
        checkpointer,
        means.jobs,
        means.clock,
        recorded,
        end,
        restored.end,
    )
    taking.does = f"ended transactions are being read from {topics.HISTORY}/{number}"
    shard.read_ended(decision.transaction_id for _, decision in found)
    shard.recreated = again
    if is_another:
        shard.recorded = deque(older)
        _begin_anew(shard, start, deque(decision for offset, decision in found if offset >= since))
    elif end < facts.position:
        # What was decided behind the checkpoint on lower offsets was decided on the journal that there is now.
        decided = deque(decision for _, decision in found if decision.journal_offset < facts.position)
        _begin_anew(shard, start, decided)
    else:
        pass_lost_entries(shard, start)
    tell_lost_decisions(shard, behind, starts.get((topics.HISTORY, number), 0))
    log.info(
        "shard %d taken in %.2f s: %d records of the state, %d decisions behind them; journal position %d, epoch %d",
        number,
        means.clock.monotonic() - began,
        restored.records,
        len(recorded),
        shard.position,
        epoch,
        extra={"action": "shard_taken", "shard": number},
    )
    return shard


def _ids_of(admin: Admin) -> TopicIds:
    found = admin.topic_ids([topics.JOURNAL, topics.HISTORY])
    ids = (found.get(name, "") for name in (topics.JOURNAL, topics.HISTORY))
    return TopicIds(*("" if id_ in topics.NO_IDS else id_ for id_ in ids))


def _id_of_state(admin: Admin) -> str:
    id_ = admin.topic_ids([topics.STATE])[topics.STATE]
    return "" if id_ in topics.NO_IDS else id_


def _is_another(before: str, now: str) -> bool:
    """Whether a topic was deleted and recreated; that can't be told without ids."""
    return bool(before and now) and before != now


def _recreated(number: int, facts: Facts, ids: TopicIds) -> list[str]:
    """The topics that are others than those in which the checkpoint's positions count. A history that is another one is read from its
    beginning: what was decided behind the checkpoint is gone with the old one."""
    again = []
    if _is_another(facts.ids.journal, ids.journal):
        again.append(topics.JOURNAL)
    if _is_another(facts.ids.history, ids.history):
        again.append(topics.HISTORY)
        log.error(
            "%s/%d was deleted and recreated (its topic's id was %s, and is %s): entries after the last checkpoint are decided "
            "again, and their messages may be sent again in another form",
            topics.HISTORY,
            number,
            facts.ids.history,
            ids.history,
            extra={"action": "history_recreated", "shard": number},
        )
        facts.history, facts.epoch = 0, -1
    return again


def _since(journals: list[tuple[int, str]], facts: Facts, ids: TopicIds, end: int) -> int:
    """From which record of the history on the decisions are about the journal that there is now."""
    journal, since = facts.ids.journal, facts.history
    for offset, id_ in [*journals, (end, ids.journal)]:
        if id_ and id_ != journal:
            since, journal = offset if journal else since, id_
    return since


def _begin_anew(shard: Shard, start: int, decided: deque[Decided]) -> None:
    """The journal is another one: it was deleted and recreated, or has lost its end. What it has now is new."""
    if topics.JOURNAL not in shard.recreated:
        shard.recreated.append(topics.JOURNAL)
    log.error(
        "%s/%d ends at %d, although it was read up to %d: it was deleted and recreated, or has lost its end; "
        "it is now read from %d on, and lost entries may be missing",
        topics.JOURNAL,
        shard.number,
        shard.catch_up_to,
        shard.position,
        start,
        extra={"action": "journal_recreated", "shard": shard.number},
    )
    while shard.recorded:
        shard.fold(shard.recorded.popleft())
    shard.begin_anew(start, decided)


class _Restored:
    """What the state topic says: the facts, and a store that has every snapshot."""

    def __init__(self, number: int, means: Means, checkpointer: Checkpointer, undo: ExitStack) -> None:
        self._number = number
        self._means = means
        self._checkpointer = checkpointer
        self._place: Partition = (topics.STATE, number)
        self.ids = _ids_of(means.admin)
        topic_id = _id_of_state(means.admin)
        self.end = means.admin.ends([self._place])[self._place]
        path = means.folder / f"shard-{number}.db"
        self.store = SqliteStore(path, f"{topic_id}/{number}", STORE_MAX_AGE, means.clock)
        undo.callback(self.store.close)
        checkpointer.read_up_to(self.end, lambda: _is_another(topic_id, _id_of_state(means.admin)))
        self.facts = Facts()
        self.records = 0
        self._foreign = ""  # a shard record that can't be read
        #: By key: the last record of the shard's own, if its schema is unknown.
        self._lost: dict[bytes, str] = {}
        self._is_told = False  # where the shard stands
        try:
            self._read()
        except StoreFullError as error:
            self.store.do_without(str(error))
            self.facts = Facts()
            self._read()
        if self.store.journal_position > self.facts.position:
            # The broker said that a checkpoint was committed, and lost it in a crash (docs/decisions/0011).
            ahead = f"it is ahead of the state ({self.store.journal_position} > {self.facts.position})"
            self.store.wipe(ahead)
            self.facts = Facts()
            self._read()
        for said in self._lost.values():  # to pass over it would be to go on from what was before
            raise KantorError(said)
        if self._foreign and not self._is_told:
            # To begin at the journal's start would apply to these snapshots what is in them.
            raise KantorError(
                f"the shard's position is unknown: {self._foreign} was not written by an engine, and no earlier record is left; restore "
                f"{topics.STATE} from a backup, or recreate the journal, history and state"
            )

    def _read(self) -> None:
        """The shard's own records are not in the store: they are read from the whole changelog, which compaction keeps near
        the live transactions; snapshots that the store has are passed over."""
        store, end, clock = self.store, self.end, self._means.clock
        start = store.position
        if start > end:
            store.wipe(f"it is ahead of the changelog ({start} > {end})")
            start = 0
        waiting, closed = 0.0, False
        reader = self._means.clients.consumer(f"kantor-restore-{self._number}", ends=True, extra=_READ)
        try:
            reader.assign({self._place: 0})
            reached = 0
            rows: dict[str, Row | None] = {}
            while reached < end:
                batch = reader.poll(0.1, _POLLED)
                for record in batch.records:
                    key = record.key() or b""
                    self._take_in(key, record, rows, start)
                    reached = record.offset() + 1
                self.records += len(batch.records)
                reached = max(reached, batch.ends.get(self._place, 0))
                if len(rows) >= _ROWS and reached < end:
                    store.flush(rows, 0, 0)
                    rows = {}
                now = clock.monotonic()
                waiting = 0.0 if batch.records else waiting or now
                if waiting and now - waiting > _HANGING and not closed:
                    self._close_hanging(reached)
                    closed = True
                if waiting and now - waiting > _PATIENCE:
                    raise KafkaUnavailableError(
                        f"shard {self._number} was not restored up to {end}, only to {reached}"
                    )
            store.flush(rows, end, self.facts.position)
        finally:
            reader.close()

    def _take_in(self, key: bytes, record: Record, rows: dict[str, Row | None], start: int) -> None:
        try:
            if key[:1] == b"\0":
                self._lost.pop(key, None)
                self._fact(key, record.value())
            elif record.offset() >= start:
                rows[key.decode()] = _row(record)
        except UnknownSchemaError as error:  # it may be ours: a registry that has lost what it had
            place = "/".join(map(str, (*self._place, record.offset())))
            why = str(error).partition(";")[0]
            self._lost[key] = (
                f"{place} may say where the shard stands, and can't be read: {why}; register its schema in the registry again"
            )
        except (CodecError, ValueError, LookupError, TypeError) as error:
            place = "/".join(map(str, (*self._place, record.offset())))
            facts = {"action": "foreign_state", "shard": self._number}
            log.error("%s was not written by an engine, and is ignored: %s", place, error, extra=facts)
            if key == topics.SHARD_KEY:
                self._foreign = f"{place} ({error})"

    def _fact(self, key: bytes, value: bytes | None) -> None:
        facts, decode = self.facts, self._means.codec.decode
        if key == topics.SHARD_KEY and value is None:  # with all that was beside it (``Checkpointer``)
            self.facts, self._is_told = Facts(), False
            self._lost = {}
        elif key == topics.SHARD_KEY:
            found = decode(value)
            holds = Holds(found["holds"], found.get("acts", ()))
            ids = TopicIds(found.get("journal_id", ""), found.get("history_id", ""))
            self.facts = Facts(
                found["position"], found["clock"], found["history"], found["epoch"], holds, facts.marks, ids
            )
            self._is_told = True
        elif key.startswith(topics.MARK_PREFIX):
            source = key[len(topics.MARK_PREFIX) :].decode()
            if value is None:
                facts.marks.pop(source, None)
            else:
                facts.marks[source] = decode(value)["offset"]

    def _close_hanging(self, reached: int) -> None:
        """Abort what nobody will commit any more: an earlier Kafka transaction of ours whose marker the broker has lost in
        a crash. Any marker of this ``transactional.id`` closes it, so one is written for nothing."""
        log.warning(
            "shard %d: the Kafka transaction at %s/%d/%d hangs (the end is %d): it is aborted",
            self._number,
            *self._place,
            reached,
            self.end,
            extra={"action": "hanging_transaction", "shard": self._number},
        )
        producer = self._checkpointer.producer
        producer.begin()
        producer.produce(topics.STATE, None, topics.NOTHING_KEY, None, self._number)
        producer.flush()
        producer.abort()


def _row(record: Record) -> Row | None:
    value = record.value()
    if value is None:
        return None
    headers = dict(record.headers() or ())
    due, expires = headers.get(DUE), headers.get(EXPIRES)
    return value, int(due) if due else None, int(expires) if expires else None
