"""What the platform says that happened: history, snapshots and commands, read from the broker's committed records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kantor.codec import Codec
from kantor.envelope import KANTOR_SOURCE, child_id
from kantor.testing import MemoryBroker
from kantor.testing.broker import Topic
from kantor.testing.log import Entry, Log
from kantor_orchestrator.core.entry import timers_of
from kantor_orchestrator.core.transaction import ENDED, Incident, Transaction, Transition, evolve
from kantor_orchestrator.engine.memory import is_gone
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import is_epoch
from kantor_orchestrator.formats.snapshots import (
    Decided,
    Outgoing,
    Stub,
    decided_from,
    is_at_rest,
    state_from,
    transaction_record,
)
from kantor_orchestrator.operations.acts import moves_of
from kantor_schemas import system
from simulation.plan import label
from simulation.processes import SCHEMAS

#: Timers due later than this (ms) are nobody's who waits: a child is given all the time it takes, and the checkout has a
#: deadline beyond a run's end.
_LONG = 600_000


#: A message to the last byte.
Form = tuple[str, bytes, tuple[tuple[str, bytes], ...], bytes]


def form(message: Outgoing) -> Form:
    return message.topic, message.key, tuple(message.headers), message.value


def fold(found: Transaction, moves: Iterable[tuple[int, Transition]]) -> Transaction:
    """A transaction after these transitions, each of an entry of the journal. What nothing is left of after one begins again."""
    last = -1
    for offset, transition in moves:
        if offset != last and is_gone(found):
            found = Transaction(found.id)
        last = offset
        evolve(found, transition)
    return Transaction(found.id) if is_gone(found) else found


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it was sent."""

    id: str
    type: str
    transaction: str
    place: tuple[str, int, int]
    content: Outgoing


@dataclass(frozen=True, slots=True)
class Done:
    """One answer of a service that says what it did."""

    transaction: str
    step: str  # its label
    id: str
    cause: str
    place: tuple[str, int, int]


