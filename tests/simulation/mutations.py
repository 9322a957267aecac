"""Bugs that the simulation must find: each a small change of the platform's code, with a name.

A mutation that no seed catches shows a hole in the simulation, or a second line of defence that makes the change
harmless; the latter are not kept here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from kantor.delivery import TransactionalDelivery
from kantor.envelope import Envelope
from kantor.inbox import Action, Inbox
from kantor.incoming import Incoming
from kantor.testing import MemoryClients
from kantor.testing.producer import MemoryProducer
from kantor_orchestrator.core import decide as decide_module
from kantor_orchestrator.core import groups, progress, reversal
from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.saga import Saga, Step
from kantor_orchestrator.core.transaction import AFTER_PIVOT, Kind
from kantor_orchestrator.engine import deciding
from kantor_orchestrator.engine.checkpoint import Checkpoint, Checkpointer
from kantor_orchestrator.engine.log import DecisionLog
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.writing import LogWriter, Turn
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.history import is_epoch
from kantor_orchestrator.formats.holds import Holds
from kantor_orchestrator.formats.snapshots import Decided, decided_from
from kantor_orchestrator.formats.watermarks import Statements
from kantor_orchestrator.intake.loop import Intake
from simulation.bugs import BUGS
from simulation.mutation import NO_CRASH, Mutation, near
from simulation.view_bugs import VIEW_BUGS

# -- decide


def _forget_doubt(emit: Any) -> Any:
    def mutated(self: Any, kind: Kind, **facts: Any) -> None:
        emit(self, Kind.FAILED if kind is Kind.DOUBTED else kind, **facts)

    return mutated


def _late_is_nothing(original: Any) -> Any:
    def mutated(d: Decision) -> None:
        if d.txn.status != "compensated":
            original(d)

    return mutated


def _nothing_is_later(_: Any) -> Any:
    return property(lambda self: {path: frozenset() for path in self.steps})


# -- the engine


def _store_first(take_checkpoint: Any) -> Any:
    def mutated(self: Shard, now: float) -> None:
        take_checkpoint(self, now)
        assert self._checkpoint is not None
        self.transactions._store.flush(self._checkpoint.rows, self._changelog, self._checkpoint.position)

    return mutated


def _position_apart(commit: Any) -> Any:
    def mutated(self: Checkpointer, checkpoint: Checkpoint) -> float:
        own = {
            "position": checkpoint.position,
            "clock": checkpoint.clock,
            "epoch": checkpoint.epoch,
            "history": checkpoint.history,
            **checkpoint.holds,
        }
        assert isinstance(self.producer, MemoryProducer)
        plain = self.producer._clients.producer("apart")
        plain.produce(topics.STATE, self._encode_shard(own), topics.SHARD_KEY, None, self._number)
        plain.flush()
        found: float = commit(self, checkpoint)
        return found

    return mutated


def _no_fence(producer: Any) -> Any:
    lives = iter(range(10**9))

    def mutated(self: Any, client_id: str, *, transactional_id: str | None = None, **rest: Any) -> Any:
        own = None if transactional_id is None else f"{transactional_id}-{next(lives)}"
        return producer(self, client_id, transactional_id=own, **rest)

    return mutated


def _no_marks(mark: Any) -> Any:
    def mutated(self: Shard, source: str, offset: int) -> None:
        self.marks[source] = max(offset, self.marks.get(source, -1))

    return mutated


def _no_timers(_: Any) -> Any:
    def mutated(self: Shard, now: int) -> None:
        self.timers.horizon = now + 10**9

    return mutated


def _unknown_is_read(_: Any) -> Any:
    return lambda self, topic, count: min(self._times.get(topic, []), default=self._latest)


def _forget_early(consider: Any) -> Any:
    def mutated(saga: Any, txn: Any, entry: Any, now: int, hold: str = "") -> Any:
        transitions, after = consider(saga, txn, entry, now, hold)
        kept = [t for t in transitions if t.kind is not Kind.KEPT]
        return kept, after if len(kept) == len(transitions) else txn

    return mutated


def _act_first(append: Any) -> Any:
    """Only of the log: what is appended is acted on before, so the writer's order is turned round."""

    def mutated(self: LogWriter) -> None:
        turns = [item for item in self._waiting if isinstance(item, Turn)]
        for turn in turns:
            self._sender.send(turn.transaction, turn.messages)
        self._sender.poll()
        append(self)

    return mutated


