"""What the log has, and what it costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from kantor.envelope import shard_of
from kantor.testing.log import Entry
from kantor_orchestrator.core.transaction import Kind
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import is_epoch
from simulation.faults import Ahead
from simulation.ledger import form
from simulation.world import World

#: Bytes of a decision beside twice what it is made of (its entry is captured and quoted, a message's fields are in its transition and
#: in the message): facts, and each of its transitions. Half as much again as the largest took in hundreds of seeds.
_DECISION, _MOVE = 300, 450
#: Bytes of a retained record.
_STUB = 120
#: What an engine writes into the journal.
_WRITTEN = {journal.TIMER: "timer", journal.REFUSED: "refused"}


def nothing_leaves_unlogged(world: World) -> Iterator[str]:
    """Every message of the engine is in a valid decision, byte for byte; and what is logged has left."""
    ledger = world.ledger
    messages = [
        m for decisions in ledger.decisions.values() for decision in decisions for m in decision.messages
    ]
    logged = {form(message) for message in messages}
    for command in ledger.commands:
        if form(command.content) not in logged:
            yield f"{command.transaction}: {command.type} {command.id} at {command.place} is in no decision"
    for message in messages:
        if not ledger.has_left(message):
            yield f"{dict(message.headers)['ce_id']!r} for {message.topic} is logged, and was never sent"


def in_order(world: World) -> Iterator[str]:
    """The log has one decision for an entry, in the order of the journal."""
    for shard, decisions in world.ledger.decisions.items():
        offsets = [decision.journal_offset for decision in decisions]
        if any(one >= other for one, other in pairwise(offsets)):
            yield f"shard {shard}: the log's decisions are on the entries {offsets}"


def bounded(world: World) -> Iterator[str]:
    """What an entry of the journal costs, at most: of the history one record for each owner that decided on it, of a size
    that its own parts explain; of the state one snapshot for each checkpoint after a decision, no larger than all decisions on that
    transaction, a retained record of one that is at rest, and a mark for each source; of the journal no entry but for a timer that was set, a message that Kafka
    refused, a copy that was asked for, once for each owner."""
    for number in range(world.shards):
        yield from _history_bounded(world, number)
        yield from _state_bounded(world, number)
        yield from _journal_bounded(world, number)


def _history_bounded(world: World, number: int) -> Iterator[str]:
    sizes = {entry.offset(): _size(entry) for entry in _all(world, topics.JOURNAL, number)}
    seen = set[tuple[int, int]]()
    logged: Counter[str] = Counter()
    for entry in _all(world, topics.HISTORY, number):
        if is_epoch(entry):
            continue
        decided = world.ledger.decision(entry)
        what = decided.epoch, decided.journal_offset
        if what in seen:
            yield f"shard {number}: under epoch {what[0]} entry {what[1]} was decided on twice"
        seen.add(what)
        parts = sum(
            len(m.value) + len(m.key) + sum(len(n) + len(v) for n, v in m.headers) for m in decided.messages
        )
        limit = _DECISION + _MOVE * len(decided.transitions) + 2 * sizes[what[1]] + 2 * parts
        size, snapshot = _size(entry) - len(decided.snapshot), len(decided.snapshot)
        logged[decided.transaction_id] += size
        if size > limit:
            yield f"shard {number}: the decision on entry {what[1]} has {size} bytes, of {limit}"
        if snapshot > logged[decided.transaction_id]:
            yield f"shard {number}: the decision on entry {what[1]} has a snapshot of {snapshot} bytes, of {logged[decided.transaction_id]}"


def _state_bounded(world: World, number: int) -> Iterator[str]:
    """Between two shard records lies one checkpoint."""
    decided: defaultdict[str, list[int]] = defaultdict(list)
    for decision in world.ledger.decisions[number]:
        decided[decision.transaction_id].append(decision.journal_offset)
    logged: Counter[str] = Counter()
    for entry in _all(world, topics.HISTORY, number):
        logged[(entry.key() or b"").decode()] += _size(entry)
    position, rows = 0, Counter[bytes]()
    for entry in _all(world, topics.STATE, number):
        key = entry.key() or b""
        if key == topics.NOTHING_KEY:
            continue  # one for each owner
        if key != topics.SHARD_KEY:
            rows[key] += 1
            value = entry.value() or b""
            if key[:1] != b"\0" and len(value) > logged[key.decode()]:
                yield f"{key.decode()} has a snapshot of {_size(entry)} bytes, its log {logged[key.decode()]}"
            if key[:1] != b"\0" and len(value) > _STUB and world.ledger.could_be_stub(key.decode(), value):
                yield f"{key.decode()} is at rest, and its state has {len(value)} bytes, of {_STUB}"
            continue
        before, position = position, world.ledger.position_in(entry)
        for key, count in rows.items():
            changed = key[:1] == b"\0" or any(before <= n < position for n in decided[key.decode()])
            if count > 1 or not changed:
                yield f"shard {number}: the checkpoint at {position} after {before} has {key!r} {count} times"
        rows.clear()


def _journal_bounded(world: World, number: int) -> Iterator[str]:
    owners = sum(is_epoch(entry) for entry in _all(world, topics.HISTORY, number))
    leaps = sum(isinstance(fault, Ahead) for fault in world.plan.faults)
    allowed, found = Counter[tuple[bytes, str]](), Counter[tuple[bytes, str]]()
    for id_, moves in world.ledger.history.items():
        if shard_of(id_, world.shards) != number:
            continue
        key = id_.encode()
        # What went off while it was held goes off again; so does, once or twice, what a broker's clock had hastened that went back.
        allowed[key, "timer"] += 2 * leaps
        again = 1 + sum(move["kind"] == Kind.RELEASED for move in moves)
        for move in moves:
            t = move["transition"]
            allowed[key, "timer"] += bool(t.due) or t.kind is Kind.HELD
            allowed[key, "copy"] += t.kind is Kind.AGAIN_ASKED
            allowed[key, "refused"] += t.command is not None or t.kind is Kind.ENDED
        allowed[key, "timer"] *= again
    for entry in _all(world, topics.JOURNAL, number):
        if world.ledger.is_foreign(entry):
            continue
        headers = dict(entry.headers() or ())
        kind = headers.get(journal.ENTRY)
        what = "copy" if journal.AGAIN in headers else _WRITTEN.get(kind or b"")
        if what is not None:
            found[entry.key() or b"", what] += 1
    for (key, what), count in found.items():
        limit = allowed[key, what] * owners
        if count > limit:
            yield f"{key!r}: {count} entries are a {what}, of {limit}"


def _all(world: World, topic: str, number: int) -> list[Entry]:
    """What can be read of a partition."""
    return world.broker.log((topic, number)).read(0, 1_000_000, 1e12, committed=True)[0]


def _size(entry: Entry) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in entry.headers() or ())
    return len(entry.value() or b"") + len(entry.key() or b"") + headers
