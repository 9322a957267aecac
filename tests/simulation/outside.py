"""What happens to a run from outside, each at its time: the shop speaks, people act, whoever runs the broker does something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kantor import Message
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.testing.log import Entry
from kantor.writing import Writer
from kantor_orchestrator import journal, topics
from kantor_orchestrator.core import acts
from kantor_orchestrator.holds import HOLD, RELEASE
from simulation import services as acting
from simulation.faults import Act, Again, Compact, Freeze, Held, Refuse, Stop, Told
from simulation.plan import Plan, Started
from simulation.processes import SCHEMAS
from simulation.shapes import START

if TYPE_CHECKING:
    from simulation.world import World


@dataclass(frozen=True, slots=True)
class Release:
    """A person lets the saga ("": every one) go on."""

    saga: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The topic can be written to again."""

    topic: str


Happening = Freeze | Stop | Again | Compact | Started | Act | Held | Told | Release | Refuse | Accept
#: A moment (s), a number that orders what happens then, and what happens.
Due = tuple[float, int, Happening]


def _due(plan: Plan) -> list[Due]:
    found: list[Due] = []
    for number, fault in enumerate(plan.faults):
        if isinstance(fault, Freeze | Stop | Again | Compact | Act | Held | Told | Refuse):
            found.append((fault.at, number, fault))
        if isinstance(fault, Held):
            found.append((fault.at + fault.seconds, number, Release(fault.saga)))
        elif isinstance(fault, Refuse):
            found.append((fault.at + fault.seconds, number, Accept(fault.topic)))
    for number, one in enumerate(plan.transactions):
        found.append((one.at, -1 - number, one))
    return sorted(found, key=lambda due: due[:2], reverse=True)


class Outside:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shape = world.plan.shape
        self._due = _due(world.plan)
        self._ids = {one.id for one in world.plan.transactions}
        self._acts = 0
        self._starter = Writer("shop" if self._shape.example else "sim.shop", Codec(SCHEMAS))
        self._clients = world.broker.clients()
        self._producer = self._clients.producer("shop")
        #: Records that were written twice: (topic, partition, offset).
        self.repeated: set[tuple[str, int, int]] = set()

    @property
    def is_over(self) -> bool:
        return not self._due

    def turn(self, now: float) -> None:
        """Do what is due."""
        while self._due and self._due[-1][0] <= now:
            self._happen(self._due.pop()[2], now)

    def _happen(self, what: Happening, now: float) -> None:
        world, note = self._world, self._world.note
        if isinstance(what, Started):
            note(f"{what.id} begins")
            self._say(acting.start_message(self._shape, what), what.id)
        elif isinstance(what, Told) and what.transaction not in self._ids:
            pass  # of one that was taken out, while a failure is made smaller
        elif isinstance(what, Told):
            note(f"{what.transaction}: the shop says {what.type}")
            self._say(acting.message(what.type)(order_id=what.transaction), what.transaction)
        elif isinstance(what, Act):
            self.act(what.act, what.transaction, what.step, self._fields(what))
        elif isinstance(what, Held):
            self._act_on_all(HOLD, what.saga)
        elif isinstance(what, Release):
            self._act_on_all(RELEASE, what.saga)
        elif isinstance(what, Freeze):
            note(f"{what.process} is frozen for {what.seconds} s")
            world.process(what.process).freeze(now + what.seconds)
        elif isinstance(what, Stop):
            note(f"{what.process} is stopped for {what.seconds} s")
            world.process(what.process).halt(now + what.seconds)
        elif isinstance(what, Again):
            self._repeat(what)
        elif isinstance(what, Refuse):
            note(f"nobody may write to {what.topic} for {what.seconds} s")
            world.broker.unwritable.add(what.topic)
        elif isinstance(what, Accept):
            note(f"{what.topic} can be written to again")
            world.broker.unwritable.discard(what.topic)
        else:
            world.broker.compact(topics.STATE)

    def _say(self, message: Message, transaction: str) -> None:
        self._starter.learn(type(message))
        payload = self._starter.encode(message, self._world.clock.now())
        self._producer.produce(*self._starter.start(payload, transaction, 0))
        self._producer.flush()

    # -- people

    def act(self, act: str, transaction: str, step: str, fields: dict[str, Any]) -> None:
        """As ``kantor_orchestrator.acts`` writes it."""
        facts = f" {fields}" if fields else ""
        self._world.note(f"{transaction}: ada wants to {act} {step}".rstrip() + facts)
        self._write(act, step, "", transaction.encode(), shard_of(transaction, self._world.shards), fields)

    def _act_on_all(self, act: str, saga: str) -> None:
        self._world.note(f"ada wants to {act} {saga or 'everything'}")
        for shard in range(self._world.shards):
            self._write(act, "", saga, None, shard, {})

    def _write(
        self, act: str, step: str, saga: str, key: bytes | None, shard: int, fields: dict[str, Any]
    ) -> None:
        self._acts += 1
        entry = journal.Act(f"act-{self._acts}", act, "ada", "she knows why", step, fields, saga)
        self._producer.produce(topics.JOURNAL, entry.dump(), key, journal.ACT_HEADERS, shard)
        self._producer.flush()

    def _fields(self, what: Act) -> dict[str, Any]:
        """Of a start: the offset of an entry, as it was planned."""
        if what.act != acts.START:
            return {}
        log = self._world.broker.log((topics.JOURNAL, shard_of(what.transaction, self._world.shards)))
        starts = [
            entry for entry in log.entries if dict(entry.headers() or ()).get("ce_type") == START.encode()
        ]
        mine = what.transaction.encode()
        found = [entry.offset() for entry in starts if (entry.key() == mine) == (what.entry == "own")]
        return {"offset": found[0] if found and what.entry != "none" else log.end + 1_000}

    # -- records

    def _repeat(self, fault: Again) -> None:
        logs = self._world.broker.topics[fault.topic].logs
        entries = [entry for log in logs for entry in log.read(0, 10_000, 1e9, committed=True)[0]]
        if not entries:
            return
        entry = entries[fault.number % len(entries)]
        again = self._append(entry, entry.value(), entry.headers())
        self._world.note(f"{entry.topic()}/{entry.partition()}/{entry.offset()} is written again")
        self.repeated.add((again.topic(), again.partition(), again.offset()))

    def _append(self, like: Entry, value: bytes | None, headers: Any) -> Entry:
        world = self._world
        return world.broker.append(
            like.topic(), like.partition(), like.key(), value, headers, world.clock.now(), None
        )