def _no_owner_is_new(_: Any) -> Any:
    def mutated(self: DecisionLog, start: int, end: int) -> Any:
        return self._read(start, end)

    return mutated


def _all_is_valid(_: Any) -> Any:
    def mutated(self: DecisionLog, position: int, epoch: int, end: int) -> Any:
        records = [record for record in self._read(position, end) if not is_epoch(record)]
        return [(r.offset(), decided_from(self._codec.decode(r.value()))) for r in records]

    return mutated


def _nothing_is_recorded(_: Any) -> Any:
    return lambda self, position, epoch, end: []


def _not_sent_again(fold: Any) -> Any:
    def mutated(self: Shard, decision: Decided) -> None:
        decision.messages.clear()
        fold(self, decision)

    return mutated


# -- intake


def _commit_first(journal: Any) -> Any:
    def mutated(self: Intake, records: Any) -> None:
        self._consumer.commit({(r.topic(), r.partition()): r.offset() + 1 for r in records}, wait=True)
        journal(self, records)

    return mutated


# -- the kit


def _no_memory(_: Any) -> Any:
    return lambda self, key: None


def _always_reversible(_: Any) -> Any:
    return lambda self, action: Action(1, 0, None)


def _answers_are_new(_: Any) -> Any:
    def mutated(self: Incoming) -> str:
        key = self.headers.get("ce_idempotencykey") if self.handler.is_command else None
        return key.decode() if key else f"{self.headers['ce_source']!r}\n{self.message_id}"

    return property(mutated)


# -- composites, pivots, people, the view


def _one_less(judge: Any) -> Any:
    def mutated(d: Decision, step: Step, *rest: Any) -> None:
        judge(d, step if not step.need else dataclasses.replace(step, need=step.need - 1), *rest)

    return mutated


def _nobody(_: Any) -> Any:
    return lambda self, saga: ""


def _nothing(_: Any) -> Any:
    return lambda *args, **facts: None


def _without_positions(_: Any) -> Any:
    def mutated(self: TransactionalDelivery, answers: Any, positions: Any) -> None:
        self._producer.begin()
        for topic, value, key, headers in answers:
            self._producer.produce(topic, value, key, headers)

    return mutated


def _without_questions(headers: Any) -> Any:
    return lambda self: [(name, value) for name, value in headers(self) if name != "ce_asks"]


def _late_pivots_are_fine(emit: Any) -> Any:
    def mutated(self: Any, kind: Kind, **facts: Any) -> None:
        if kind is not Kind.COMPENSATION_FAILED or facts["code"] != AFTER_PIVOT:
            emit(self, kind, **facts)

    return mutated


def _never(_: Any) -> Any:
    return lambda *args: False


def _of_no_item(names: Any) -> Any:
    def mutated(self: Incoming, action: Any) -> Any:
        self.item = ""
        return names(self, action)

    return mutated