class Ledger:
    """Grows with :meth:`read`; forgets nothing."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._codec = Codec(SCHEMAS)
        self._encode = self._codec.encoder(system("TransactionState"), topics.STATE)
        self._positions: dict[Log, int] = {}
        #: Topics that are no more.
        self.gone: list[Topic] = []
        #: Records that none of the run's processes has written: not their places, for a topic may be recreated.
        self.foreign: set[Entry] = set()
        #: By transaction: the transitions that the log has of it, each with its decision's fields.
        self.history: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        #: By shard: the valid decisions, in order.
        self.decisions: defaultdict[int, list[Decided]] = defaultdict(list)
        self._epochs: defaultdict[int, int] = defaultdict(lambda: -1)
        self._decided: dict[tuple[int, int], Decided] = {}  # the valid ones, by shard and offset
        #: By shard: what people did to whole sagas.
        self.holds: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        #: By transaction: its last snapshot, or retained record; None for a tombstone.
        self.snapshots: dict[str, bytes | None] = {}
        self._shards: dict[str, int] = {}
        self.commands: list[Command] = []
        #: What these are.
        self.sent: set[Form] = set()
        #: The ids of messages that Kafka did not take, as the journal says.
        self.refused: set[str] = set()

    def read(self) -> None:
        """Take in what was committed since."""
        for name, topic in self._broker.topics.items():
            if name == topics.HISTORY:
                take = self._take_history
            elif name == topics.JOURNAL:
                take = self._take_journal
            elif name == topics.STATE:
                take = self._take_state
            elif name.startswith("cmd.") or name == topics.ENDED:
                take = self._take_command
            else:
                continue
            for log in topic.logs:
                found, self._positions[log], _ = log.read(
                    self._positions.get(log, 0), 1_000_000, 1e12, committed=True
                )
                for entry in found:
                    take(entry)

    def _take_history(self, entry: Entry) -> None:
        shard = entry.partition()
        if is_epoch(entry):
            self._epochs[shard] = entry.offset()
            return
        record = self._codec.decode(entry.value())
        if record["epoch"] != self._epochs[shard]:
            return
        decided = decided_from(record)
        decided.offset = entry.offset()
        self.decisions[shard].append(decided)
        self._decided[shard, decided.offset] = decided
        found = self.history[decided.transaction_id] if decided.transaction_id else self.holds[shard]
        for move, transition in zip(moves_of(record), decided.transitions, strict=True):
            found.append({**move, "transition": transition})

    def _take_journal(self, entry: Entry) -> None:
        if dict(entry.headers() or ()).get(journal.ENTRY) == journal.REFUSED and not self.is_foreign(entry):
            self.refused.add(journal.read(entry.value() or b"")["id"])

    def is_foreign(self, entry: Entry) -> bool:
        return entry in self.foreign

    def _take_state(self, entry: Entry) -> None:
        key = entry.key() or b""
        if key[:1] != b"\0":
            self.snapshots[key.decode()] = entry.value()
            self._shards[key.decode()] = entry.partition()

    def _take_command(self, entry: Entry) -> None:
        sent = [(name, value or b"") for name, value in entry.headers() or ()]
        headers = dict(sent)
        if self.is_foreign(entry) or headers["ce_source"] != KANTOR_SOURCE.encode():
            return
        id_, type_, transaction = (headers[f"ce_{name}"] for name in ("id", "type", "correlationid"))
        place = (entry.topic(), entry.partition(), entry.offset())
        content = Outgoing(entry.topic(), entry.key() or b"", sent, entry.value() or b"")
        self.sent.add(form(content))
        self.commands.append(Command(id_.decode(), type_.decode(), transaction.decode(), place, content))

    def decision(self, entry: Entry) -> Decided:
        """What a record of the history says, valid or not."""
        return decided_from(self._codec.decode(entry.value()))

    def position_in(self, entry: Entry) -> int:
        """The position in the journal that a shard record tells."""
        found: int = self._codec.decode(entry.value())["position"]
        return found

    def transaction(self, id_: str) -> Transaction | None:
        """As its last snapshot says, or that which its retained record points to."""
        snapshot = self.snapshots.get(id_)
        if snapshot is None:
            return None
        found = state_from(id_, self._codec.decode(snapshot))
        return self.pointed_to(self._shards[id_], found) if isinstance(found, Stub) else found

    def pointed_to(self, shard: int, stub: Stub) -> Transaction:
        """What a retained record is of. One that has no other id than its own, if that is no valid decision on it with a snapshot."""
        decided = self._decided.get((shard, stub.history))
        if decided is None or decided.transaction_id != stub.id or not decided.snapshot:
            return Transaction(stub.id)
        return decided.transaction()

    def could_be_stub(self, id_: str, value: bytes) -> bool:
        """Whether a state's record is of a transaction at rest."""
        found = state_from(id_, self._codec.decode(value))
        return isinstance(found, Stub) or is_at_rest(found)

    def held_by(self, shard: Shard, id_: str) -> Transaction | None:
        """What an engine's shard has of it, or what its retained record points to: nothing is read for it."""
        stub = shard.transactions.stub(id_)
        return shard.transactions.get(id_) if stub is None else self.pointed_to(shard.number, stub)

    def folded(self, id_: str) -> Transaction:
        """As its history says."""
        return fold(
            Transaction(id_), ((move["journal_offset"], move["transition"]) for move in self.history[id_])
        )

    def bytes_of(self, transaction: Transaction) -> bytes:
        """Its snapshot."""
        return self._encode(transaction_record(transaction))

    def has_left(self, message: Outgoing) -> bool:
        """Whether it was sent, or its refusal is in the journal."""
        return form(message) in self.sent or dict(message.headers)["ce_id"].decode() in self.refused

    def is_settled(self, id_: str) -> bool:
        """It ended, or waits visibly for a person and for nothing else, by itself or by way of a child."""
        moves = self.history.get(id_)
        if not moves:
            return False
        found = self.transaction(id_)
        if found is not None and any(due < found.updated_at + _LONG for due, *_ in timers_of(found)):
            return False  # of one that has ended: a copy is under way
        if moves[-1]["status"] in ENDED:
            return True
        if found is None:
            return False
        children = {child.id for child in self._children() if child.parent == id_}
        # What a child can't read is not known to begin it: it waits all the same, and its parent by way of it.
        children |= {child_id(id_, path, state.round) for path, state in found.steps.items()}
        return bool(found.incidents) or any(self.incidents(one) and self.is_settled(one) for one in children)

    def _children(self) -> list[Transaction]:
        """Those that have ended, too: what they tell of it may have been refused."""
        found = [self.transaction(id_) for id_ in self.history]
        return [one for one in found if one is not None and one.parent]

    def incidents(self, id_: str) -> list[Incident]:
        """What of a transaction waits for a person."""
        found = self.transaction(id_)
        return [] if found is None else found.incidents

    def records(self) -> Counter[str]:
        """By message id: how often it can be read, or could be."""
        found: Counter[str] = Counter()
        for entry in self._read_all(("evt.", "cmd.")):
            ids = [value or b"" for key, value in entry.headers() or () if key == "ce_id"]
            found.update(id_.decode("utf-8", "replace") for id_ in ids)
        return found

    def done(self) -> list[Done]:
        """What services said that they did: the committed ``Done``, each as often as it can be read, or could be."""
        found = []
        for entry in self._read_all(("evt.sim.",)):
            if self.is_foreign(entry):
                continue
            headers = {key: (value or b"").decode() for key, value in entry.headers() or ()}
            if headers["ce_type"].endswith(".Done"):
                step = headers["ce_type"].split(".")[-2]
                item = self._codec.decode(entry.value())["item"]
                place = (entry.topic(), entry.partition(), entry.offset())
                cause, txn = headers.get("ce_causationid", ""), headers["ce_correlationid"]
                found.append(Done(txn, label(step, item), headers["ce_id"], cause, place))
        return found

    def _read_all(self, prefixes: tuple[str, ...]) -> Iterator[Entry]:
        for topic in (*self._broker.topics.values(), *self.gone):
            for log in topic.logs if topic.logs[0].place[0].startswith(prefixes) else ():
                yield from log.read(0, 1_000_000, 1e12, committed=True)[0]
