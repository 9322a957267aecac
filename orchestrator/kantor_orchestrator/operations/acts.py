"""What people do to transactions and sagas, as the API and the command line ask for it: entries of the journal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import asdict

from kantor.clients import Clients, Record
from kantor.codec import Codec
from kantor.envelope import TRANSACTION_ID, shard_of
from kantor.errors import CodecError, KantorError, NotFoundError
from kantor.schemas import schema_store
from kantor_orchestrator.core.acts import DONE_ALREADY, NO_TRANSACTION
from kantor_orchestrator.core.transaction import Kind
from kantor_orchestrator.core.values import plain
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import Epoch, is_epoch
from kantor_orchestrator.formats.sharding import in_force
from kantor_orchestrator.formats.snapshots import transitions_from

log = logging.getLogger("kantor.acts")

#: Seconds that the engine has to answer.
PATIENCE = 10.0

#: Records of a shard's history that are read before the answer: the epoch in force is told by the last ones.
BACK = 200

#: What the engine made of an operator action: one of a decision's transitions, with the decision's own fields.
Move = dict[str, Any]


class NoAnswerError(KantorError):
    """The operator action is in the journal and will be carried out; nobody has done so yet."""


class Acts:
    """Writes operator actions, and waits for what the engine makes of them. What they mean, and when they are not possible:
    ``core.acts`` and ``holds``."""

    def __init__(self, kafka: Clients, registry_url: str = "") -> None:
        """Raises ``NotFoundError`` where no platform has run yet, ``KantorError`` where Kafka does not answer."""
        self._kafka = kafka
        self._admin = kafka.admin()
        self._shards = in_force(kafka, self._admin)
        if not self._shards:
            raise NotFoundError("there is no platform on this cluster: start it with `kantor run`")
        self._producer = kafka.producer("kantor-acts", linger_ms=0)
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
        """Do something to a transaction; the transitions that the engine made of it, of which ``ignored`` says why not.

        ``id_``: give the same again, and it is done once (``ignored``, code ``done_already``). Raises ``NotFoundError`` if the
        engine does not know the transaction, ``NoAnswerError``, and ``KafkaUnavailableError`` (give the same id again)."""
        if not TRANSACTION_ID.fullmatch(transaction_id):
            raise NotFoundError(
                f"there is no transaction {transaction_id[:200]!r}: an id has up to 128 of A-Z, a-z, 0-9 and ._:-; nothing was done"
            )
        entry = journal.ActEntry(id_ or str(uuid4()), act, actor, why, step, dict(fields or {}))
        shard = shard_of(transaction_id, self._shards)
        moves = self._answers({entry.id}, {shard}, lambda: self._write(entry, transaction_id.encode(), shard))
        if not moves:
            raise NoAnswerError(
                f"the engine has not answered in {PATIENCE:.0f} s: the operator action is in the journal and will be carried out; "
                f"see `kantor status` and `kantor trace {transaction_id}`"
            )
        found = _joined(moves[entry.id])
        if any(move["code"] == NO_TRANSACTION for move in found):
            raise NotFoundError(
                f"there is no transaction {transaction_id} that a saga follows: either nothing that a saga names has come for it "
                f"(yet), or it ended long ago; nothing was done"
            )
        return found

    def do_many(
        self, act: str, transactions: Mapping[str, str], *, actor: str, why: str
    ) -> dict[str, list[Move]]:
        """The same to several transactions, by id the operator action's id: the transitions that the engine made of each; those that it has
        not answered for are left out: the operator action is in the journal and will be carried out. Raises as :meth:`do`, but for
        ``NoAnswerError``."""
        entries = {id_: journal.ActEntry(act_id, act, actor, why) for id_, act_id in transactions.items()}
        owners = {entry.id: id_ for id_, entry in entries.items()}

        def write() -> None:
            for id_, entry in entries.items():
                shard = shard_of(id_, self._shards)
                self._producer.produce(topics.JOURNAL, entry.dump(), id_.encode(), journal.ACT_HEADERS, shard)
            self._producer.flush()

        shards = {shard_of(id_, self._shards) for id_ in entries}
        answers = self._answers(set(owners), shards, write)
        return {owners[act_id]: _joined(moves) for act_id, moves in answers.items()}

    def do_to_all(self, act: str, saga: str, *, actor: str, why: str, id_: str = "") -> list[Move]:
        """Hold or release a saga (``holds.ALL``: every one): an entry for every shard, and a transition of each. Raises as
        :meth:`do`; ``NoAnswerError`` if some shard has not answered."""
        entry = journal.ActEntry(id_ or str(uuid4()), act, actor, why, saga=saga)

        def write() -> None:
            for shard in range(self._shards):
                self._write(entry, None, shard)

        moves = self._answers({entry.id}, set(range(self._shards)), write, of_each=self._shards).get(
            entry.id, {}
        )
        if len(moves) < self._shards:
            raise NoAnswerError(
                f"within {PATIENCE:.0f} s the engine has answered for only {len(moves)} of {self._shards} shards: the operator action is in the "
                "journal and will be carried out; see `kantor status`"
            )
        return _joined(moves)

    def _write(self, entry: journal.ActEntry, key: bytes | None, shard: int) -> None:
        self._producer.produce(topics.JOURNAL, entry.dump(), key, journal.ACT_HEADERS, shard)
        self._producer.flush()

    def _answers(
        self, ids: AbstractSet[str], shards: AbstractSet[int], write: Callable[[], None], of_each: int = 1
    ) -> dict[str, dict[int, list[Move]]]:
        """By the action's id and shard: the transitions that name it, up to the first ones of ``of_each`` shards."""
        history = [(topics.HISTORY, shard) for shard in sorted(shards)]
        ends, starts = self._admin.ends(history), self._admin.starts(history)
        reader = self._kafka.consumer("kantor-acts")
        try:
            reader.assign({place: max(starts.get(place, 0), end - BACK) for place, end in ends.items()})
            write()
            deadline = time.monotonic() + PATIENCE
            heard = Heard(self._codec, ids, {number: end for (_, number), end in ends.items()})
            while not _all_there(heard.moves, ids, of_each) and time.monotonic() < deadline:
                for record in reader.poll(0.1).records:
                    heard.take(record)
            return heard.moves
        finally:
            reader.close()


