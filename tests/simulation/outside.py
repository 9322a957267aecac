"""What happens to a run from outside, each at its time: the shop speaks, people act, whoever runs the broker does something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kantor import Message
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.testing.log import Entry
from kantor.writing import Writer
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.act_kinds import HOLD, RELEASE
from kantor_orchestrator.formats import journal, topics
from simulation import services as acting
from simulation.faults import (
    Act,
    Again,
    Ahead,
    Compact,
    Freeze,
    Held,
    Hostile,
    MadeAgain,
    Refuse,
    Retold,
    Stop,
    Told,
)
from simulation.hostile import STRANGERS, corpus
from simulation.plan import TROUBLE, Plan, Started
from simulation.processes import SCHEMAS
from simulation.sagas import triggers
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


@dataclass(frozen=True, slots=True)
class Right:
    """The broker's clock is right again."""


#: What of a plan has its moment.
_Timed = Ahead | Freeze | Stop | Again | Compact | Act | Held | Told | Refuse | MadeAgain | Retold | Hostile
Happening = _Timed | Started | Release | Accept | Right
#: A moment (s), a number that orders what happens then, and what happens.
Due = tuple[float, int, Happening]


def _due(plan: Plan) -> list[Due]:
    found: list[Due] = []
    for number, fault in enumerate(plan.faults):
        if isinstance(fault, _Timed):
            found.append((fault.at, number, fault))
        if isinstance(fault, Held):
            found.append((fault.at + fault.seconds, number, Release(fault.saga)))
        elif isinstance(fault, Refuse):
            found.append((fault.at + fault.seconds, number, Accept(fault.topic)))
        elif isinstance(fault, Ahead):
            found.append((fault.at + fault.lasts, number, Right()))
    for number, one in enumerate(plan.transactions):
        found.append((one.at, -1 - number, one))
    return sorted(found, key=_when, reverse=True)


def _when(due: Due) -> tuple[float, int]:
    return due[:2]


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
        elif isinstance(what, Ahead | Right):
            world.broker.ahead = int(what.seconds * 1000) if isinstance(what, Ahead) else 0
            note(f"the broker's clock is {world.broker.ahead / 1000} s ahead")
        elif isinstance(what, MadeAgain):
            self._make_again(what, now)
        elif isinstance(what, Retold):
            self._retell(what)
        elif isinstance(what, Hostile):
            self._attack(what)
        else:
            world.broker.compact(topics.STATE)

    def _say(self, message: Message, transaction: str) -> None:
        self._starter.learn(type(message))
        payload = self._starter.encode(message, self._world.clock.now())
        self._producer.produce(*self._starter.start(payload, transaction, 0))
        self._producer.flush()

    # -- people

    def act(self, act: str, transaction: str, step: str, fields: dict[str, Any]) -> None:
        """As ``kantor_orchestrator.operations.acts`` writes it."""
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
        entry = journal.ActEntry(f"act-{self._acts}", act, "ada", "she knows why", step, fields, saga)
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

    def _make_again(self, what: MadeAgain, now: float) -> None:
        """Once intake has read all of it, and so have the services that act on these events: what Kafka has lost, nobody can make
        up for. (One that died between an effect and its answer never hears of the event again, and the engine only knows that
        it acts on it if the event came in its turn.)"""
        world, shape = self._world, self._world.plan.shape
        acting = [name for name in {*shape.services} if what.topic in triggers(shape, name)]
        readers = [INTAKE_GROUP, *(acting if what.topic.startswith("evt.") else ())]
        offsets = [world.broker.group(name).offsets for name in readers]
        logs = world.broker.topics[what.topic].logs
        if all(found.get(log.place, 0) >= log.end for log in logs for found in offsets):
            world.note(f"{what.topic} is deleted and recreated")
            world.ledger.read()
            world.ledger.gone.append(world.broker.make_again(what.topic))
        elif now < TROUBLE:
            self._due = sorted(
                [*self._due, (now + 0.5, len(world.plan.faults), what)], key=_when, reverse=True
            )

    def _repeat(self, fault: Again) -> None:
        entry = self._one_of(fault.topic, fault.number)
        if entry is not None:
            again = self._append(entry, entry.value(), entry.headers())
            self._world.note(f"{_where(entry)} is written again")
            self.repeated.add((again.topic(), again.partition(), again.offset()))

    def _retell(self, fault: Retold) -> None:
        entry = self._one_of(fault.topic, fault.number, b".Done")
        if entry is None:
            return
        left_out = {"cause": "ce_idempotencykey", "key": "ce_causationid"}
        gone = {"ce_id", *({left_out[fault.names]} if fault.names in left_out else left_out.values())}
        headers = [(name, text) for name, text in entry.headers() or () if name not in gone]
        again = self._append(entry, entry.value(), [("ce_id", b"retold-%d" % fault.number), *headers])
        self._world.note(f"{_where(entry)} is told again, and names {fault.names}")
        self.repeated.add((again.topic(), again.partition(), again.offset()))

    def _attack(self, fault: Hostile) -> None:
        """A record as the fuzz tests make them; in a topic of the run it is of a type that is read there."""
        found = corpus()[fault.number % len(corpus())]
        like = self._one_of(fault.topic, fault.number) if fault.topic else None
        topic = found.topic if like is None else fault.topic
        if topic not in self._world.broker.topics:
            return
        headers, value = found.headers, found.value
        if like is not None:
            known = dict(like.headers() or ())
            own = [("ce_id", b"hostile-%d" % fault.number), ("ce_correlationid", STRANGERS[0].encode())]
            if topic.startswith("cmd."):  # a command that can be read only the orchestrator may write
                value = b"\xff" * 9
            if fault.ours:
                own, value = own[:1], b"\xff" * 9
            elif value == found.sound:
                value = like.value()
            theirs = [one for one in headers or () if one[0] not in dict(own)] if not fault.ours else []
            names = dict(theirs) | dict(own)
            headers = [*own, *theirs, *((n, t) for n, t in known.items() if n not in names or n == "ce_type")]
            headers = [one for one in headers if one[0] != "ce_type" or one[1] == known.get("ce_type")]
        broker = self._world.broker
        key, partition = (found.key, found.partition) if like is None else (like.key(), like.partition())
        if topic == topics.JOURNAL:  # whose shard is another one's, the client's partitioner never gets wrong
            partition = shard_of((key or b"").decode("utf-8", "replace"), self._world.shards)
        partition %= len(broker.topics[topic].logs)
        entry = broker.append(topic, partition, key, value, headers, self._world.clock.now(), None)
        whose = "in the name of one of ours" if fault.ours else "by a stranger"
        self._world.note(f"{_where(entry)} is written {whose}: {len(value or b'')} bytes")
        self._world.ledger.foreign.add(entry)

    def _one_of(self, topic: str, number: int, type_: bytes = b"") -> Entry | None:
        """A record of the topic, of a type with this end; none of a stranger's."""
        found = []
        for log in self._world.broker.topics[topic].logs:
            for entry in log.read(0, 10_000, 1e9, committed=True)[0]:
                is_type = (dict(entry.headers() or ()).get("ce_type") or b"").endswith(type_)
                if is_type and not self._world.ledger.is_foreign(entry):
                    found.append(entry)
        return found[number % len(found)] if found else None

    def _append(self, like: Entry, value: bytes | None, headers: Any) -> Entry:
        world = self._world
        return world.broker.append(
            like.topic(), like.partition(), like.key(), value, headers, world.clock.now(), None
        )


def _where(entry: Entry) -> str:
    return f"{entry.topic()}/{entry.partition()}/{entry.offset()}"
