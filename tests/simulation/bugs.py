"""Mutations that take away what one invariant promises, each to be caught by that one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kantor.clients import Record
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.core import addressing, fired, mending, messages, parents, sending
from kantor_orchestrator.core.acts import IMPOSSIBLE
from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.entry import COMPENSATION_RETRY, RETRY, Entry
from kantor_orchestrator.core.transaction import Kind, SentCommand, Status, StepStatus, Transaction
from kantor_orchestrator.engine.appending import EngineEntries
from kantor_orchestrator.engine.ended import Found
from kantor_orchestrator.engine.entries import Headers, NotYet, PayloadReader
from kantor_orchestrator.engine.log import DecisionLog
from kantor_orchestrator.engine.memory import AtRest, Transactions
from kantor_orchestrator.engine.messages import Messages
from kantor_orchestrator.engine.sending import Sender
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.engine.writing import LogWriter, Turn
from kantor_orchestrator.formats.appending import JournalAppender as JournalAppender
from kantor_orchestrator.formats.holds import Holds
from kantor_orchestrator.formats.snapshots import Outgoing
from kantor_orchestrator.formats.watermarks import Statements
from kantor_orchestrator.intake.loop import Intake
from simulation.mutation import Mutation, near

# -- the log and the checkpoint


def _without_the_last(read_valid: Any) -> Any:
    return lambda self, position, epoch, end: read_valid(self, position, epoch, end)[:-1]


def _one_too_far(take_checkpoint: Any) -> Any:
    def mutated(self: Shard, now: float) -> None:
        take_checkpoint(self, now)
        if self.pending and self._checkpoint is not None:
            self._checkpoint.position += 1

    return mutated


def _another_byte(send: Any) -> Any:
    def mutated(self: Sender, transaction: str, messages: list[Outgoing]) -> None:
        send(self, transaction, [Outgoing(m.topic, m.key, m.headers, m.value + b"\0") for m in messages])

    return mutated


def _twice(put: Any) -> Any:
    def mutated(self: LogWriter, item: Any) -> None:
        put(self, item)
        if isinstance(item, Turn) and item.record is not None:
            put(self, Turn(item.transaction, item.record, []))

    return mutated


def _all_of_them(checkpoint: Any) -> Any:
    def mutated(self: Transactions) -> Any:
        for id_, (txn, _) in self._cache.items():
            self.changed.setdefault(id_, txn)
        return checkpoint(self)

    return mutated


def _forgotten(_: Any) -> Any:
    def mutated(
        self: EngineEntries, transaction: str, message: Outgoing, why: str, done: Callable[[], None]
    ) -> None:
        done()

    return mutated


def _one_before(point: Any) -> Any:
    def mutated(self: Transactions, rows: Any) -> None:
        for _, in_log in self._ending.values():
            in_log.offset -= 1
        point(self, rows)

    return mutated


def _without_fingerprints(take_in: Any) -> Any:
    def mutated(self: Transactions, found: Found) -> None:
        for one in found.values():
            if not isinstance(one, str):
                one[0].fingerprints.clear()
        take_in(self, found)

    return mutated


def _unknown(_: Any) -> Any:
    def mutated(self: Shard, id_: str) -> Transaction | None:
        try:
            return self.transactions.get(id_)
        except AtRest:
            return None

    return mutated


# -- what comes from outside
def _guessed(original: Any) -> Any:
    def mutated(d: Decision, message: Any, steps: Any) -> str:
        try:
            found: str = original(d, message, steps)
            return found
        except addressing.AmbiguousError:
            paths = [path for step in steps for path in d.instances(step)]
            return d.first_of(paths, StepStatus.ACTIVE, StepStatus.IN_DOUBT) or paths[0]

    return mutated


def _without_holds(_: Any) -> Any:
    return lambda self: {"holds": {}, "acts": []}


# -- what comes from outside, and when


def _waits_until_it_can_be_read(read: Any) -> Any:
    def mutated(self: PayloadReader, entry: Entry, record: Record, headers: Headers) -> None:
        read(self, entry, record, headers)
        if entry.error:
            raise NotYet(entry.error)

    return mutated


def _stumbles(_: Any) -> Any:
    def mutated(self: Intake, record: Record, reason: str, detail: str = "") -> None:
        raise KafkaUnavailableError(reason)

    return mutated


def _confirmed_at_once(is_done: Any) -> Any:
    return lambda self: is_done(self) or True


def _all_is_read(_: Any) -> Any:
    return lambda self: 10**15


def _no_other_attempt(fired_: Any) -> Any:
    def mutated(d: Decision) -> None:
        if d.entry.timer not in (RETRY, COMPENSATION_RETRY):
            fired_(d)

    return mutated


# -- people, children, reversals


def _refuses(_: Any) -> Any:
    return lambda d, why, do: d.ignore(IMPOSSIBLE, "nobody may do that")


def _kept_for_the_start(_: Any) -> Any:
    return lambda d: messages.keep(d, d.entry)


def _opened_again(after_close: Any) -> Any:
    def mutated(d: Decision, message: Entry) -> None:
        after_close(d, message)
        if d.out and d.out[-1].kind is Kind.INCIDENT_OPENED:
            d.emit(Kind.REOPENED, status=Status.COMPENSATING, reason="an effect came after the end")

    return mutated


# -- what is sent


def _another_key(message: Any) -> Any:
    def mutated(*args: Any) -> SentCommand:
        command: SentCommand = message(*args)
        command.idempotency_key = command.id
        return command

    return mutated


def _nothing_is_asked(_: Any) -> Any:
    return lambda *args, **facts: None


def _announced_only(end: Any) -> Any:
    def mutated(self: Messages, *args: Any) -> Iterator[Outgoing]:
        yield next(end(self, *args))

    return mutated


BUGS = (
    Mutation(
        "recovery misses the last decision",
        (DecisionLog, "read_valid", _without_the_last),
        near(2),
        "engines",
        ("never contradicted",),
    ),
    Mutation(
        "a checkpoint claims an entry too many",
        (Shard, "take_checkpoint", _one_too_far),
        near(0),
        "engines",
        ("never contradicted",),
    ),
    Mutation(
        "what leaves is not what was logged",
        (Sender, "send", _another_byte),
        near(0),
        "",
        ("nothing leaves unlogged",),
    ),
    Mutation(
        "a refused message is forgotten",
        (EngineEntries, "refused", _forgotten),
        near(0),
        "people",
        ("nothing leaves unlogged",),
    ),
    Mutation("each decision is logged twice", (LogWriter, "put", _twice), near(0), "", ("in order",)),
    Mutation(
        "each checkpoint has everything",
        (Transactions, "checkpoint", _all_of_them),
        near(6),
        "",
        ("bounded",),
    ),
    Mutation(
        "what can't be read holds up its shard",
        (PayloadReader, "read", _waits_until_it_can_be_read),
        near(5_000_010),
        "all",
        ("nobody waits",),
    ),
    Mutation(
        "intake stumbles over what it can't attribute",
        (Intake, "_refuse", _stumbles),
        near(5_000_004),
        "all",
        ("no orphan",),
    ),
    Mutation(
        "what is under way counts as journaled",
        (JournalAppender, "is_done", _confirmed_at_once),
        near(0),
        "intakes",
        ("no orphan",),
    ),
    Mutation(
        "a timeout needs no watermark", (Statements, "low", _all_is_read), near(11), "intakes", ("no haste",)
    ),
    Mutation(
        "operator actions on what waits for a person are refused",
        (mending, "_each", _refuses),
        near(3),
        "people",
        ("a way forward",),
    ),
    Mutation(
        "a child that never began is waited for",
        (parents, "asks_before_start", _kept_for_the_start),
        near(5_000_126),
        "people",
        ("no orphan",),
    ),
    Mutation(
        "no attempt comes after a pause",
        (fired, "fired", _no_other_attempt),
        near(0),
        "services",
        ("bounded", "no orphan"),
    ),
    Mutation(
        "an answer that names no command is guessed to be the first open member's",
        (addressing, "addressed", _guessed),
        range(6_003_985, 6_003_986),
        "all",
        ("one effect, one reversal", "all or nothing"),
    ),
    Mutation(
        "a checkpoint has no holds", (Holds, "record", _without_holds), near(81), "people", ("standstill",)
    ),
    Mutation(
        "what took effect after a close opens it again",
        (messages, "_after_close", _opened_again),
        near(166),
        "people",
        ("closed is final",),
    ),
    Mutation(
        "each attempt has a key of its own",
        (sending, "message", _another_key),
        near(0),
        "services",
        ("all or nothing", "one effect, one reversal"),
    ),
    Mutation(
        "a child's end is not told to its parent",
        (Messages, "_end", _announced_only),
        near(12),
        "",
        ("no orphan",),
    ),
    Mutation(
        "nobody asks about a doubt", (sending, "ask", _nothing_is_asked), near(18), "services", ("no orphan",)
    ),
    Mutation(
        "a retained record points to another decision",
        (Transactions, "point", _one_before),
        near(1),
        "",
        ("same state",),
    ),
    Mutation(
        "after the end a duplicate is news",
        (Transactions, "take_in", _without_fingerprints),
        near(5),
        "",
        ("same state",),
    ),
    Mutation("what has ended is unknown", (Shard, "get", _unknown), near(75), "all", ("once",)),
)