class Heard:
    """Answers to operator actions, as the history has them. What counts for nothing, written by an engine that had lost the shard, is no
    answer: the one that has it says what was done (view-17)."""

    def __init__(self, codec: Codec, ids: AbstractSet[str], since: Mapping[int, int]) -> None:
        """``ids``: of the operator actions. ``since``: by shard, the first record that may be an answer; what is read before it tells which
        epoch is in force."""
        #: By the action's id and shard.
        self.moves: dict[str, dict[int, list[Move]]] = {}
        self._codec = codec
        self._ids = ids
        self._since = since
        self._epochs = {shard: Epoch() for shard in since}

    def take(self, record: Record) -> None:
        shard, offset = record.partition(), record.offset()
        epoch = self._epochs[shard]
        if is_epoch(record):
            epoch.begin(offset)
            return
        try:
            decision = self._codec.decode(record.value())
            counts = epoch.takes(decision["epoch"], decision["journal_offset"])
            if counts and offset >= self._since[shard] and decision["message_id"] in self._ids:
                made = moves_of(decision)
                self.moves.setdefault(decision["message_id"], {}).setdefault(shard, []).extend(made)
        except (CodecError, LookupError, ValueError) as error:
            place = f"{topics.HISTORY}/{shard}/{offset}"
            log.warning("%s is not a decision: %s", place, error, extra={"action": "no_decision"})


def moves_of(decision: dict[str, Any]) -> list[Move]:
    """The transitions of a ``kantor.Decision``."""
    shared = {
        name: value for name, value in decision.items() if name not in ("transitions", "messages", "snapshot")
    }
    transitions = transitions_from(decision["transitions"])
    return [{**shared, **_facts(transition), "status": shared["status"]} for transition in transitions]


def _facts(of: Struct) -> dict[str, Any]:
    """Its fields, as JSON may have them."""
    return {
        name: _facts(value) if isinstance(value, Struct) else plain(value)
        for name, value in asdict(of).items()
    }


def refusal(moves: Sequence[Move]) -> str:
    """Why the engine did not do it; empty: it did, now or before, at least in part."""
    if any(move["kind"] != Kind.IGNORED for move in moves):
        return ""  # what was ignored besides is of what followed, or of a step that the operator action could do nothing for
    reasons = [str(move["reason"]) for move in moves if move["code"] != DONE_ALREADY]
    return "; ".join(dict.fromkeys(reasons))  # each shard says the same of an operator action on a saga


def _all_there(moves: Mapping[str, Mapping[int, list[Move]]], ids: AbstractSet[str], of_each: int) -> bool:
    return len(moves) == len(ids) and all(len(found) >= of_each for found in moves.values())


def _joined(by_shard: Mapping[int, list[Move]]) -> list[Move]:
    return [move for shard in sorted(by_shard) for move in by_shard[shard]]