MUTATIONS = (
    Mutation(
        "a step in doubt is taken for failed",
        (Decision, "emit", _forget_doubt),
        near(36),
        "",
        ("all or nothing",),
    ),
    Mutation(
        "an effect after the end is not reversed",
        (progress, "settle", _late_is_nothing),
        near(4),
        "services",
        ("all or nothing",),
    ),
    Mutation(
        "all steps are compensated at once", (Saga, "later", _nothing_is_later), near(11), "", ("reverse",)
    ),
    Mutation(
        "what comes before its start is dropped",
        (deciding, "consider", _forget_early),
        near(6),
        "",
        ("no haste", "no orphan", "all or nothing"),
    ),
    Mutation(
        "the store is flushed before the commit",
        (Shard, "take_checkpoint", _store_first),
        near(98),
        "engines",
        (NO_CRASH, "never contradicted", "same state"),
    ),
    Mutation(
        "the position is not in the Kafka transaction",
        (Checkpointer, "commit", _position_apart),
        near(0),
        "engines",
        ("never contradicted",),
    ),
    Mutation(
        "the last owner is not fenced",
        (MemoryClients, "producer", _no_fence),
        near(0),
        "engines",
        ("bounded", "never contradicted", "same state"),
    ),
    Mutation("marks are not written", (Shard, "mark", _no_marks), near(0), "", ("same state",)),
    Mutation(
        "timers are not restored", (Shard, "load_timers", _no_timers), near(12), "engines", ("no orphan",)
    ),
    Mutation(
        "a source that nobody read is taken for read",
        (Statements, "_lowest", _unknown_is_read),
        near(47),
        "intakes",
        ("no haste",),
    ),
    Mutation(
        "messages leave before they are logged",
        (LogWriter, "_work", _act_first),
        near(23),
        "engines",
        ("nothing leaves unlogged",),
    ),
    Mutation(
        "a new owner goes unnoticed",
        (DecisionLog, "_without_new_owner", _no_owner_is_new),
        near(22),
        "engines",
        ("nothing leaves unlogged",),
    ),
    Mutation(
        "void decisions count",
        (DecisionLog, "read_valid", _all_is_valid),
        near(12),
        "engines",
        ("never contradicted",),
    ),
    Mutation(
        "recovery decides",
        (DecisionLog, "read_valid", _nothing_is_recorded),
        near(0),
        "engines",
        (NO_CRASH, "never contradicted", "in order"),
    ),
    Mutation(
        "recovery sends nothing",
        (Shard, "fold", _not_sent_again),
        near(59),
        "engines",
        ("nothing leaves unlogged",),
    ),
    Mutation(
        "intake commits before it journals",
        (Intake, "_journal", _commit_first),
        near(38),
        "all",
        ("no orphan",),
    ),
    Mutation("the inbox forgets its answers", (Inbox, "answers", _no_memory), near(60), "", ("once",)),
    Mutation(
        "what never happened is reversed",
        (Inbox, "action", _always_reversible),
        near(5),
        "",
        ("one effect, one reversal",),
    ),
    Mutation(
        "the kit's fence is removed", (Inbox, "fence", _nothing), near(6_100_033), "", ("all or nothing",)
    ),
    Mutation("a hold is ignored", (Holds, "of", _nobody), near(2), "people", ("standstill",)),
    Mutation("a release is lost", (decide_module, "_release", _nothing), near(2), "people", ("no orphan",)),
    Mutation("a pivot is ignored", (reversal, "pivot_status", _nothing), near(14), "", ("all or nothing",)),
    Mutation("one member less is enough", (progress, "_judge", _one_less), near(12), "", ("all or nothing",)),
    Mutation(
        "a service's positions are not in its Kafka transaction",
        (TransactionalDelivery, "_write", _without_positions),
        near(34),
        "services",
        ("once",),
    ),
    Mutation("a question is nobody's", (Envelope, "headers", _without_questions), near(1096), "", ("once",)),
    Mutation(
        "a member that is not needed is kept", (groups, "is_left_out", _never), near(776), "", ("no surplus",)
    ),
    Mutation("all items are one action", (Incoming, "_names_of", _of_no_item), near(307), "", ("once",)),
    *BUGS,
    *VIEW_BUGS,
)

#: Too rare for seeds: what they take are plans of their own.
TOLD_TWICE = Mutation(
    "a fact told twice is two facts", (Incoming, "key", _answers_are_new), range(0), "", ("once",)
)
LATE_PIVOT = Mutation(
    "a pivot that was given up may act",
    (Decision, "emit", _late_pivots_are_fine),
    range(0),
    "",
    ("all or nothing",),
)
